"""Watching what other coordinators have: a watcher's connection here is fed from a connection there.

A relay lasts as long as its watcher. When the workflow moves, or the other coordinator dies, it goes on where it was:
at the new one, or here. A watcher of all workflows has a relay to each of the others; if one of those breaks, what it
may have missed is announced with `notifications/resync`.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.transport import Connection
from gz_coordinator.errands import Errands
from gz_coordinator.sharing.holdings import LOOK_AGAIN_SECONDS
from gz_coordinator.sharing.passed_on import FORWARD
from gz_coordinator.sharing.peers import RELAYED, Peers
from gz_coordinator.watching.notices import EVENT, RESYNC, STREAM, gap
from gz_coordinator.watching.watcher import MAX_LAG_BYTES, Position, Watcher, positions
from gz_coordinator.watching.watchers import Watchers

log = logging.getLogger("gz.coordinator.shards")

FIRST_ANSWER_SECONDS = 2.0


class _Seen(Struct, frozen=True):
    seq: int = 0
    task_id: str = ""
    attempt: int = 0
    offset: int = 0
    delta: str = ""


_decode_seen = msgspec.json.Decoder(_Seen).decode


class Relay:
    """One `workflow.watch` of one client, of one workflow or of all that one coordinator has."""

    def __init__(self, relays: "Relays", client: Connection, workflow_id: str | None, after: int, stream: bool) -> None:
        self.client = client
        self.workflow_id = workflow_id
        self.sent = after
        self.stream = stream
        self.positions: dict[str, Position] = {}
        """How much of each task's text the client has."""
        self.first: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """What the first coordinator that could be asked has answered; or its error."""
        self._relays = relays
        self._peer: Connection | None = None
        self._lagging = False

    async def follow(self, url: str) -> None:
        """At the coordinator of this url, until that connection ends. Raises ConnectionLost and ShardElsewhere."""
        connection = await self._relays.peers.open(url, on_notification=self._pass)
        self._peer = connection
        ended = asyncio.Event()
        connection.add_close_callback(lambda _: ended.set())
        try:
            answer = await connection.call(FORWARD, self._wish(), timeout_seconds=self._relays.patience_seconds)
            if not self.first.done():
                self.first.set_result(answer)
            await ended.wait()
        finally:
            self._peer = None
            await connection.close()
        if self._lagging:
            await self._resync()

    def _wish(self) -> dict[str, Any]:
        params: dict[str, Any] = {"stream": self.stream}
        if self.workflow_id is not None:
            params |= {"workflow_id": self.workflow_id, **self.position()}
        return {"method": "workflow.watch", "params": params, "workflow_id": self.workflow_id or ""}

    def position(self) -> dict[str, Any]:
        """How far its client has seen the workflow."""
        streams = {task: {"attempt": p.attempt, "offset": p.offset} for task, p in self.positions.items()}
        return {"after": self.sent, "streams": streams}

    def _pass(self, connection: Connection, method: str, params: Raw | None) -> None:
        if self.client.closed or self._lagging or params is None:
            return
        self.client.notify(method, params)
        if self.workflow_id is not None and method in (EVENT, STREAM, RESYNC):
            self._note(method, params)
        if self.client.buffered_bytes > MAX_LAG_BYTES:
            self._lagging = True
            self._end(connection)

    def _note(self, method: str, params: Raw) -> None:
        seen = _decode_seen(params)
        if method == STREAM:
            self.positions[seen.task_id] = Position(seen.offset + len(seen.delta), seen.attempt)
        else:
            self.sent = max(self.sent, seen.seq)

    async def _resync(self) -> None:
        """The client does not read as fast as it comes: wait until it has, say where the gap is, and go on there."""
        await self.client.drain()
        self._lagging = False
        self.say_where()

    def say_where(self, error: BaseException | None = None) -> None:
        """What its client has so far; with an error nothing follows."""
        if not self.client.closed:
            self.client.notify(RESYNC, gap(self.workflow_id, self.sent, error))

    def end(self) -> None:
        if self._peer is not None:
            self._end(self._peer)

    def _end(self, connection: Connection) -> None:
        self._relays.errands.start(connection.close())


class Relays:
    def __init__(self, peers: Peers, watchers: Watchers) -> None:
        self.peers = peers
        self._holdings = peers.holdings
        self._watchers = watchers
        self._running: dict[Relay, asyncio.Task[None]] = {}
        self._of_all: dict[Connection, dict[str, Relay]] = {}
        """Those who watch everything, each with its relays by owner."""
        self.errands = Errands()
        self._holdings.on_given = self._given
        self._holdings.on_change = self._changed

    @property
    def patience_seconds(self) -> float:
        return 2 * self._holdings.lease_seconds

    # What clients ask

    def watching(self, local: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """`workflow.watch` for clients; `local` is the method for what is here."""

        @functools.wraps(local)
        async def watch(request: Request, /, *values: Any, **params: Any) -> None:
            params |= dict(zip(("workflow_id", "after", "stream", "batch", "streams"), values, strict=False))
            workflow_id: str | None = params.get("workflow_id")
            if workflow_id is None:
                await self._follow_all(request.connection, params.get("stream", True))
                await local(request, **params)
                return
            while True:
                if self._holdings.is_mine(workflow_id):
                    try:
                        await local(request, **params)
                    except errors.ShardElsewhere:
                        continue
                    return
                relay = self._start(request.connection, workflow_id, params.get("after", 0), params.get("stream", True))
                relay.positions = positions(params.get("streams"))
                try:
                    answer = await relay.first
                except errors.ShardElsewhere:
                    if not self._holdings.is_mine(workflow_id):
                        raise
                    params |= relay.position()  # what came before the answer that never came
                else:
                    request.defer()
                    request.answer(answer)
                    return

        return watch

    def unwatching(self, local: Callable[..., Any]) -> Callable[..., Any]:
        """`workflow.unwatch` for clients."""

        @functools.wraps(local)
        def unwatch(request: Request, /, workflow_id: str | None = None) -> Any:
            self.forget(request.connection, workflow_id)
            return local(request, workflow_id=workflow_id)

        return unwatch

    def forget(self, connection: Connection, workflow_id: str | None = None, *, everything: bool = False) -> None:
        for relay, task in list(self._running.items()):
            if relay.client is connection and (everything or relay.workflow_id == workflow_id):
                task.cancel()
        if everything or workflow_id is None:
            self._of_all.pop(connection, None)

    # One workflow

    def _start(self, client: Connection, workflow_id: str, after: int, stream: bool) -> Relay:
        self.forget(client, workflow_id)
        relay = Relay(self, client, workflow_id, after, stream)
        self._run(relay, self._follow_one(relay, workflow_id))
        return relay

    def _run(self, relay: Relay, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._running[relay] = task
        task.add_done_callback(lambda done: self._ended(relay, done))

    def _ended(self, relay: Relay, task: "asyncio.Task[None]") -> None:
        self._running.pop(relay, None)
        error = None if task.cancelled() else task.exception()
        if not relay.first.done():
            relay.first.set_exception(error or errors.ConnectionLost("the watch was given up"))
            relay.first.exception()  # who asked may have gone
        elif error is not None:
            log.error("a watch of another coordinator's workflow broke", exc_info=error)
            relay.say_where(error)

    async def _follow_one(self, relay: Relay, workflow_id: str) -> None:
        """Wherever it goes, until it is here."""
        give_up = asyncio.get_running_loop().time() + self.patience_seconds
        while not relay.client.closed:
            if self._holdings.is_mine(workflow_id):
                if not relay.first.done():
                    raise errors.ShardElsewhere(f"{workflow_id} is here now")
                self._watchers.add(
                    Watcher(relay.client, workflow_id, relay.sent, stream=relay.stream, has=relay.positions)
                )
                return
            holder = self._holdings.holder(workflow_id)
            if holder is not None:
                try:
                    await relay.follow(holder.url)
                    continue
                except (errors.ConnectionLost, errors.ShardElsewhere, TimeoutError):
                    pass
                except errors.JournalError as error:
                    if not relay.first.done() or isinstance(error, errors.JournalCorrupt):
                        raise  # else the journal is away: its owner, or the next one, reads it later
            if not relay.first.done() and asyncio.get_running_loop().time() > give_up:
                raise errors.ShardElsewhere(f"no coordinator has {workflow_id} at the moment")
            await self._holdings.changed(LOOK_AGAIN_SECONDS)

    def _given(self, shards: frozenset[int]) -> None:
        """Those who watched here what is elsewhere now."""
        for watcher, has in self._watchers.leave(lambda workflow_id: self._holdings.shard(workflow_id) in shards):
            if watcher.connection.data.get(RELAYED):
                self.errands.start(watcher.connection.close(reason="the workflow has moved"))
            elif watcher.workflow_id is not None and not watcher.connection.closed:
                relay = self._start(watcher.connection, watcher.workflow_id, watcher.sent, watcher.stream)
                relay.first.set_result(None)  # it was answered long ago
                relay.positions.update(has)

    # All workflows

    async def _follow_all(self, client: Connection, stream: bool) -> None:
        """What happens from here on is seen; a coordinator that does not answer soon is not waited for."""
        self.forget(client)
        self._of_all[client] = {}
        for lease in self._holdings.others:
            self._follow_owner(client, lease.owner, lease.url, stream)
        answers = [relay.first for relay in self._of_all[client].values()]
        if answers:
            await asyncio.wait(answers, timeout=FIRST_ANSWER_SECONDS)

    def _follow_owner(self, client: Connection, owner: str, url: str, stream: bool) -> None:
        relay = Relay(self, client, None, 0, stream)
        self._of_all[client][owner] = relay
        self._run(relay, self._follow_while_there(relay, owner, url))

    async def _follow_while_there(self, relay: Relay, owner: str, url: str) -> None:
        broken = False
        while not relay.client.closed and any(lease.owner == owner for lease in self._holdings.others):
            if broken:
                relay.say_where()
            with contextlib.suppress(errors.ConnectionLost, errors.ShardElsewhere, TimeoutError):
                await relay.follow(url)
            broken = True
            await self._holdings.changed(LOOK_AGAIN_SECONDS)
        if broken:
            relay.say_where()

    def _changed(self) -> None:
        """Coordinators have come or gone."""
        self.peers.leave_the_gone()
        for client, relays in list(self._of_all.items()):
            if client.closed:
                del self._of_all[client]
                continue
            there = {lease.owner: lease.url for lease in self._holdings.others}
            for owner in [owner for owner in relays if owner not in there]:
                relays.pop(owner).end()
            for owner in there.keys() - relays.keys():
                self._follow_owner(client, owner, there[owner], stream=True)

    # Its end

    async def close(self) -> None:
        running: Iterable[asyncio.Task[None]] = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.errands.close()
