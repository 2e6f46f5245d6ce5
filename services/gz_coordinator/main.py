"""gz-coordinator: the composition root. Opens the journal, recovers, listens, and finds providers through NATS."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.params import Identity
from gleitzeit.journal import open_journal
from gleitzeit.process import logs
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.ready import announce_ready
from gleitzeit.process.state import cluster_id, default_folder
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection, HttpReply, Server
from gz_coordinator.links import Links
from gz_coordinator.methods import build
from gz_coordinator.parts import Parts
from gz_coordinator.performer import CallPerformer
from gz_coordinator.service import Service
from gz_coordinator.watchers import Watchers

log = logging.getLogger("gz.coordinator")

LEASE_SECONDS = 900.0
"""How long a provider goes on with a call while no coordinator asks for it: a restart costs nothing."""
IDLE_SECONDS = 0.5
FIRST_CLIENT_SECONDS = 30.0
EXIT_FENCED = 75


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gz-coordinator",
        description="Keeps the task queue and the dependency graph of all workflows, durably, and calls providers.",
        epilog="Any JSON-RPC 2.0 client can talk to it over a WebSocket: workflow.submit, workflow.watch, "
        "rpc.discover. GET /healthz, /readyz and /metrics answer on the same port.",
    )
    parser.add_argument("--listen", default="127.0.0.1:8765", metavar="HOST:PORT", help="default %(default)s")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder (default ~/.gleitzeit)")
    parser.add_argument(
        "--journal", metavar="URL", help="sqlite:///PATH or memory: (default: journal.db in the state folder)"
    )
    parser.add_argument("--nats", metavar="URL", help="where providers are found; without it only by provider.register")
    parser.add_argument(
        "--cluster", metavar="ID", help="providers of other clusters are not seen (default: of the state folder)"
    )
    parser.add_argument("--embedded", action="store_true", help="end when the last client has left and nothing runs")
    parser.add_argument(
        "--resume",
        choices=["none", "all"],
        help="unfinished workflows: hold them, or go on (default: all; none with --embedded)",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="clients must present the token that stands in it"
    )
    parser.add_argument(
        "--drain-seconds", type=float, default=10.0, help="for calls to finish after SIGTERM (default 10)"
    )
    parser.add_argument("--log-level", default="info", choices=logs.LEVELS)
    parser.add_argument("--log-format", default="auto", choices=["auto", "text", "json"])
    return parser.parse_args(arguments)


def run() -> None:
    chosen = options()
    logs.configure(chosen.log_level, chosen.log_format, service="gz-coordinator")
    try:
        code = asyncio.run(main(chosen))
    except errors.GleitzeitError as error:
        log.error("%s", error.message)
        code = 2 if isinstance(error, errors.ConfigurationError | errors.JournalLocked) else 1
    except OSError as error:
        log.error("%s", error)
        code = 1
    sys.exit(code)


def utc_clock() -> Callable[[], int]:
    """UTC milliseconds that never go back, whatever is done to the clock of the machine."""
    offset = time.time() - time.monotonic()
    return lambda: int((time.monotonic() + offset) * 1000)


async def main(chosen: argparse.Namespace) -> int:
    """The exit code: 0 after an orderly end, 1 when the journal failed, EXIT_FENCED when another took over."""
    host, port = _address(chosen.listen)
    state, journal_url, token = _places(chosen)
    with Lifetime() as lifetime:
        journal = open_journal(journal_url)
        try:
            owner = secrets.token_hex(6)
            identity = Identity(
                cluster=chosen.cluster or cluster_id(state),
                epoch=await journal.claim(owner),
                owner=owner,
                lease_seconds=LEASE_SECONDS,
            )
            service = Service(Engine(builtin(), identity), journal, utc_clock())
            parts = Parts(service, journal, identity, journal_url, embedded=chosen.embedded, nats_url=chosen.nats)
            return await Coordinator(parts, lifetime).serve(
                host, port, token, held=chosen.resume == "none" or (chosen.embedded and chosen.resume is None),
                drain_seconds=chosen.drain_seconds,
            )  # fmt: skip
        finally:
            await journal.release()
            await journal.close()


class Coordinator:
    """The parts wired together, from start to end."""

    def __init__(self, parts: Parts, lifetime: Lifetime) -> None:
        self._parts = parts
        self._service = parts.service
        self._lifetime = lifetime
        self._code = 0
        self._had_client = False
        fence = parts.identity.fence
        parts.watchers = Watchers(parts.journal, self._service.read)
        parts.links = Links(fence, self._service.post, parts.learn_methods, self._out_of_band)
        self._service.audience = parts.watchers
        self._service.performer = CallPerformer(parts.links.connection, self._service.post, fence, self._fenced)

    async def serve(self, host: str, port: int, token: str | None, *, held: bool, drain_seconds: float) -> int:
        parts, service = self._parts, self._service
        recovered, warnings = await service.recover(held=held)
        parts.warnings.extend(warnings)
        if parts.journal_name.startswith("memory"):
            parts.warnings.append("the journal is in memory: what is not finished is lost when this process ends")
        server = Server(
            build(parts),
            host=host,
            port=port,
            token=token,
            on_connect=self._connected,
            on_close=parts.watchers.remove,
            http={"/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics},
        )
        await server.start()
        parts.url = server.url
        turning = asyncio.create_task(service.run(), name="the loop")
        turning.add_done_callback(self._loop_ended)
        announce_ready(server.url)
        log.info("listening at %s, journal %s, %d unfinished workflows%s", server.url, parts.journal_name, recovered,
                 " held" if held and recovered else "")  # fmt: skip
        await self._find_providers()
        gc.freeze()
        gc.set_threshold(50_000)
        if parts.embedded:
            watching = asyncio.create_task(self._end_when_idle(server), name="end when idle")
            await self._lifetime.drain.wait()
            watching.cancel()
        else:
            await self._lifetime.drain.wait()
        return await self._drain(server, turning, drain_seconds)

    async def _find_providers(self) -> None:
        parts = self._parts
        await parts.restore_registrations()
        if parts.nats_url is not None:
            # 70 ms of import that the first client need not wait for
            from gleitzeit.discovery.nats import NatsDirectory

            parts.directory = NatsDirectory(parts.nats_url, parts.identity.cluster)
            await parts.directory.watch(parts.links.report)

    async def _drain(self, server: Server, turning: "asyncio.Task[None]", drain_seconds: float) -> int:
        """Start nothing more, let calls finish, then leave: what still runs is attached to by the next start."""
        parts, service = self._parts, self._service
        log.info("draining: %s; %d calls run", self._lifetime.reason, len(service.engine.calls))
        parts.draining = True
        quiet = asyncio.ensure_future(service.drain())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await asyncio.wait({turning, quiet}, return_when=asyncio.FIRST_COMPLETED)
        quiet.cancel()
        service.stop()
        await asyncio.gather(turning, return_exceptions=True)
        if parts.directory is not None:
            await parts.directory.close()
        await parts.links.close()
        await server.close(reason="the coordinator stops")
        parts.documents.close()
        return self._code

    async def _end_when_idle(self, server: Server) -> None:
        """An embedded coordinator is there for its clients, and for what they left running."""
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        while True:
            await asyncio.sleep(0.05)
            if server.connections or self._parts.busy:
                idle_since = loop.time()
            elif loop.time() - idle_since > (IDLE_SECONDS if self._had_client else FIRST_CLIENT_SECONDS):
                self._lifetime.end("the last client has left and nothing runs")
                return

    def _connected(self, connection: Connection) -> None:
        self._had_client = True

    def _out_of_band(self, method: str, params: Raw | None) -> None:
        """A stream, progress or log notification of a provider: its progress token is the call's id."""
        if params is None:
            return
        try:
            token = msgspec.json.decode(params, type=_Token).progressToken
        except msgspec.MsgspecError:
            return
        call = self._service.engine.calls.get(token)
        if call is not None:
            self._parts.watchers.forward(call, method, params)

    def _fenced(self, reason: str) -> None:
        log.error("another coordinator has taken over: %s", reason)
        self._code = EXIT_FENCED
        self._lifetime.end("fenced")

    def _loop_ended(self, turning: "asyncio.Task[None]") -> None:
        """The loop ends by itself only when nobody knows what the journal holds: a new process has to read it."""
        error = None if turning.cancelled() else turning.exception()
        if error is not None:
            log.critical("cannot go on: %s", error, exc_info=error)
            self._code = 1
            self._lifetime.end("the loop failed")

    def _health(self) -> HttpReply:
        return HttpReply(200, "text/plain", b"ok\n")

    def _ready(self) -> HttpReply:
        if self._parts.draining:
            return HttpReply(503, "text/plain", b"draining\n")
        if self._service.stalled:
            return HttpReply(503, "text/plain", self._service.stalled.encode() + b"\n")
        return HttpReply(200, "text/plain", b"ready\n")

    def _metrics(self) -> HttpReply:
        return HttpReply(200, "text/plain; version=0.0.4", self._parts.metrics())


class _Token(msgspec.Struct):
    progressToken: str


def _places(chosen: argparse.Namespace) -> tuple[Path, str, str | None]:
    """State folder, journal, and the token that clients must bring."""
    state: Path = chosen.state or default_folder(os.environ)
    journal_url = chosen.journal or f"sqlite:///{state.resolve() / 'journal.db'}"
    token = chosen.token_file.read_text().strip() if chosen.token_file is not None else None
    return state, journal_url, token


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise errors.ConfigurationError(f"--listen wants HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)
