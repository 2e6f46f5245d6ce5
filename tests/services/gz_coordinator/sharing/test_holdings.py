"""Who has which shards: played on a shared memory journal, with a clock that moves when it is told to."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.libs.engine.builders import definition, raw, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.decisions.schedules import scheduled_id
from gleitzeit.engine.engine import Engine
from gleitzeit.errors import JournalFenced
from gleitzeit.journal.base import Unfinished
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.model.schedules import ScheduleDefinition
from gleitzeit.model.shards import SHARDS
from gleitzeit.schemas import builtin
from gz_coordinator.service import Service
from gz_coordinator.sharing.holdings import Holdings, share
from gz_coordinator.streams import recovery

LEASE = 10.0


@given(st.lists(st.text(max_size=3), min_size=1, max_size=70, unique=True))
def test_parts_are_equal_and_together_everything(owners: list[str]) -> None:
    parts = [share(owners, owner, SHARDS) for owner in owners]
    assert sum(parts) == SHARDS
    assert max(parts) - min(parts) <= 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Silent:
    """Nothing is performed and nobody listens."""

    def perform(self, effects: object) -> None:
        pass

    def publish(self, *event: object) -> None:
        pass


class Member:
    """A coordinator as far as shards go: a service that turns, and its holdings."""

    def __init__(self, store: MemoryStore, clock: Clock, name: str, journal: MemoryJournal | None = None) -> None:
        self.name = name
        self.journal = journal or MemoryJournal(store)
        self.epochs: dict[int, int] = {}
        identity = Identity("c", 0, name, shards=SHARDS, epochs=self.epochs)
        self.service = Service(Engine(builtin(), identity), self.journal, lambda: 1)
        self.service.performer = self.service.audience = Silent()
        self.deposed: list[str] = []
        self.holdings = Holdings(
            self.journal, self.service, name, self.epochs, lease_seconds=LEASE, on_deposed=self.deposed.append,
            clock=clock,
        )  # fmt: skip

    async def start(self) -> None:
        self.turning = asyncio.ensure_future(self.service.run())
        await self.holdings.start(f"ws://{self.name}")

    async def stop(self) -> None:
        self.service.stop()
        await asyncio.gather(self.turning, return_exceptions=True)


async def looks(members: Iterable[Member], times: int = 4) -> None:
    for _ in range(times):
        for member in members:
            await member.holdings._look()


async def test_shards_go_round_as_coordinators_come_go_and_die() -> None:
    clock = Clock()
    store = MemoryStore(shards=SHARDS, clock=clock)
    one, two, three = (Member(store, clock, name) for name in ("one", "two", "three"))
    await one.start()
    assert len(one.holdings.mine) == SHARDS
    await two.start()
    await looks([one, two])
    assert (len(one.holdings.mine), len(two.holdings.mine)) == (32, 32)
    assert one.holdings.mine.isdisjoint(two.holdings.mine)
    await three.start()
    await looks([one, two, three])
    members = (one, two, three)
    assert sorted(len(member.holdings.mine) for member in members) == [21, 21, 22]
    assert frozenset().union(*(member.holdings.mine for member in members)) == frozenset(range(SHARDS))
    for member in members:
        assert set(member.epochs) == set(member.holdings.mine)
        assert {lease.url for lease in member.holdings.others} == {f"ws://{m.name}" for m in members if m is not member}
    # three dies without a word
    for _ in range(4):
        clock.now += LEASE / 3
        await looks([one, two], 1)
    await looks([one, two])
    assert (len(one.holdings.mine), len(two.holdings.mine)) == (32, 32)
    with pytest.raises(JournalFenced):
        await three.holdings._look()
    # two leaves in order
    await two.holdings.leave()
    await looks([two, one])
    assert len(two.holdings.mine) == 0
    await two.journal.close()
    await looks([one])
    assert len(one.holdings.mine) == SHARDS
    for member in members:
        await member.stop()


class Slow(MemoryJournal):
    """Takes longer than a lease to say what is unfinished, and goes on only when that is renewed."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        super().__init__(store)
        self.clock, self.renewed = clock, asyncio.Event()

    async def renew(self, lease_seconds: float = LEASE) -> None:
        await super().renew(lease_seconds)
        self.renewed.set()

    async def unfinished(self, *asked: Any, **more: Any) -> list[Unfinished]:
        for _ in range(4):
            self.clock.now += 0.03
            self.renewed.clear()
            await asyncio.wait_for(self.renewed.wait(), 30)
        return await super().unfinished(*asked, **more)


async def test_the_lease_is_renewed_while_very_many_workflows_are_taken_over() -> None:
    clock = Clock()
    store = MemoryStore(shards=SHARDS, clock=clock)
    one = Member(store, clock, "one", Slow(store, clock))
    one.holdings.lease_seconds = 0.1
    await one.start()
    assert len(one.holdings.mine) == SHARDS
    await looks([one])
    assert not one.turning.done()
    await one.stop()


async def test_a_loop_that_was_away_for_longer_than_the_lease_takes_no_turn() -> None:
    clock = Clock()
    one = Member(MemoryStore(shards=SHARDS, clock=clock), clock, "one")
    await one.start()
    clock.now += LEASE + 1
    one.service.post(inp.ProviderSeen("p#1"))
    with pytest.raises(JournalFenced, match="lease has run out"):
        await one.turning


async def test_who_has_not_renewed_in_time_hears_that_the_others_may_take_it_for_dead() -> None:
    clock = Clock()
    store = MemoryStore(shards=SHARDS, clock=clock)
    one, two = (Member(store, clock, name) for name in ("one", "two"))
    lapsed = asyncio.Event()
    one.holdings.on_lapse = lapsed.set
    one.holdings.lease_seconds = 0.05
    await one.start()
    one.holdings._lapsed()
    assert not lapsed.is_set(), "alone, there is nobody who could"
    await two.start()
    await looks([one])
    await asyncio.wait_for(lapsed.wait(), 30)
    await one.stop()
    await two.stop()


async def test_what_is_taken_over_comes_in_small_turns_families_as_a_whole_and_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "TAKEN", 3)
    clock = Clock()
    store = MemoryStore(shards=SHARDS, clock=clock)
    one, two = (Member(store, clock, name) for name in ("one", "two"))
    await one.start()
    inner = definition(task("inner", method="later/do"))
    outer = definition(task("run", method="workflow/run", workflow=inner), task("after", "run"))
    names = [f"w{number}" for number in range(10)]
    for name in reversed(names):
        await one.service.ask(lambda token, name=name: inp.Submit(token, name, outer, raw({})))  # type: ignore[misc]
    family = {*names, *(f"{name}~run~1" for name in names)}
    await one.stop()
    clock.now += LEASE + 1
    slices = _Slices(two.service)
    await two.start()
    assert set(two.service.engine.workflows) == family
    assert [len(some) for some in slices.seen] == [4, 4, 4, 4, 4]
    assert [name for some in slices.seen for name in some if "~" not in name] == names, "by age, then by name"
    for some in slices.seen:
        assert {name.partition("~")[0] for name in some} == {name for name in some if "~" not in name}
    states = {two.service.engine.workflows[name].tasks["run"].state for name in names}
    assert states == {"waiting"}
    await two.holdings._give(frozenset(range(SHARDS)))
    assert not two.service.engine.workflows
    assert [len(some) for some in slices.seen[5:]] == []
    await two.holdings._look()
    assert set(two.service.engine.workflows) == family
    assert [len(some) for some in slices.seen[5:]] == [4, 4, 4, 4, 4]
    del slices.seen[5:]
    await two.holdings._adopt(two.holdings.mine)  # as after a refusal halfway
    assert [len(some) for some in slices.seen[5:]] == [0, 0, 0, 0, 0]
    await two.stop()


async def test_a_schedule_is_given_away_with_its_workflows_or_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be due in every turn until all is given away."""
    monkeypatch.setattr(recovery, "GIVEN", 1)
    clock = Clock()
    one = Member(MemoryStore(shards=SHARDS, clock=clock), clock, "one")
    await one.start()
    work = definition(task("a", method="later/do"))
    hourly = ScheduleDefinition("s", work, every_seconds=3600.0, start=0, overlap="cancel_running")
    await one.service.ask(lambda token: inp.PutSchedule(token, hourly))
    await one.service.ask(lambda token: inp.Submit(token, "w0", work, raw({})))
    await one.service.ask(lambda token: inp.Trigger(token, "s", scheduled_id("s", 1)))
    engine, decide = one.service.engine, one.service.engine.decide
    missed: list[list[str]] = []

    def looking(now: int, inputs: Iterable[inp.Input]) -> Decision:
        decision = decide(now, inputs)
        under_way = [name for schedule in engine.schedules.values() for name in engine.under_way(schedule)]
        missed.append([name for name in under_way if name not in engine.workflows])
        return decision

    monkeypatch.setattr(engine, "decide", looking)
    await one.holdings._give(frozenset(range(SHARDS)))
    assert len(missed) == 3
    assert not any(missed)
    await one.stop()


class _Slices:
    """What is adopted in each turn."""

    def __init__(self, service: Service) -> None:
        self.seen: list[list[str]] = []
        self._decide = service.engine.decide
        service.engine.decide = self  # type: ignore[method-assign, assignment]

    def __call__(self, now: int, inputs: Iterable[inp.Input]) -> Decision:
        asked = list(inputs)
        self.seen += [[one.id for one in item.workflows] for item in asked if isinstance(item, inp.Adopt)]
        return self._decide(now, asked)
