"""The parts of a coordinator wired together, from start to end."""

import asyncio
import contextlib
import gc
import logging
import ssl
import sys
from collections.abc import Coroutine
from functools import partial

import msgspec
from msgspec import Raw

from gleitzeit.engine import effects as fx
from gleitzeit.errors import JournalError, JournalFenced, JournalReplaced
from gleitzeit.journal.base import OwnedJournal
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.ready import announce_ready
from gleitzeit.process.supervised import TRY_AGAIN
from gleitzeit.transport import Connection
from gleitzeit.transport.server import HttpReply, Server
from gz_coordinator.blobs.looks import BlobLooks
from gz_coordinator.blobs.pieces import BlobMethods, keep_in_the_end, load, sweep_for_ever
from gz_coordinator.keeping.deletion import keep_for_ever
from gz_coordinator.methods import approvals
from gz_coordinator.methods.workflows import build
from gz_coordinator.parts import Parts
from gz_coordinator.performer import CallPerformer
from gz_coordinator.providers.links import Links
from gz_coordinator.sharing.holdings import Holdings
from gz_coordinator.sharing.peers import Peers
from gz_coordinator.sharing.shared import Shared
from gz_coordinator.steps import look_for_garbage_for_ever, look_once_only
from gz_coordinator.streams.recovery import recover
from gz_coordinator.streams.shelf import CacheShelf
from gz_coordinator.watching.watchers import Watchers

log = logging.getLogger("gz.coordinator")

SWITCH_SECONDS = 0.000_1
"""The journal's thread wants the interpreter back some twenty times for a commit: beside a loop that has much to do it
waits for a tenth of a second with the usual 5 ms, also with a tenth of that, and hardly at all with this."""
IDLE_SECONDS = 0.5
WARM_UP_SECONDS = 1.0
FIRST_CLIENT_SECONDS = 30.0
REGISTRATIONS_SECONDS = 3.0
LEAVING_SECONDS = 10.0
"""For connections to be closed, once there is nothing more to be done in order."""
JOURNAL_LOST = 2
"""The exit code after which nobody starts it again as it was."""
RESCUE_SECONDS = 600.0
"""For a journal whose file was taken away to be written to another one."""


class Coordinator:
    def __init__(self, parts: Parts, lifetime: Lifetime) -> None:
        self._parts = parts
        self._service = parts.service
        self._lifetime = lifetime
        self._code = 0
        self._had_client = False
        self._background: list[asyncio.Task[None]] = []
        identity = parts.identity
        parts.watchers = Watchers(parts.journal, self._service.read)
        blob_methods = BlobMethods(parts.journal, self._service.clock).methods()
        parts.links = Links(
            identity.owner,
            lambda: identity.fence,
            self._service.post,
            parts.learn_methods,
            self._out_of_band,
            blob_methods=blob_methods,
        )
        self._service.audience = parts.watchers
        self._shelf = CacheShelf(parts.journal, self._service.clock, self._service.post)
        self._keep_blobs = partial(keep_in_the_end, parts.journal, self._service.clock)
        self._looks = BlobLooks(parts.journal, self._keep_blobs)
        performer = self._service.performer = CallPerformer(
            parts.links.connection,
            self._service.post,
            identity.fence_of,
            self.deposed,
            self._service.engine.params_of,
            stream_seq=parts.watchers.texts.seq_of,
            ask_cache=self._shelf.ask,
            load_blob=partial(load, parts.journal),
            keep_blobs=self._keep_blobs,
            look_into=self._looks.into,
            ask_others=self._ask_others,
        )
        parts.links.ties.under_way = performer.under_way
        parts.links.end_calls = performer.end_calls

    def share(self, journal: OwnedJournal, lease_seconds: float, token: str | None, tls: ssl.SSLContext | None) -> None:
        """Work on the journal beside others. Before `server`; `tls` is what checks the others' certificates."""
        parts = self._parts
        epochs = parts.identity.epochs
        assert epochs is not None
        holdings = Holdings(
            journal, self._service, parts.identity.owner, epochs, lease_seconds=lease_seconds, on_deposed=self.deposed
        )
        peers = Peers(holdings, token, tls)
        holdings.on_lapse = self._lapsed
        parts.shared = Shared(peers, parts.watchers, self._service)

    def _ask_others(self, effect: fx.ForOthers) -> None:
        if self._parts.shared is not None:
            self._parts.shared.perform(effect)

    def server(self, host: str, port: int, token: str | None, tls: ssl.SSLContext | None) -> Server:
        """Raises ConfigurationError for an address that others can reach without token and TLS."""
        return Server(
            build(self._parts),
            host=host,
            port=port,
            token=token,
            tls=tls,
            on_connect=self._connected,
            on_close=self._left,
            doors={approvals.PREFIX: approvals.door(self._parts)},
            http={"/healthz": self._health, "/readyz": self._ready, "/metrics": self._metrics},
        )

    async def serve(self, server: Server, *, held: bool, drain_seconds: float) -> int:
        """Recover, listen, and go on until the end. Returns the exit code."""
        parts, service = self._parts, self._service
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.disable()  # nothing of what is read is garbage; looking for it would double the time
        recovered: int | None = 0
        if parts.shared is None:
            recovered, warnings = await recover(service, held=held)
            parts.warnings.extend(warnings)
        await server.start()
        parts.url = parts.url or server.url
        turning = asyncio.create_task(service.run(), name="the loop")
        turning.add_done_callback(self._loop_ended)
        if parts.shared is not None:
            recovered = await self._unless_it_ends(self._join(parts.shared.holdings))
            if recovered is None:
                return await self._drain(server, turning, drain_seconds)
        announce_ready(server.url)
        log.info("listening at %s, journal %s, %d unfinished workflows%s", server.url, parts.journal_name, recovered,
                 " held" if held and recovered else "")  # fmt: skip
        await self._find_providers()
        sweeping = asyncio.create_task(sweep_for_ever(parts.journal, service.clock), name="sweep of blobs")
        self._background.append(asyncio.create_task(look_for_garbage_for_ever(), name="garbage"))
        if parts.retention.limited:
            self._background.append(asyncio.create_task(keep_for_ever(parts, parts.retention), name="retention"))
        gc.freeze()
        gc.enable()
        look_once_only()
        if parts.embedded:
            watching = asyncio.create_task(self._end_when_idle(server), name="end when idle")
            await self._lifetime.drain.wait()
            watching.cancel()
        else:  # an embedded one is there for one command, which need not pay for what it may never use
            asyncio.get_running_loop().call_later(WARM_UP_SECONDS, parts.documents.warm_up)
            await self._lifetime.drain.wait()
        sweeping.cancel()
        return await self._drain(server, turning, drain_seconds)

    async def _unless_it_ends(self, work: Coroutine[None, None, int]) -> int | None:
        """None if the process is to end before the work is done, or because it cannot be."""
        working = asyncio.create_task(work)
        ending = asyncio.create_task(self._lifetime.drain.wait())
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, ending):
            task.cancel()
        [outcome, _] = await asyncio.gather(working, ending, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _join(self, holdings: Holdings) -> int:
        """Become one of several coordinators. Returns how many workflows came with the shards that were free."""
        await holdings.start(self._parts.url)
        self._background += [
            asyncio.create_task(holdings.run(), name="the shards"),
            asyncio.create_task(self._learn_registrations(holdings), name="registered providers"),
        ]
        return len(self._service.engine.workflows)

    async def _learn_registrations(self, holdings: Holdings) -> None:
        """Providers that were registered, or are drained, at another coordinator."""
        while True:
            await holdings.changed(REGISTRATIONS_SECONDS)
            with contextlib.suppress(JournalError):
                await self._parts.drains.restore()
                await self._parts.restore_registrations()

    async def _find_providers(self) -> None:
        parts = self._parts
        await parts.drains.restore()  # before the first of them can get a call
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
        if self._code:  # it is not ours any more, or nobody knows what is durable: leave at once
            drain_seconds = 0.0
            seconds = RESCUE_SECONDS if self._code == JOURNAL_LOST else LEAVING_SECONDS
            self._lifetime.leave_within(seconds, self._code)
        elif parts.shared is not None:
            await parts.shared.holdings.leave()
        quiet = asyncio.ensure_future(service.drain())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await asyncio.wait({turning, quiet}, return_when=asyncio.FIRST_COMPLETED)
        quiet.cancel()
        service.stop()
        await asyncio.gather(turning, return_exceptions=True)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if parts.shared is not None:
            await parts.shared.close()
        await parts.copies.close()
        await self._shelf.close()
        if parts.directory is not None:
            await parts.directory.close()
        await parts.links.close()
        await server.close(reason="the coordinator stops")
        parts.documents.close()
        self._looks.close()
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
                self._parts.draining = True  # who connects from now on is told, and starts a successor
                self._lifetime.end("the last client has left and nothing runs")
                return

    def _connected(self, connection: Connection) -> None:
        self._had_client = True

    def _left(self, connection: Connection) -> None:
        self._parts.watchers.remove(connection)
        self._parts.copies.forget(connection)
        if self._parts.shared is not None:
            self._parts.shared.relays.forget(connection, everything=True)

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

    def _lapsed(self) -> None:
        """Another may go on with our workflows. What we may have called and it cannot attach to must not run on."""
        if self._parts.links.leave_foreign("the lease of its caller has run out"):
            self.deposed("the lease has run out, with calls at a provider that keeps no table of them")

    def deposed(self, reason: str) -> None:
        """Another coordinator has what we had: a new process may have something again."""
        log.error("another coordinator has taken over: %s", reason)
        self._parts.links.leave_foreign("another coordinator has taken over from its caller")
        self._code = TRY_AGAIN
        self._lifetime.end("fenced")

    def _loop_ended(self, turning: "asyncio.Task[None]") -> None:
        """The loop ends by itself only when nobody knows what the journal holds: a new process has to read it."""
        error = None if turning.cancelled() else turning.exception()
        if error is not None:
            if isinstance(error, JournalFenced):
                self.deposed(str(error))
                return
            log.critical("cannot go on: %s", error, exc_info=error)
            # With a journal that is not at its place a new process would begin with nothing, as if nothing had been.
            lost = isinstance(error, JournalReplaced) and not (error.data or {}).get("whole")
            self._code = JOURNAL_LOST if lost else 1
            self._lifetime.end("the loop failed")

    def _health(self) -> HttpReply:
        return HttpReply(200, "text/plain", b"ok\n")

    def _ready(self) -> HttpReply:
        if self._parts.draining:
            return HttpReply(503, "text/plain", b"draining\n")
        if trouble := self._service.space.trouble:
            return HttpReply(503, "text/plain", trouble.encode() + b"\n")
        return HttpReply(200, "text/plain", b"ready\n")

    def _metrics(self) -> HttpReply:
        return HttpReply(200, "text/plain; version=0.0.4", self._parts.metrics())


class _Token(msgspec.Struct):
    progressToken: str
