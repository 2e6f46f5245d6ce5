"""gz-coordinator: the composition root. Takes the journal, and serves until it is told to stop."""

import argparse
import contextlib
import errno
import logging
import os
import resource
import secrets
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.journal import SqliteJournal, open_journal
from gleitzeit.journal.base import Append, Find, OwnedJournal, Summary
from gleitzeit.process import logs, loop
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.ready import announce_failure
from gleitzeit.process.state import approval_key, cluster_id
from gleitzeit.process.supervised import TRY_AGAIN
from gleitzeit.schemas import builtin
from gleitzeit.spec.urls import shown
from gz_coordinator import options
from gz_coordinator.coordinator import Coordinator
from gz_coordinator.parts import Parts
from gz_coordinator.service import Service
from gz_coordinator.submitting.documents import Documents

log = logging.getLogger("gz.coordinator")

CALL_LEASE_SECONDS = 10.0
"""Where others may take over: how much longer than a shard's lease a provider goes on, for the successor to ask."""
CLUSTER = "$cluster"
"""The stream that names the cluster of a shared journal."""

EXIT_CODES: dict[type[Exception], int] = {
    errors.ConfigurationError: 2,  # with these arguments it will never work
    errors.JournalCorrupt: 2,  # nor with this file
    errors.JournalLocked: TRY_AGAIN,
    errors.JournalFenced: TRY_AGAIN,
}


def run() -> None:
    chosen = options.options()
    logs.configure(chosen.log_level, chosen.log_format, service="gz-coordinator")
    try:
        code = loop.run(main(chosen))
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
    with Lifetime() as lifetime:
        owner = secrets.token_hex(6)
        journal, epochs, warnings = await take_first(options.journal_urls(chosen), owner)
        shared = journal.shards > 1
        try:
            cluster = chosen.cluster or cluster_id(options.state_folder(chosen))
            lease_seconds = chosen.shard_lease_seconds + CALL_LEASE_SECONDS if shared else chosen.lease_seconds
            identity = Identity(cluster, epochs.get(0, 0), owner, 0, lease_seconds, journal.shards)
            if shared:
                identity = replace(identity, epochs=epochs)
                await agree_on_cluster(journal, cluster, utc_clock()())
            engine, clock = Engine(builtin(), identity), utc_clock()
            engine.scheduler.use(chosen.strategy)
            if chosen.expect:
                engine.scheduler.expect(chosen.expect.split(","), clock())
            service = Service(engine, journal, clock, lambda: time.time_ns() // 1_000_000)
            if isinstance(journal, SqliteJournal):
                service.space.no_space = journal.no_space
                journal.on_replaced = service.journal_lost
            documents = Documents(options.allowed_environ(chosen, os.environ))
            parts = Parts(
                service, journal, identity, shown(journal.url), embedded=chosen.embedded, documents=documents,
                nats_url=chosen.nats, url=chosen.advertise, warnings=[*warnings, *journal.warnings],
                roots=chosen.allow_root, retention=options.retention(chosen),
            )  # fmt: skip
            parts.approval_key = approval_key(options.state_folder(chosen))
            coordinator = Coordinator(parts, lifetime)
            token = options.token(chosen)
            if shared:
                coordinator.share(journal, chosen.shard_lease_seconds, token, options.peer_tls(chosen))
            server = coordinator.server(*options.address(chosen.listen), token, options.tls(chosen))
            return await coordinator.serve(
                server, held=options.held_at_start(chosen), drain_seconds=chosen.drain_seconds
            )
        finally:
            await journal.close()


async def take_first(urls: Sequence[str], owner: str) -> tuple[OwnedJournal, dict[int, int], list[str]]:
    """The first journal that can be reached, claimed, with the epochs of what is ours already; and what to warn of.

    Raises what the last one raised, and at once JournalLocked and ConfigurationError: they are no matter of reach.
    """
    warnings: list[str] = []
    for url in urls:
        journal = open_journal(url)
        try:
            epochs = await journal.claim(owner, () if journal.shards > 1 else None)
        except errors.JournalLocked:
            raise
        except errors.JournalError as error:
            if url == urls[-1]:
                raise
            warnings.append(f"{error}: this run keeps its journal elsewhere, and does not see what is in that one")
            log.error("%s", warnings[-1])
        else:
            return journal, epochs, warnings
    raise errors.ConfigurationError("no journal is configured")


async def agree_on_cluster(journal: OwnedJournal, cluster: str, now: int) -> None:
    """All coordinators on one journal find the same providers, and are one to them. Raises ConfigurationError."""
    summary = Summary(CLUSTER, "cluster", cluster, "made", False, now, now)
    with contextlib.suppress(errors.JournalConflict):
        await journal.append([Append(CLUSTER, 1, (msgspec.json.encode(cluster),), summary)])
        return
    known = (await journal.find(Find("cluster", limit=1)))[0].key  # as its event says, and whatever befell that
    if known != cluster:
        raise errors.ConfigurationError(
            f"the journal {shown(journal.url)} belongs to the cluster {known}, not to {cluster}: set cluster to"
            f" {known}, or use another journal"
        )


def utc_clock() -> Callable[[], int]:
    """UTC milliseconds that never go back, whatever is done to the clock of the machine, and that go on while it sleeps
    (where the system can tell): a schedule is due by the clock on the wall."""
    ticks = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    offset = time.time() - time.clock_gettime(ticks)
    return lambda: int((time.clock_gettime(ticks) + offset) * 1000)
