"""What is told and what is left while the journal is full."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.libs.engine.builders import NOW, definition, task
from tests.services.gz_coordinator.desk import Desk, at_desk

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.core import SETTLED
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.schedule import replay as replay_schedule
from gleitzeit.model.definition import Concurrency
from gleitzeit.model.schedules import AnyScheduleFact, ScheduleDefinition
from gz_coordinator.keeping import going_back, space


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """Its journal is tried again soon after it was full."""
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    async with at_desk() as desk:
        yield desk


@pytest.fixture
def busy_desk(desk: Desk) -> Desk:
    """Its provider lets every call wait, so that nothing moves by itself."""
    desk.echo.busy = True
    return desk


async def test_who_submits_to_a_full_journal_is_told_so_and_nothing_of_it_is_left(desk: Desk) -> None:
    engine, journal = desk.engine, desk.journal
    journal.open.clear()
    asking = [asyncio.create_task(desk.run("w-first"))]
    await journal.waiting.wait()  # what follows is one turn: a result for the first one, and two new ones
    asking += [asyncio.create_task(desk.run(name)) for name in ("w-new", "w-new", "w-other")]
    await asyncio.sleep(0)
    journal.open.set()
    await asyncio.sleep(0)
    journal.full = True
    outcomes = await asyncio.wait_for(asyncio.gather(*asking[1:], return_exceptions=True), 30)
    assert all(isinstance(outcome, errors.ResourceExhausted) and outcome.retryable for outcome in outcomes), outcomes
    assert list(engine.workflows) == ["w-first"]
    assert not asking[0].done()
    journal.full = False
    await asyncio.wait_for(asking[0], 30)
    assert not engine.calls
    assert engine.scheduler.queued == 0
    assert await journal.read("w-new") == []
    await desk.run("w-new")


REQUESTS: list[Callable[[Any], inp.Input]] = [
    lambda token: inp.Submit(token, "w-late", definition(task("t")), Raw(b"{}")),
    lambda token: inp.Submit(token, "w-late", definition(task("t", concurrency=Concurrency("k", 1))), Raw(b"{}")),
    lambda token: inp.Signal(token, "w-first", "go", Raw(b"1")),
    lambda token: inp.Cancel(token, "w-first"),
]


@pytest.mark.parametrize("request_", REQUESTS)
async def test_who_asks_while_the_journal_is_found_to_be_full_is_told_so_too(
    desk: Desk, request_: Callable[[Any], inp.Input]
) -> None:
    journal = desk.journal
    first = asyncio.create_task(desk.run("w-first"))
    while not desk.engine.calls:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    journal.waiting.clear()
    journal.open.clear()
    await journal.waiting.wait()  # a result is about to be written
    journal.full = True
    late = asyncio.create_task(desk.service.ask(request_))
    await asyncio.sleep(0)
    journal.open.set()
    with pytest.raises(errors.ResourceExhausted):
        await asyncio.wait_for(late, 30)
    journal.full = False
    await asyncio.wait_for(first, 30)
    assert await journal.read("w-late") == []
    assert desk.engine.workflows["w-first"].state == "completed"
    assert not [record for record in await journal.read("w-first") if b"SignalReceived" in record.event]


LIMITED = definition(task("t", concurrency=Concurrency("k", 1)), task("after", "t"))
ANSWERS: list[Callable[[Any], inp.Input]] = [
    *REQUESTS,
    lambda token: inp.Submit(token, "w-late", LIMITED, Raw(b"{}")),
    lambda token: inp.Pause(token, "w-first"),
    lambda token: inp.Hold(token, "w-first"),
]


@pytest.mark.parametrize("request_", ANSWERS)
async def test_who_asks_in_the_very_turn_that_finds_the_journal_full_is_told_so_and_nothing_has_come_of_it(
    busy_desk: Desk, request_: Callable[[Any], inp.Input]
) -> None:
    service, engine, journal = busy_desk.service, busy_desk.engine, busy_desk.journal
    for name in ("w-first", "w-second"):  # the second one waits for the permit of the first
        await busy_desk.submit(name, LIMITED)
    while not engine.calls:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    await service.between_turns(lambda: None)
    calls, states = dict(engine.calls), _states(engine)
    journal.full = True
    asked = [service.ask(request_), service.ask(lambda token: inp.Signal(token, "w-second", "go", Raw(b"1")))]
    outcomes = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
    assert all(isinstance(outcome, errors.ResourceExhausted) for outcome in outcomes), outcomes
    assert (dict(engine.calls), _states(engine)) == (calls, states)
    assert not engine.scheduler.held
    for name in ("w-first", "w-second"):
        workflow = engine.workflows[name]
        assert workflow.seq == len(await journal.read(name))
    journal.full = False
    busy_desk.echo.busy = False
    for call in calls.values():
        service.post(inp.CallCompleted(call, busy_desk.echo.result))
    for name in ("w-first", "w-second"):
        await busy_desk.until_ended(name)
        assert engine.workflows[name].state == "completed"
    assert await journal.read("w-late") == []
    assert not [
        event for name in ("w-first", "w-second") for event in await journal.read(name) if b"Signal" in event.event
    ]


EVERY = ScheduleDefinition("s", definition(task("t")), every_seconds=3600.0, start=NOW - 5 * 3_600_000)
TO_SCHEDULES: list[Callable[[Any], inp.Input]] = [
    lambda token: inp.PutSchedule(token, replace(EVERY, name="other")),
    lambda token: inp.PutSchedule(token, replace(EVERY, every_seconds=60.0), None, True),
    lambda token: inp.ChangeSchedule(token, "s", "pause"),
    lambda token: inp.ChangeSchedule(token, "s", "delete"),
    lambda token: inp.Trigger(token, "s", "w-by-hand", False),
    lambda token: inp.Backfill(token, "s", (NOW - 7_200_000, NOW - 3_600_000)),
]


@pytest.mark.parametrize("request_", TO_SCHEDULES)
async def test_what_is_asked_of_a_schedule_while_the_journal_is_full_has_never_been(
    busy_desk: Desk, request_: Callable[[Any], inp.Input]
) -> None:
    service, engine, journal = busy_desk.service, busy_desk.engine, busy_desk.journal
    await service.ask(lambda token: inp.PutSchedule(token, EVERY))
    await service.ask(lambda token: inp.Trigger(token, "s", "w-first", False))
    schedule = engine.schedules["s"]
    before = schedule.checkpoint(), schedule.definition, engine.under_way(schedule), list(engine.workflows)
    journal.full = True
    with pytest.raises(errors.ResourceExhausted, match=r"no space$"):
        await asyncio.wait_for(service.ask(request_), 30)
    assert list(engine.schedules) == ["s"]
    schedule = engine.schedules["s"]
    assert (schedule.checkpoint(), schedule.definition, engine.under_way(schedule), list(engine.workflows)) == before
    journal.full = False
    while service.space.stalled:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.wait_for(service.ask(request_), 30)
    for known in engine.schedules.values():
        facts = [
            msgspec.json.decode(r.event, type=AnyScheduleFact) for r in await journal.read(f"$schedule/{known.name}")
        ]
        assert replay_schedule(facts).checkpoint() == known.checkpoint()


async def test_who_waits_for_the_end_of_a_large_cancel_is_told_when_the_journal_is_full_and_it_goes_on(
    desk: Desk,
) -> None:
    service, engine, journal = desk.service, desk.engine, desk.journal
    many = definition(*(task(f"t{number}", method="later/do") for number in range(4 * SETTLED)))
    await desk.submit("w", many)
    while await service.between_turns(lambda: engine.more):
        pass
    journal.room = 2
    cancelling = asyncio.create_task(service.ask(lambda token: inp.Cancel(token, "w")))
    with pytest.raises(errors.ResourceExhausted, match="is decided, and counts as soon as there is space"):
        await asyncio.wait_for(cancelling, 30)
    assert 0 < engine.workflows["w"].counts["cancelled"] < 4 * SETTLED
    journal.full, journal.room = False, None
    await desk.until_ended("w")
    assert engine.workflows["w"].state == "cancelled"


async def test_who_asks_beside_very_many_others_is_told_that_it_counts_when_there_is_space(
    busy_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More workflows than are read again go on as they were decided about."""
    monkeypatch.setattr(going_back, "MOST", 2)
    service, journal = busy_desk.service, busy_desk.journal
    for name in ("a", "b", "c"):
        await busy_desk.submit(name, LIMITED)
    journal.full = True
    asked = [service.ask(lambda token, name=name: inp.Pause(token, name)) for name in ("a", "b", "c")]
    outcomes = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
    assert all("counts as soon as" in str(outcome) for outcome in outcomes), outcomes
    journal.full = False
    async with asyncio.timeout(30):
        while not all([await service.read(name, lambda w: w.state == "paused") for name in ("a", "b", "c")]):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_who_asks_beside_workflows_that_move_has_not_been_heard(busy_desk: Desk) -> None:
    service, engine, journal = busy_desk.service, busy_desk.engine, busy_desk.journal
    for name in ("stays", "goes"):
        await busy_desk.submit(name, LIMITED)
    journal.full = True
    asked = [
        asyncio.create_task(service.ask(request))
        for request in (
            lambda token: inp.Pause(token, "stays"),
            lambda token: inp.Disown(token, "goes".__eq__),
            lambda token: inp.Hold(token, "stays"),
        )
    ]
    first, last = await asyncio.wait_for(asyncio.gather(asked[0], asked[2], return_exceptions=True), 30)
    assert all(isinstance(outcome, errors.ResourceExhausted) for outcome in (first, last))
    assert engine.workflows["stays"].state == "running"
    assert not engine.scheduler.held
    journal.full = False
    await asyncio.wait_for(asked[1], 30)
    assert list(engine.workflows) == ["stays"]


def _states(engine: Engine) -> dict[str, dict[str, str]]:
    return {name: {t.id: t.state for t in workflow.tasks.values()} for name, workflow in engine.workflows.items()}
