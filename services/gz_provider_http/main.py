"""http/v1: requests to anybody's API, with what makes them durable: bounds, rates, and errors worth a retry.

What may surprise, and how it is here: a redirect is followed at most ten times, never from a public to a private
address, and the credentials stay with the host they were meant for; the addresses where clouds keep their credentials
are never asked; proxies are those of the environment; an answer of more than 1 MiB is an error unless the task allows
it. Private addresses may be named by a task, unless the provider was started with --no-private.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gleitzeit.provider import Provider
from gz_provider_http.methods import VERBS, HttpMethods, Settings

CAPACITY = 64
"""Requests wait for others; they cost next to nothing meanwhile."""


def build(settings: Settings) -> Provider:
    methods = HttpMethods(settings)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await methods.start()
        try:
            yield
        finally:
            await methods.close()

    provider = Provider("http", protocols=["http/v1"], capacity=CAPACITY, lifespan=lifespan)
    provider.method("http/request")(methods.request)
    for verb in VERBS:
        provider.method(f"http/{verb}")(methods.verb(verb))
    return provider


def parser() -> argparse.ArgumentParser:
    described = Provider("http", protocols=["http/v1"], capacity=CAPACITY).parser()
    described.add_argument(
        "--no-private", action="store_true", help="refuse addresses of this machine and of private networks"
    )
    return described


def run() -> None:
    """The console script `gz-provider-http`."""
    options = parser().parse_args()
    build(Settings(private=not options.no_private)).main(options)
