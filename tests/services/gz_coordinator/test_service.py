"""The loop, over a journal in memory: what it keeps of what has ended, and how much it takes in one turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.libs.engine.builders import CATALOGUE, NOW, definition, task

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.core import SETTLED
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.params import Identity
from gleitzeit.engine.schedule import replay as replay_schedule
from gleitzeit.engine.workflow import Workflow
from gleitzeit.journal.base import Append
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model.definition import Concurrency
from gleitzeit.model.events import WorkflowSubmitted
from gleitzeit.model.schedules import AnyScheduleFact, ScheduleDefinition
from gz_coordinator import ended, going_back, space
from gz_coordinator import service as service_module
from gz_coordinator.service import Service


class Echo:
    """A provider that answers every call at once with the same result, and an audience that does not listen."""

    def __init__(self, service: Service, result: bytes) -> None:
        self.service = service
        self.result = Raw(result)
        self.busy = False

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.CallProvider) and not self.busy:
                self.service.post(inp.CallCompleted(effect.call, self.result))

    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None:
        pass


class Gated(MemoryJournal):
    """Appends wait while it is shut, and are refused while it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.room: int | None = None
        """So many appends until it is full."""
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()

    async def append(self, commit: Sequence[Append]) -> None:
        self.waiting.set()
        await self.open.wait()
        self.full = self.full or self.room == 0
        if self.room:
            self.room -= 1
        if self.full:
            raise errors.JournalFull("no space")
        await super().append(commit)


class Desk:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def run(self, workflow_id: str, tasks: int = 2) -> None:
        """Submit, and wait until it has ended."""
        tasks_ = definition(*(task(f"t{i}") for i in range(tasks)))
        await self.service.ask(lambda token: inp.Submit(token, workflow_id, tasks_, Raw(b"{}")))
        while not await self.service.read(workflow_id, lambda workflow: workflow.final):  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    journal = Gated()
    await journal.claim("me")
    service = Service(Engine(CATALOGUE, Identity("c", 1, "me")), journal, lambda: NOW)
    service.performer = service.audience = Echo(service, b'"%b"' % (b"x" * 1_000))
    service.post(inp.ProviderReady("p", "p#1", frozenset({"echo/echo"}), 100))
    running = asyncio.create_task(service.run())
    yield Desk(service)
    service.stop()
    await running


async def test_ended_workflows_leave_memory_by_what_they_weigh(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "KEPT_BYTES", 20_000)  # of two tasks, a workflow weighs about 5,000
    for number in range(10):
        await desk.run(f"w{number}")
    assert list(desk.service.engine.workflows) == ["w7", "w8", "w9"]
    assert await desk.service.read("w0", lambda workflow: workflow.state) == "completed"


async def test_one_that_is_heavier_than_all_may_weigh_stays_until_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "KEPT_BYTES", 10)
    await desk.run("w0")
    assert list(desk.service.engine.workflows) == ["w0"]
    await desk.run("w1")
    assert list(desk.service.engine.workflows) == ["w1"]


async def test_a_workflow_that_has_left_memory_is_brought_back_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "KEPT", 1)
    await desk.run("w0")
    await desk.run("w1")
    await asyncio.gather(*(desk.service.ended.bring_back("w0") for _ in range(5)))
    assert sorted(desk.service.engine.workflows) == ["w0", "w1"]
    await desk.run("w2")
    assert list(desk.service.engine.workflows) == ["w2"]


async def test_large_results_are_taken_a_few_in_a_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_INPUT_BYTES", 3_500)
    sizes: list[int] = []
    decide = desk.service.engine.decide

    def counted(now: int, inputs: Any) -> Any:
        sizes.append(sum(isinstance(item, inp.CallCompleted) for item in inputs))
        return decide(now, inputs)

    monkeypatch.setattr(desk.service.engine, "decide", counted)
    await desk.run("w", tasks=20)
    assert sum(sizes) == 20
    assert max(sizes) == 4


async def test_a_look_that_sees_nothing_is_a_look_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.run("w")
    looks: list[str] = []

    async def replayed(*about: object) -> Any:
        raise AssertionError("it is in memory: nobody has to replay it")

    monkeypatch.setattr(service_module, "load_or_quarantine", replayed)
    await desk.service.read("w", lambda workflow: looks.append(workflow.id))
    assert looks == ["w"]


async def test_what_is_durable_is_seen_while_events_of_others_are_appended_and_what_is_not_is_not(desk: Desk) -> None:
    await desk.run("w0")
    journal = desk.service.journal
    assert isinstance(journal, Gated)
    journal.open.clear()
    journal.waiting.clear()
    running = asyncio.create_task(desk.run("w1"))
    await journal.waiting.wait()
    seen = asyncio.create_task(desk.service.read("w1", lambda workflow: workflow.seq))
    assert await desk.service.read("w0", lambda workflow: workflow.final)
    assert "w1" in desk.service.engine.workflows
    assert not seen.done()
    journal.open.set()
    await running
    assert await seen > 0


async def test_who_may_own_nothing_any_more_shows_nothing_from_memory() -> None:
    def lapsed() -> None:
        raise errors.JournalFenced("the lease has run out")

    service = Service(Engine(CATALOGUE, Identity("c", 1, "me")), MemoryJournal(), lambda: NOW)
    service.engine.workflows["w"] = Workflow(WorkflowSubmitted(NOW, "w", definition(task("a"))))
    assert await service.read("w", lambda workflow: workflow.id) == "w"
    service.check_lease = lapsed
    looking = asyncio.create_task(service.read("w", lambda workflow: workflow.id))
    await asyncio.wait([looking], timeout=0.05)
    assert not looking.done()
    with pytest.raises(errors.JournalFenced):
        await service.run()
    looking.cancel()


async def test_turns_are_short_while_one_decision_means_very_many_steps(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, sizes = desk.service, list[int]()
    decide = service.engine.decide

    def counted(now: int, inputs: Any) -> Any:
        decision = decide(now, inputs)
        sizes.append(sum(len(append.events) for append in decision.appends.values()))
        return decision

    monkeypatch.setattr(service.engine, "decide", counted)
    monkeypatch.setattr(service_module, "TURN_SECONDS", 0.0)  # every turn is too long
    many = definition(*(task(f"t{n}", method="later/do") for n in range(8_000)))
    await service.ask(lambda token: inp.Submit(token, "many", many, Raw(b"{}")))
    await service.ask(lambda token: inp.Cancel(token, "many"))
    assert max(sizes[-30:]) <= service_module.LEAST_STEPS
    assert sum(sizes) > 8_000
    await desk.run("w")
    assert service.engine.settled > service_module.LEAST_STEPS


async def test_who_submits_to_a_full_journal_is_told_so_and_nothing_of_it_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    service, engine = desk.service, desk.service.engine
    journal = service.journal
    assert isinstance(journal, Gated)
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
    desk: Desk, monkeypatch: pytest.MonkeyPatch, request_: Callable[[Any], inp.Input]
) -> None:
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    journal = desk.service.journal
    assert isinstance(journal, Gated)
    first = asyncio.create_task(desk.run("w-first"))
    while not desk.service.engine.calls:  # noqa: ASYNC110 - nobody tells
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
    assert desk.service.engine.workflows["w-first"].state == "completed"
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
    desk: Desk, monkeypatch: pytest.MonkeyPatch, request_: Callable[[Any], inp.Input]
) -> None:
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    service, engine, journal = desk.service, desk.service.engine, desk.service.journal
    assert isinstance(journal, Gated)
    echo = service.performer
    assert isinstance(echo, Echo)
    echo.busy = True
    for name in ("w-first", "w-second"):  # the second one waits for the permit of the first
        await service.ask(lambda token, name=name: inp.Submit(token, name, LIMITED, Raw(b"{}")))
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
    echo.busy = False
    for call in calls.values():
        service.post(inp.CallCompleted(call, echo.result))
    for name in ("w-first", "w-second"):
        async with asyncio.timeout(30):
            while not await service.read(name, lambda workflow: workflow.final):  # noqa: ASYNC110
                await asyncio.sleep(0)
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
    desk: Desk, monkeypatch: pytest.MonkeyPatch, request_: Callable[[Any], inp.Input]
) -> None:
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    service, engine, journal = desk.service, desk.service.engine, desk.service.journal
    assert isinstance(journal, Gated)
    echo = service.performer
    assert isinstance(echo, Echo)
    echo.busy = True
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
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    service, engine, journal = desk.service, desk.service.engine, desk.service.journal
    assert isinstance(journal, Gated)
    many = definition(*(task(f"t{number}", method="later/do") for number in range(4 * SETTLED)))
    await service.ask(lambda token: inp.Submit(token, "w", many, Raw(b"{}")))
    while await service.between_turns(lambda: engine.more):
        pass
    journal.room = 2
    cancelling = asyncio.create_task(service.ask(lambda token: inp.Cancel(token, "w")))
    with pytest.raises(errors.ResourceExhausted, match="is decided, and counts as soon as there is space"):
        await asyncio.wait_for(cancelling, 30)
    assert 0 < engine.workflows["w"].counts["cancelled"] < 4 * SETTLED
    journal.full, journal.room = False, None
    async with asyncio.timeout(30):
        while not await service.read("w", lambda workflow: workflow.final):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert engine.workflows["w"].state == "cancelled"


async def test_who_asks_beside_very_many_others_is_told_that_it_counts_when_there_is_space(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More workflows than are read again go on as they were decided about."""
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(going_back, "MOST", 2)
    service, journal = desk.service, desk.service.journal
    assert isinstance(journal, Gated)
    echo = service.performer
    assert isinstance(echo, Echo)
    echo.busy = True
    for name in ("a", "b", "c"):
        await service.ask(lambda token, name=name: inp.Submit(token, name, LIMITED, Raw(b"{}")))
    journal.full = True
    asked = [service.ask(lambda token, name=name: inp.Pause(token, name)) for name in ("a", "b", "c")]
    outcomes = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
    assert all("counts as soon as" in str(outcome) for outcome in outcomes), outcomes
    journal.full = False
    async with asyncio.timeout(30):
        while not all([await service.read(name, lambda w: w.state == "paused") for name in ("a", "b", "c")]):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_who_asks_beside_workflows_that_move_has_not_been_heard(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "FULL_RETRY_SECONDS", 0.01)
    service, engine, journal = desk.service, desk.service.engine, desk.service.journal
    assert isinstance(journal, Gated)
    echo = service.performer
    assert isinstance(echo, Echo)
    echo.busy = True
    for name in ("stays", "goes"):
        await service.ask(lambda token, name=name: inp.Submit(token, name, LIMITED, Raw(b"{}")))
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
