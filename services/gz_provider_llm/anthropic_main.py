"""`gz-provider-anthropic`: llm/v1 by Anthropic, or by any server that speaks its Messages API."""

import os
from argparse import ArgumentParser, Namespace
from urllib.parse import urlsplit

from gleitzeit.errors import ConfigurationError
from gleitzeit.provider import Provider
from gz_provider_llm.backends.anthropic import ANTHROPIC_URL, ANTHROPIC_VERSION, CAPACITY, Anthropic
from gz_provider_llm.methods import build
from gz_provider_llm.options import (
    add_key_options,
    api_key,
    first_sign,
    key_hint,
    key_renewal,
    long_silence,
    parser_for,
    serve,
    server_hint,
    settings_of,
)
from gz_provider_llm.transport.http import Http

URL_VARIABLE = "ANTHROPIC_BASE_URL"
VARIABLE = "ANTHROPIC_API_KEY"


def provider(options: Namespace) -> Provider:
    """Raises ConfigurationError for a URL that is none, and for Anthropic without a key."""
    is_anthropic = (urlsplit(options.url).hostname or "").endswith("anthropic.com")
    key = api_key(options)
    if is_anthropic and not key:
        raise ConfigurationError(f"no key for Anthropic: set {options.api_key_env}, or give --api-key-file")
    http = Http(
        _api_url(options.url),
        headers={"anthropic-version": ANTHROPIC_VERSION, **_headers(key)},
        secrets=[key],
        idle_timeout_seconds=options.idle_timeout,
        long_silence_seconds=long_silence(options),
        first_sign_seconds=first_sign(options),
        hint="" if is_anthropic else server_hint(options.url, URL_VARIABLE),
        key_hint=key_hint(options),
        renewed=key_renewal(options, _headers),
    )
    return build(Anthropic(http, capacity=options.capacity or CAPACITY), settings_of(options))


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key} if key else {}


def _api_url(url: str) -> str:
    """Without the /v1 that other servers' addresses end with, and the method after it."""
    return url.rstrip("/").removesuffix("/messages").removesuffix("/v1")


def parser() -> ArgumentParser:
    described = parser_for("anthropic", CAPACITY)
    described.add_argument(
        "--url", default=os.environ.get(URL_VARIABLE) or ANTHROPIC_URL,
        help="where the API is, with or without /v1 (default: ANTHROPIC_BASE_URL, or Anthropic)",
    )  # fmt: skip
    add_key_options(described, VARIABLE)
    return described


def run() -> None:
    """The console script `gz-provider-anthropic`."""
    serve("anthropic", provider, parser().parse_args())


if __name__ == "__main__":
    run()
