"""A coordinator process: the real engine, service, performer, links, watchers and methods, wired as in
`gz_coordinator.main`; simulated are only the journal's disk, the sockets and the end of the process.

In half of the worlds two of them share the journal, and hold shards of it by leases; they are paused, and cut off from
it. Each has a machine of its own, whose clock is set forwards and back: what a process starts with stays its clock. The
process may die at every boundary: before an append, between its durability and its return, and before or after
each message that leaves it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from tests.simulation.deciding import Deciding
from tests.simulation.laws import broken
from tests.simulation.loop import PROCESS, Crashed, Process
from tests.simulation.network import End, Message, Wire

from gleitzeit import errors
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.journal.base import Append, Find, Lease, Record, Summary, Unfinished
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.messages import Result
from gleitzeit.model.definition import Definition
from gleitzeit.schemas import Catalogue
from gz_coordinator.main import CALL_LEASE_SECONDS
from gz_coordinator.methods.approvals import ApprovalMethods
from gz_coordinator.methods.reruns import RerunMethods
from gz_coordinator.methods.schedules import ScheduleMethods
from gz_coordinator.methods.workflows import WorkflowMethods
from gz_coordinator.parts import Parts
from gz_coordinator.performer import CallPerformer
from gz_coordinator.providers.links import Links
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import Holdings
from gz_coordinator.sharing.peers import Peers
from gz_coordinator.sharing.shared import Shared
from gz_coordinator.streams.recovery import recover
from gz_coordinator.streams.shelf import CacheShelf
from gz_coordinator.submitting.documents import Verdict
from gz_coordinator.watching.watchers import Watchers

if TYPE_CHECKING:
    from tests.simulation.world import World

_json = msgspec.json.Encoder().encode
_TASK_METHODS = ("sim/work", "sim/pay")
EPOCH_MS = 1_800_000_000_000
CACHE = "$cache/"
"""How the names of streams begin that hold no workflow, but a result for others."""


class Disk:
    """The journal's side of a coordinator process: the memory journal, behind delays and crashes."""

    def __init__(self, coordinator: "Coordinator") -> None:
        self._coordinator = coordinator
        self._world = coordinator.world
        self.memory = MemoryJournal(coordinator.world.store)
        self.unreachable_until = 0.0

    async def _way(self) -> None:
        """To the journal, or back: it takes a while, and longer if the network is broken."""
        world = self._world
        late = max(0.0, self.unreachable_until - world.loop.now)
        await world.loop.after(late + world.random.expovariate(1 / world.rates.commit))

    # What several coordinators share

    @property
    def shards(self) -> int:
        return self.memory.shards

    async def claim(self, owner: str, shards: Collection[int] | None = None, **more: Any) -> dict[int, int]:
        await self._way()
        epochs = await self.memory.claim(owner, shards, **more)
        self._world.laws.claimed(owner, epochs)
        self._coordinator.boundary()
        await self._way()
        return epochs

    async def renew(self, lease_seconds: float) -> None:
        await self._way()
        await self.memory.renew(lease_seconds)
        await self._way()

    async def release(self, shards: Collection[int] | None = None) -> None:
        await self._way()
        self._coordinator.boundary()
        await self.memory.release(shards)
        self._coordinator.boundary()
        await self._way()

    async def owners(self) -> list[Lease]:
        await self._way()
        return await self.memory.owners()

    # The journal

    async def append(self, commit: Sequence[Append]) -> None:
        world, coordinator = self._world, self._coordinator
        if commit and commit[0].stream.startswith(CACHE):
            await self._keep(commit)
            return
        coordinator.appending = True
        coordinator.boundary()
        await self._way()
        coordinator.boundary()
        await self.memory.append(commit)
        world.laws.written(coordinator.owner, [append.stream for append in commit], self.shards)
        world.laws.appended(commit, coordinator.engine, coordinator.service.clock())
        coordinator.note_cancelled()
        coordinator.boundary()
        if world.faulty and world.random.random() < world.rates.unknown_append:
            raise errors.JournalError("the disk did not say whether it is durable")
        await self._way()
        coordinator.appending = False

    async def _keep(self, commit: Sequence[Append]) -> None:
        """Results for others: a convenience beside the facts, but the process may die here, too."""
        self._coordinator.boundary()
        await self._world.loop.after(self._world.random.expovariate(1 / self._world.rates.commit))
        await self.memory.append(commit)
        self._coordinator.boundary()

    async def delete(self, streams: Sequence[str]) -> None:
        world, coordinator = self._world, self._coordinator
        coordinator.boundary()
        await self._way()
        await self.memory.delete(streams)
        world.laws.deleted(coordinator.owner, streams, self.shards)
        coordinator.boundary()
        await self._way()

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        await self._world.loop.after(self._world.random.expovariate(1 / self._world.rates.commit))
        return await self.memory.read(stream, after, limit)

    async def find(self, query: Find) -> list[Summary]:
        return await self.memory.find(query)

    async def unfinished(
        self, kind: str, wanted: Callable[[str], bool], before: tuple[int, str] | None = None, limit: int = 256
    ) -> list[Unfinished]:
        await self._world.loop.after(self._world.random.expovariate(1 / self._world.rates.commit))
        return await self.memory.unfinished(kind, wanted, before, limit)


class Documents:
    """Definitions reach the coordinator checked: what checks them has tests of its own."""

    async def size_of(self, request: "Request") -> int:
        return 0

    async def definition(self, document: Definition, *about: object) -> Verdict:
        return Verdict(document, ())

    def providers_describe(self, catalogue: Catalogue) -> None:
        """Nothing is checked here."""


class Request:
    """What a method of the coordinator may ask of the request that it serves."""

    def __init__(self, coordinator: "Coordinator", end: End, number: int, method: str) -> None:
        self.connection = end
        self.deferred = False
        self.params: object = None  # what stands beside them; nothing does
        self._coordinator = coordinator
        self._number = number
        self._method = method

    def defer(self) -> None:
        self.deferred = True

    def answer(self, view: Any) -> None:
        encoded = _json(view)
        self._coordinator.world.laws.answered(self._method, encoded)
        self.connection.reply(self._number, Result(Raw(encoded)))


def _functions(parts: Parts) -> dict[str, Any]:
    groups = (WorkflowMethods, RerunMethods, ApprovalMethods, ScheduleMethods)
    return {name: method for group in groups for name, method in group(parts).table().items()}


class Coordinator:
    """One start of the process, from reading the journal to its death."""

    engine: Deciding
    service: Service
    links: Links

    def __init__(self, world: "World", number: int, ahead_ms: int) -> None:
        """`ahead_ms`: what the clock of its machine is before that of the world."""
        self.world = world
        self.ahead_ms = ahead_ms
        self.owner = f"coordinator#{number}"
        self.process = Process(world.loop, self.owner, world)
        self.ready = False
        self.appending = False
        self.disk = Disk(self)
        self.ends: list[End] = []
        self._must_tell: dict[str, End] = {}
        """Call ids whose task is durably cancelled, and the socket by which their providers must hear of it."""
        self._request_of: dict[str, tuple[End, int]] = {}
        self.process.spawn(self._main())

    def clock(self) -> int:
        """As `gz_coordinator.main.utc_clock`: what the machine's clock said at the start, and what has passed since."""
        return EPOCH_MS + self.ahead_ms + int(self.world.loop.now * 1000)

    # Start

    async def _main(self) -> None:
        world = self.world
        epochs: dict[int, int] = {}
        if world.shared:
            lease = world.rates.lease + CALL_LEASE_SECONDS
            identity = Identity("simulation", 0, self.owner, 0, lease, world.store.shards, epochs)
        else:
            epochs = await self.disk.memory.claim(self.owner)
            world.laws.claimed(self.owner, epochs)
            identity = Identity("simulation", epochs[0], self.owner, lease_seconds=world.rates.lease)
        self.engine = Deciding(world.catalogue, identity, world.laws.counts)
        self.engine.settled, self.engine.at_once = world.room
        self.service = service = Service(self.engine, self.disk, self.clock)
        parts = Parts(service, self.disk, identity, "memory:")  # type: ignore[arg-type]  # Disk cannot be closed
        parts.documents = Documents()  # type: ignore[assignment]  # nothing to check
        parts.watchers = Watchers(self.disk, service.read)  # type: ignore[arg-type]  # as above
        parts.links = self.links = Links(
            self.owner, lambda: identity.fence, service.post, parts.learn_methods, self._out_of_band
        )
        self._watchers = service.audience = parts.watchers
        service.performer = CallPerformer(
            self.links.connection,
            service.post,
            identity.fence_of,
            self._fenced,
            self.engine.params_of,
            ask_cache=CacheShelf(self.disk, service.clock, service.post).ask,  # type: ignore[arg-type]  # as above
            ask_others=lambda effect: parts.shared.perform(effect) if parts.shared is not None else None,
        )
        if world.shared:
            await self._join(parts, epochs)
        else:
            _, warnings = await recover(service, held=False)
            if warnings:
                raise broken(3, f"a stream cannot be read: {warnings}")
            world.laws.recovered(world.workflow_streams(), self.engine)
            self._methods = _functions(parts)
            self.process.spawn(self._turn())
        self.ready = True
        world.announce_all(self)

    async def _join(self, parts: Parts, epochs: dict[int, int]) -> None:
        """As `Coordinator.share` and `_join` do."""
        world = self.world
        holdings = Holdings(
            self.disk,  # type: ignore[arg-type]  # its claim takes what holdings pass
            self.service, self.owner, epochs, lease_seconds=world.rates.lease, on_deposed=self._fenced,
            clock=lambda: world.loop.now,
        )  # fmt: skip
        peers = Peers(holdings, None, None)
        holdings.on_lapse = self._lapsed
        parts.shared = shared = Shared(peers, parts.watchers, self.service)
        self._relays = shared.relays
        self._methods = {name: shared.routed(name, f) for name, f in _functions(parts).items()}
        self._methods |= shared.table()
        self.process.spawn(self._turn())
        try:
            await holdings.start(self.owner)
        except errors.JournalFenced as error:  # it was paused for longer than its first lease
            self._fenced(str(error))
        if holdings.warnings:
            raise broken(3, f"a stream cannot be read: {holdings.warnings}")
        self.process.spawn(holdings.run())

    async def _turn(self) -> None:
        """The loop, until the disk ends it: then a new process has to read what is there."""
        try:
            await self.service.run()
        except errors.GleitzeitError as error:
            deposed = self.world.shared and type(error) is errors.JournalFenced
            self.world.laws.counts["deposed"] += deposed
            if type(error) is not errors.JournalError and not deposed:
                self.world.loop.fail(error)
            self.world.process_ended(self)

    def _out_of_band(self, method: str, params: Raw | None) -> None:
        assert params is not None
        call = self.engine.calls.get(msgspec.json.decode(params)["progressToken"])
        if call is not None:
            self._watchers.forward(call, method, params)

    def _lapsed(self) -> None:
        """As `Coordinator._lapsed`."""
        if self.links.leave_foreign("the lease of its caller has run out"):
            self._fenced("the lease has run out")

    def _fenced(self, reason: str) -> None:
        if not self.world.shared:
            raise broken(11, f"the only coordinator was fenced: {reason}")
        self.world.laws.counts["deposed"] += 1
        self.world.process_ended(self)
        raise Crashed

    # Its sockets

    def accept(self, end: End) -> None:
        """A client has connected."""
        self.ends.append(end)
        end.receive = self._serve
        end.observe = self._leaving
        end.add_close_callback(self._watchers.remove)
        if self.world.shared:
            end.add_close_callback(lambda closed: self._relays.forget(closed, everything=True))

    def connected(self, wire: Wire, url: str) -> End:
        """It has connected to a provider."""
        wire.near.data["url"] = url
        self.ends.append(wire.near)
        wire.near.observe = self._leaving
        return wire.near

    def greeted(self, wire: Wire) -> End:
        """It has connected to another coordinator."""
        self.ends.append(wire.near)
        wire.near.observe = lambda end, message: self.boundary()
        return wire.near

    def _leaving(self, end: End, message: Message) -> None:
        """A message is about to leave: whatever is behind it must be durable."""
        self.boundary()
        match message:
            case ("request", number, "call.attach", params):
                self.world.laws.counts["attached"] += 1
                self._request_of[msgspec.json.decode(params)["callId"]] = end, number
            case ("request", number, method, params) if method in _TASK_METHODS:
                meta = self.world.laws.call_sent(method, params)
                self._request_of[meta.call_id] = end, number
                if self.world.foreign is not None and end.data["url"] == self.world.foreign.url:
                    self.world.foreign.call_sent(end, number, meta.call_id)
                self.world.maybe_replay(end.data["url"], meta.instance, meta.call_id, method, params)
            case ("notify", "call.ack", params):
                self.world.laws.acknowledged_calls(msgspec.json.decode(params)["callIds"])
            case ("notify", "notifications/event", params):
                self.world.laws.event_published(params)
            case ("cancel", number, _):
                if self.world.foreign is not None:
                    self.world.foreign.call_cancelled(end, number)
                told = [i for i, where in self._must_tell.items() if self._request_of.get(i) == (end, number)]
                for call_id in told:
                    del self._must_tell[call_id]

    def boundary(self) -> None:
        """Here the process may die."""
        self.world.maybe_crash(self)

    # Law 10: every running call of what was cancelled is told

    def note_cancelled(self) -> None:
        """The commit is durable: which providers must hear of it before the next one?"""
        for call_id, end in self._must_tell.items():
            answered = self._request_of[call_id][1] not in end.requests
            if not answered and not end.closed and not end.wire.broken:
                raise broken(10, f"{call_id} was cancelled, and its provider was not told")
        self._must_tell.clear()
        for call_id in self.world.laws.cancelled:
            end, number = self._request_of.get(call_id, (None, 0))
            if end is not None and not end.closed and number in end.requests:
                self._must_tell[call_id] = end

    # Its methods

    def _serve(self, end: End, message: Message) -> None:
        match message:
            case ("request", number, method, params):
                PROCESS.get().spawn(self._answer(end, number, method, params))

    async def _answer(self, end: End, number: int, method: str, params: dict[str, Any]) -> None:
        request = Request(self, end, number, method)
        try:
            view = self._methods[method](request, **params)
            if asyncio.iscoroutine(view):
                view = await view
        except errors.GleitzeitError as error:
            end.reply(number, failure_of(error))
        else:
            if not request.deferred:
                request.answer(view)
