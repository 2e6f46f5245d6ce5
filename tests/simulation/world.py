"""Everything from one seed: the world, its faults, and the calm after them in which all must come to an end."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace
from tests.simulation.client import Client, Hasty
from tests.simulation.coordinator import Coordinator
from tests.simulation.flow_documents import with_flow
from tests.simulation.foreign import Foreign
from tests.simulation.laws import Laws, Violation, broken
from tests.simulation.loop import PROCESS, Crashed, Process, SimLoop
from tests.simulation.network import End, Wire
from tests.simulation.planner import Planner
from tests.simulation.provider import Provider
from tests.simulation.time_documents import INNER, limit_of_all, priority_of_all, with_questions, with_time

from gleitzeit.discovery.base import ProviderSeen, Report
from gleitzeit.errors import ConnectionLost
from gleitzeit.journal.memory import MemoryStore
from gleitzeit.model.definition import (
    Alternative,
    BreakerPolicy,
    Budget,
    CachePolicy,
    Concurrency,
    Definition,
    Priority,
    RetryPolicy,
    TaskDefinition,
)
from gleitzeit.model.permits import LIMITS
from gleitzeit.schemas import Catalogue, method_schema
from gz_coordinator import steps
from gz_coordinator.methods import schedules
from gz_coordinator.providers import link
from gz_coordinator.sharing import peers

DAY_MS = 86_400_000
CALM_SECONDS = 1_500.0
MAX_CRASHES = 12
HASTE = (2, 6, 7, 15)
"""In four of sixteen worlds, in which little happens in a turn, two clients are in a hurry beside few others."""
FULL = 4
"""In half of the crowded worlds the disk is full at least so often."""
GARBAGE = 64
"""So many worlds may be in memory that are over: their parts know each other."""
SHARDS = 8
"""Of a shared journal: fewer than in life, and as good."""


class Rates(Struct, frozen=True):
    """How bad it gets; drawn per seed. Times in seconds, the others are probabilities."""

    storm: float
    latency: float
    commit: float
    work: float
    lease: float
    notice: float
    crash: float
    """At each boundary."""
    unknown_append: float
    task_failure: float
    replay: float
    """Something on the way delivers a request a second time, later."""
    kills: int
    drains: int
    cuts: int
    partitions: int
    restarts: int
    full_disks: int
    pauses: int
    """A coordinator stands still for a while."""
    isolations: int
    """A coordinator cannot reach the journal for a while."""
    sicknesses: int
    """Times in which a provider's back end answers nothing but 503."""
    jumps: int
    """Times that the clock of a coordinator's machine is set."""


ROOMS = [(2_000, 1_000), (4, 0), (2_000, 1_000), (6, 3)]
"""How many tasks are queued or ended in one turn at most, and how many a workflow may have that ends in one."""


def draw(random: Random) -> Rates:
    return Rates(
        storm=random.choice([20.0, 60.0]),
        latency=random.choice([0.001, 0.02, 0.3]),
        commit=random.choice([0.0005, 0.01, 0.1]),
        work=random.choice([0.05, 1.0, 5.0]),
        lease=random.choice([5.0, 20.0]),
        notice=random.choice([0.1, 3.0]),
        crash=random.choice([0.0, 0.002, 0.01, 0.05]),
        unknown_append=random.choice([0.0, 0.0, 0.02]),
        task_failure=random.choice([0.0, 0.1, 0.4]),
        replay=random.choice([0.0, 0.3]),
        kills=random.choice([0, 1, 4, 12]),
        drains=random.choice([0, 0, 1]),
        cuts=random.choice([0, 2, 6]),
        partitions=random.choice([0, 0, 1, 3]),
        restarts=random.choice([0, 1, 3]),
        full_disks=random.choice([0, 0, 1, 3, 8]),
        sicknesses=random.choice([0, 2, 6]),
        pauses=random.choice([0, 1, 3]),
        isolations=random.choice([0, 0, 2]),
        jumps=random.choice([0, 1, 4]),
    )


class World:
    def __init__(self, seed: int, coordinators: int | None = None) -> None:
        """Every other world has two coordinators, if it is not said how many."""
        self.seed = seed
        seats = coordinators or 1 + seed % 2
        self.random = random = Random(f"{seed}/world")
        self.rates = draw(random)
        self.room = ROOMS[seed // 2 % len(ROOMS)]
        self.loop = SimLoop()
        self.laws = Laws()
        self.shared = self.laws.shared = seats > 1
        self.store = MemoryStore(shards=SHARDS, clock=lambda: self.loop.now) if self.shared else MemoryStore()
        self.faulty = True
        self.outside = Process(self.loop, "outside", self)
        self.provider_methods = [
            method_schema("sim/work", {"params": {"properties": {"model": {}}}}),
            method_schema("sim/pay", {"x-idempotent": False}),
        ]
        inner = [method_schema(name, {"x-runs": "coordinator"}) for name in INNER]
        self.catalogue = Catalogue([*self.provider_methods, *inner])
        self.crashes = 0
        self.seats: list[Coordinator | None] = [None] * seats
        self.ahead_ms = [self._jump() if random.random() < 0.3 else 0 for _ in range(seats)]
        """Of each seat's machine: what its clock is before that of the world."""
        self._coordinators = self.ids = 0
        self._wires: list[Wire] = []
        self._wire_count = 0
        names = random.choice([("p0", "p1"), ("p0", "p1", "p2"), ("p0", "p1", "p2"), ("p", "p", "q")])
        self.providers = [
            Provider(self, name, f"ws://{i}", random.choice([1, 2, 5]), Random(f"{seed}/provider/{i}"))
            for i, name in enumerate(names)
        ]
        self.quiet = random.random() < 0.25
        """Nobody meddles or asks: the coordinators have only themselves to go on, and clients what they watch."""
        if self.quiet:
            self.rates = replace(self.rates, jumps=0, crash=0.0, kills=0, drains=0, cuts=0, partitions=0)
        self.foreign: Foreign | None = None
        """Several coordinators call it beside each other, and only they keep its capacity."""
        chance = Random(f"{seed}/foreign")
        if self.shared and not self.quiet and chance.random() < 0.6:
            self.foreign = Foreign(self, "ws://foreign", chance, alone=chance.random() < 0.5)
        self._crowded = seed % 8 == 3 and not self.quiet
        if self._crowded and seed % 16 == 3:
            self.rates = replace(self.rates, full_disks=max(FULL, self.rates.full_disks))
        hasty = seed % 16 in HASTE and not self.quiet
        clients = random.randint(1, 6)
        self.clients = [self._client(i) for i in range(6 if self._crowded else min(clients, 3) if hasty else clients)]
        before: Hasty | None = None
        for number in range(2 * hasty):
            chance = Random(f"{seed}/hasty")
            before = Hasty(self, f"hasty-{number}", wide(chance), partial(wide, chance), chance, before)
            self.clients.append(before)
        if not self.quiet and random.random() < 0.5:
            self.clients.append(Planner(self, "planner", Random(f"{seed}/planner")))

    def _client(self, number: int) -> Client:
        random = Random(f"{self.seed}/client/{number}")
        other = Random(f"{self.seed}/client/{number}/other")
        return Client(self, f"client-{number}", self._definition(random), partial(self._definition, other), random)

    def _definition(self, random: Random) -> Definition:
        breakers = 1.0 if self.quiet else 0.6
        return definition(random, breakers=breakers, crowded=self._crowded, asks=not self.quiet)

    @property
    def coordinators(self) -> list[Coordinator]:
        """Those that are up."""
        return [one for one in self.seats if one is not None and one.ready]

    # The course of it

    def run(self) -> None:
        """Raises Violation."""
        self._plan()
        storm = self.rates.storm
        self.loop.run_until(storm)
        self.loop.now = max(self.loop.now, storm)
        self._calm()
        self.loop.run_until(storm + CALM_SECONDS, self._all_over)
        unfinished = [client.name for client in self.clients if not client.finished]
        if not self.coordinators:
            raise broken(17, "no coordinator is up")
        self.laws.all_over(self.workflow_streams(), [one.engine for one in self.coordinators])
        if unfinished:
            raise broken(17, f"all workflows have ended, but {unfinished} have not seen it")

    def workflow_streams(self) -> dict[str, list[bytes]]:
        return {
            name: stream.events
            for name, stream in self.store.streams.items()
            if not name.startswith(("$cache/", "$schedule/", LIMITS))
        }

    def _all_over(self) -> bool:
        for client in self.clients:
            if not client.finished:
                return False
        up = self.coordinators
        if len(up) < len(self.seats):
            return False
        if any(one.engine.calls or one.appending or self._is_stale(one) for one in up):
            return False
        executing = any(self.laws.running.values())
        return not executing and all(durable.final for durable in self.laws.durable.values())

    def _is_stale(self, coordinator: Coordinator) -> bool:
        """It stands still, or has been deposed and does not know it yet."""
        return coordinator.process.paused_until > self.loop.now or coordinator.owner not in self.store.owners

    def _plan(self) -> None:
        rates, random, at = self.rates, self.random, self._at
        for seat in range(len(self.seats)):
            at(random.uniform(0, 1 + 10 * seat), self._start_coordinator, seat)
        for _ in range(rates.pauses):
            at(random.uniform(1, rates.storm), self._pause, random.randrange(len(self.seats)))
        for _ in range(rates.jumps):
            at(random.uniform(1, rates.storm), self._set_clock, random.randrange(len(self.seats)))
        if self.shared:
            for _ in range(rates.isolations):
                at(random.uniform(1, rates.storm), self._isolate, random.randrange(len(self.seats)))
        for provider in self.providers:
            at(random.uniform(0, 3), provider.start)
        if self.foreign is not None:
            at(self.foreign.random.uniform(0, 3), self.foreign.start)
            for _ in range(self.foreign.random.choice([0, 0, 2])):
                at(self.foreign.random.uniform(1, rates.storm), self._kill_foreign, self.foreign)
        for _ in range(rates.kills):
            at(random.uniform(1, rates.storm), self._kill_provider, random.choice(self.providers))
        for _ in range(rates.drains):
            at(random.uniform(1, rates.storm), random.choice(self.providers).drain)
        for _ in range(rates.cuts):
            at(random.uniform(1, rates.storm), self._cut)
        for _ in range(rates.partitions):
            at(random.uniform(1, rates.storm), self._partition, random.choice(self.providers))
        for _ in range(rates.restarts):
            at(random.uniform(1, rates.storm), self._kill_coordinator, random.randrange(len(self.seats)))
        for _ in range(rates.sicknesses):
            at(random.uniform(1, rates.storm), self._sicken, random.choice(self.providers))
        if self.quiet:
            at(random.uniform(rates.storm - 12, rates.storm), self._sicken_all)
        stalls = Random(f"{self.seed}/stalls")
        for _ in range(stalls.choice([0, 0, 4, 16]) * (not self.quiet)):
            at(stalls.uniform(1, rates.storm), self._stall, stalls)
        for _ in range(rates.full_disks):
            start = random.uniform(1, rates.storm * 0.7)
            at(start, self._disk_full)
            at(start + random.uniform(0.5, 8), self._disk_free)

    def _at(self, when: float, callback: Any, *arguments: Any) -> None:
        self.loop.call_at(when, callback, *arguments, context=self.outside.context)

    def _after(self, low: float, high: float, callback: Any, *arguments: Any) -> None:
        self._at(self.loop.now + self.random.uniform(low, high), callback, *arguments)

    def _calm(self) -> None:
        self.faulty = False
        self._disk_free()
        for seat, coordinator in enumerate(self.seats):
            if coordinator is None:
                self._after(0, 1, self._start_coordinator, seat)
        for provider in self.providers:
            if provider.process is None or provider.table.draining:
                self._after(15, 20, provider.start)

    # Faults

    def _sicken(self, provider: Provider) -> None:
        provider.sick_until = self.loop.now + self.random.choice([2, 10, 30])

    def _sicken_all(self) -> None:
        """Until the calm: then only probes lead on, and nothing else happens that could wake anybody."""
        for provider in self.providers:
            provider.sick_until = self.rates.storm

    def _pause(self, seat: int) -> None:
        coordinator = self.seats[seat]
        if coordinator is not None and coordinator.process.paused_until < self.loop.now:
            coordinator.process.paused_until = self.loop.now + self.random.choice([1, 8, 40])

    def _jump(self) -> int:
        return self.random.choice([-DAY_MS, -90_000, -2_000, 2_000, 90_000, DAY_MS])

    def _set_clock(self, seat: int) -> None:
        """A process keeps the time that it started with: the next one hears of it."""
        self.ahead_ms[seat] += self._jump()

    def _isolate(self, seat: int) -> None:
        coordinator = self.seats[seat]
        if coordinator is not None:
            coordinator.disk.unreachable_until = self.loop.now + self.random.choice([1, 8, 40])

    def _disk_full(self) -> None:
        self.store.capacity_bytes = self.store.size_bytes

    def _disk_free(self) -> None:
        self.store.capacity_bytes = None

    def _kill_provider(self, provider: Provider) -> None:
        if self.faulty and provider.process is not None:
            provider.kill()
            if self.random.random() < 0.3:
                provider.url += "'"
            self._after(0.01, self.random.choice([1, 12]), provider.start)

    def _kill_foreign(self, foreign: Foreign) -> None:
        foreign.kill()
        self._at(self.loop.now + foreign.random.uniform(0.01, 5), foreign.start)

    def _cut(self) -> None:
        wires = [w for w in self._wires if not w.broken and not w.near.closed and not w.far.closed]
        if wires:
            self.random.choice(wires).cut("the network broke", self.rates.notice)

    def _stall(self, random: Random) -> None:
        """Packets are lost and sent again: what one end sends from now on comes late. If its process dies meanwhile,
        what it has asked for arrives when others have long taken its place."""
        wires = [w for w in self._wires if not w.broken and not w.near.closed and not w.far.closed]
        if wires:
            wire = random.choice(wires)
            end = random.choice([wire.near, wire.far])
            end.arrives_at = max(end.arrives_at, self.loop.now + random.choice([1, 4, 12]))

    def _partition(self, provider: Provider) -> None:
        """For a while nobody reaches it, though it lives."""
        provider.unreachable_until = self.loop.now + self.random.choice([1, 5, 40])
        for end in list(provider.ends.values()):
            end.wire.cut("the network broke", self.rates.notice)

    def maybe_replay(self, url: str, instance: str, call_id: str, method: str, params: bytes) -> None:
        """A request that has arrived comes again, to whoever listens at the address by then: it may have been executed,
        or turned away."""
        if self.faulty and self.random.random() < self.rates.replay:
            self._after(0, 8, self._replay, url, instance, call_id, method, params)

    def _replay(self, url: str, instance: str, call_id: str, method: str, params: bytes) -> None:
        provider = next((p for p in self.providers if p.url == url and p.process is not None), None)
        if provider is not None and (instance, call_id) in self.laws.arrived and provider.ends:
            end = next(reversed(provider.ends.values()))
            end.wire.carry(end, ("request", 0, method, params))

    def network_lost(self, end: End) -> None:
        """The process of this end is dead."""
        end.wire.process_died(end, flushed=self.random.random() < 0.7, notice_seconds=self.rates.notice)

    def maybe_crash(self, coordinator: Coordinator) -> None:
        may = self.faulty and coordinator in self.seats and self.crashes < MAX_CRASHES
        if may and self.random.random() < self.rates.crash:
            self._kill_coordinator(self.seats.index(coordinator))
            if PROCESS.get() is coordinator.process:
                raise Crashed

    def _kill_coordinator(self, seat: int) -> None:
        coordinator = self.seats[seat]
        if coordinator is not None:
            self.crashes += 1
            self.process_ended(coordinator)

    def process_ended(self, coordinator: Coordinator) -> None:
        if coordinator not in self.seats:
            return
        seat = self.seats.index(coordinator)
        self.seats[seat] = None
        coordinator.process.kill()
        coordinator.disk.memory.abandon()
        for end in coordinator.ends:
            if not end.closed:
                self.network_lost(end)
        self._after(0.05, self.random.choice([0.2, 4]), self._start_coordinator, seat)

    def _start_coordinator(self, seat: int) -> None:
        if self.seats[seat] is None:
            self._coordinators += 1
            self.seats[seat] = Coordinator(self, self._coordinators, self.ahead_ms[seat])

    # Discovery and sockets

    @property
    def _listening(self) -> list[Provider | Foreign]:
        return [*self.providers, *((self.foreign,) if self.foreign is not None else ())]

    def announce(self, report: Report) -> None:
        """A provider's word reaches the coordinator, if there is one, some time later."""
        if isinstance(report, ProviderSeen):
            self.laws.capacities[report.instance] = next(p.capacity for p in self._listening if p.url == report.url)
        for one in self.coordinators:
            self._tell(one, report)

    def _tell(self, coordinator: Coordinator, report: Report) -> None:
        links, context = coordinator.links, coordinator.process.context
        self.loop.call_later(self.random.uniform(0, 0.5), links.report, report, context=context)

    def announce_all(self, coordinator: Coordinator) -> None:
        for provider in self._listening:
            if provider.process is not None:
                self._tell(coordinator, ProviderSeen(provider.name, provider.instance, provider.url))

    def _wire(self, latency: float, near: Process, far: Process) -> Wire:
        self._wire_count += 1
        wire = Wire(Random(f"{self.seed}/wire/{self._wire_count}"), latency, near, far)
        self._wires.append(wire)
        return wire

    async def connect_provider(self, url: str, on_notification: Any) -> End:
        """What `transport.connect` is to the coordinator's links."""
        coordinator = self._who_connects()
        provider = next((p for p in self._listening if p.url == url), None)
        if provider is None or provider.process is None:
            raise ConnectionLost(f"cannot connect to {url}") from ConnectionRefusedError()
        if self.loop.now < provider.unreachable_until:
            raise ConnectionLost(f"no answer from {url}") from TimeoutError()
        wire = self._wire(self.rates.latency, coordinator.process, provider.process)
        provider.accept(wire.far)
        end = coordinator.connected(wire, url)
        end.receive = lambda end, message: on_notification(end, *message[1:]) if message[0] == "notify" else None
        return end

    def _who_connects(self) -> Coordinator:
        return next(one for one in self.seats if one is not None and one.process is PROCESS.get())

    async def connect_peer(self, url: str, on_notification: Any) -> End:
        """What `transport.connect` is to a coordinator that asks another one, whose url is its name here."""
        near = self._who_connects()
        far = next((one for one in self.coordinators if one.owner == url), None)
        if far is None:
            raise ConnectionLost(f"cannot connect to {url}") from ConnectionRefusedError()
        wire = self._wire(self.rates.latency, near.process, far.process)
        far.accept(wire.far)
        end = near.greeted(wire)
        if on_notification is not None:
            end.receive = lambda end, message: on_notification(end, *message[1:]) if message[0] == "notify" else None
        return end

    def connect_client(self, client: Client) -> End | None:
        if not self.coordinators:
            return None
        coordinator = self.random.choice(self.coordinators)
        wire = self._wire(min(self.rates.latency, client.latency), client.process, coordinator.process)
        coordinator.accept(wire.far)
        return wire.near


async def connect(url: str, *, on_notification: Any = None, open_timeout_seconds: float = 5.0, **_: Any) -> End:
    """Stands where `gz_coordinator.providers.link` expects the transport's `connect`."""
    world: World = PROCESS.get().world
    return await world.connect_provider(url, on_notification)


async def connect_peer(url: str, *, on_notification: Any = None, **_: Any) -> End:
    """Stands where `gz_coordinator.sharing.peers` expects the transport's `connect`."""
    world: World = PROCESS.get().world
    return await world.connect_peer(url, on_notification)


def new_id(now: int) -> str:
    """Stands where `gz_coordinator.methods.schedules` expects ids that come by chance."""
    world: World = PROCESS.get().world
    world.ids += 1
    return f"wf-{now}-{world.ids}"


# Documents

_METHODS: MappingProxyType[str, float] = MappingProxyType(
    {"sim/work": 6, "sim/pay": 3, "timer/sleep": 1, "signal/wait": 1}
)


_CALLED = ("sim/work", "sim/pay")


def definition(random: Random, *, breakers: float, crowded: bool, asks: bool) -> Definition:
    """A document in its normal form, as `gleitzeit.spec` would make it; one with circuit breakers is so likely. Where
    it is `crowded` most tasks have a key; `asks`: somebody is there to answer."""
    count = random.randint(1, 8)
    tasks = with_time(with_flow(tuple(_task(random, i) for i in range(count))), crowded=crowded)
    return Definition(
        name=f"w{random.randrange(1000)}",
        tasks=with_questions(tasks) if asks else tasks,
        error_policy=random.choice(["isolate", "isolate", "fail_fast", "continue"]),
        timeout_seconds=random.choice([None, None, None, 30.0]),
        max_parallel=random.choice([None, None, 1, 2]),
        priority=priority_of_all(tasks),
        breakers={"sim": BreakerPolicy(random.choice([1, 3]), random.choice([1, 2]), random.choice([0.5, 8.0]))}
        if random.random() < breakers
        else {},
        budget=_budget(random, calls=12, seconds=30.0) if random.random() < 0.2 else None,
        concurrency=limit_of_all(tasks),
    )


def wide(random: Random) -> Definition:
    """Many tasks that nobody waits for; a few of them run in any case."""
    tasks = [_task(random, number) for number in range(random.randint(8, 12))]
    always = {random.choice(tasks).id for _ in range(random.randint(0, 3))}
    return Definition(
        name="wide",
        tasks=tuple(
            replace(task, dependencies=(), trigger="always" if task.id in always else "success",
                    params=_without(task.params), fallback=())
            for task in tasks
        ),
        error_policy=random.choice(["isolate", "fail_fast"]),
        concurrency=random.choice([None, *(Concurrency("k0", 1, one) for one in ("fail", *2 * ("cancel_running",)))]),
    )  # fmt: skip


def _without(params: Raw) -> Raw:
    """References to what it does not depend on."""
    value = msgspec.json.decode(params)
    return Raw(msgspec.json.encode({**value, "in": []} if "in" in value else value))


def _budget(random: Random, *, calls: int, seconds: float) -> Budget:
    """Of one kind, and at most so much."""
    kind = random.choice(["calls", "tokens", "seconds"])
    if kind == "calls":
        return Budget(calls=random.randint(1, calls))
    return Budget(tokens=random.randint(1, 300)) if kind == "tokens" else Budget(seconds=random.uniform(0.1, seconds))


def _task(random: Random, number: int) -> TaskDefinition:
    dependencies = tuple(f"t{i}" for i in sorted(random.sample(range(number), random.randint(0, min(number, 3)))))
    method = random.choices(list(_METHODS), list(_METHODS.values()))[0]
    return TaskDefinition(
        id=f"t{number}",
        method=method,
        params=Raw(msgspec.json.encode(_params(random, method, number, dependencies))),
        dependencies=dependencies,
        references=True,
        priority=random.choice(list(Priority)),
        retry=RetryPolicy(
            max_attempts=random.choice([1, 2, 4]),
            backoff=random.choice(["fixed", "linear", "exponential"]),
            base_delay_seconds=random.choice([0.1, 1.0]),
            max_delay_seconds=random.choice([1.0, 5.0]),
            jitter=random.random() < 0.5,
        ),
        timeout_seconds=random.choice([None, None, 2.0, 10.0]),
        queue_timeout_seconds=random.choice([None, None, None, 30.0]),
        on_error=random.choice(["fail", "fail", "skip"]),
        on_lost=random.choice(["", "", "retry", "fail"]),
        **(_spending(random, number, dependencies) if method in _CALLED else {}),
    )


def _spending(random: Random, number: int, dependencies: tuple[str, ...]) -> dict[str, Any]:
    """What else a task that a provider runs may say: other calls for one that fails, what it may cost, what is kept."""
    methods = random.choices(_CALLED, k=random.choice([0, 0, 0, 1, 2]))
    key = random.choice(["", "k0", "k1"])
    return {
        "fallback": tuple(
            Alternative(
                label=f"{method} {other}",
                method=method,
                params=Raw(msgspec.json.encode(_params(random, method, number, dependencies))),
                references=True,
            )
            for other, method in enumerate(methods)
        ),
        "budget": _budget(random, calls=3, seconds=5.0) if random.random() < 0.15 else None,
        "cache": CachePolicy(random.choice([0.5, 5.0, 600.0]), key) if random.random() < 0.25 else None,
    }


def _params(random: Random, method: str, number: int, dependencies: tuple[str, ...]) -> dict[str, Any]:
    if method == "timer/sleep":
        return {"seconds": random.choice([0, 0.5, 3, 20])}
    if method == "signal/wait":
        return {"signal_name": random.choice("ab"), "timeout": random.choice([5, 40])}
    return {"n": random.randrange(1000), "in": [f"${{{name}}}" for name in dependencies], "note": "$${t0.value}"}


def run(seed: int, coordinators: int | None = None) -> tuple[World, Violation | None]:
    """Play one seed. Whatever else is raised than a Violation is a bug too, and is raised."""
    world = World(seed, coordinators)
    try:
        world.run()
    except Violation as violation:
        return world, violation
    except Exception as error:
        error.add_note(f"seed {seed}: python -m tests.simulation --start {seed} --seeds 1")
        raise
    finally:
        _bury(world)
    return world, None


def _bury(world: World) -> None:
    """Unwind what is left, so that nothing of this world runs in the next."""
    processes = [world.outside, *(client.process for client in world.clients)]
    processes += [provider.process for provider in world._listening if provider.process is not None]
    processes += [one.process for one in world.seats if one is not None]
    for process in processes:
        process.kill()
    if world.seed % GARBAGE == 0:
        gc.collect()


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """While it lasts, the coordinator's links connect to simulated providers, and nothing comes by chance."""
    real, real_id, huge_bytes = link.connect, schedules.new_workflow_id, steps.HUGE_BYTES
    steps.HUGE_BYTES = sys.maxsize  # else who takes over would keep all worlds before this one in memory for ever
    gc.freeze()  # what is there already need not be looked at again and again: a third of the time
    gc.disable()  # `_bury` looks for garbage, now and then
    link.connect = connect  # type: ignore[assignment]  # takes what links pass, and no more
    peers.connect = connect_peer  # type: ignore[assignment]  # as above
    schedules.new_workflow_id = new_id
    try:
        yield
    finally:
        link.connect = peers.connect = real
        schedules.new_workflow_id = real_id
        steps.HUGE_BYTES = huge_bytes
        gc.enable()
        gc.unfreeze()
