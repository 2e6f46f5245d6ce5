"""gz-coordinator: the composition root. Takes the journal, and serves until it is told to stop."""

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import resource
import secrets
import sys
import time
from collections.abc import Callable

from gleitzeit import errors
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.params import Identity
from gleitzeit.journal import open_journal
from gleitzeit.process import logs
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.ready import announce_failure
from gleitzeit.process.state import cluster_id
from gleitzeit.process.supervised import TRY_AGAIN
from gleitzeit.schemas import builtin
from gz_coordinator import options
from gz_coordinator.coordinator import Coordinator
from gz_coordinator.documents import Documents
from gz_coordinator.parts import Parts
from gz_coordinator.service import Service

log = logging.getLogger("gz.coordinator")

EXIT_CODES: dict[type[Exception], int] = {
    errors.ConfigurationError: 2,  # with these arguments it will never work
    errors.JournalLocked: TRY_AGAIN,
}


def run() -> None:
    chosen = options.options()
    logs.configure(chosen.log_level, chosen.log_format, service="gz-coordinator")
    try:
        code = asyncio.run(main(chosen))
    except (errors.GleitzeitError, OSError) as error:
        sentence = _sentence(error, chosen)
        if not announce_failure(sentence):
            log.error("%s", sentence)
        code = EXIT_CODES.get(type(error), 1)
    sys.exit(code)


def _sentence(error: Exception, chosen: argparse.Namespace) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"the address {chosen.listen} is in use; choose another one with --listen HOST:PORT"
    return str(error)


def allow_many_sockets() -> None:
    """As many as the system lets us: 1,024, the usual soft limit, is less than clients there may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def main(chosen: argparse.Namespace) -> int:
    """The exit code: 0 after an orderly end, 1 when the journal failed, TRY_AGAIN when another took over."""
    allow_many_sockets()
    url = options.journal_url(chosen)
    journal = open_journal(url)
    with Lifetime() as lifetime:
        try:
            owner = secrets.token_hex(6)
            epoch = (await journal.claim(owner))[0]
            cluster = chosen.cluster or cluster_id(options.state_folder(chosen))
            identity = Identity(cluster, epoch, owner, lease_seconds=chosen.lease_seconds)
            service = Service(Engine(builtin(), identity), journal, utc_clock())
            documents = Documents(options.allowed_environ(chosen, os.environ))
            parts = Parts(
                service, journal, identity, url, embedded=chosen.embedded, documents=documents, nats_url=chosen.nats
            )
            coordinator = Coordinator(parts, lifetime)
            server = coordinator.server(*options.address(chosen.listen), options.token(chosen), options.tls(chosen))
            return await coordinator.serve(
                server, held=options.held_at_start(chosen), drain_seconds=chosen.drain_seconds
            )
        finally:
            await journal.close()


def utc_clock() -> Callable[[], int]:
    """UTC milliseconds that never go back, whatever is done to the clock of the machine."""
    offset = time.time() - time.monotonic()
    return lambda: int((time.monotonic() + offset) * 1000)
