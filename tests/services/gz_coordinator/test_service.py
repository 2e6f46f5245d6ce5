"""The loop, over a journal in memory: what it keeps of what has ended, and how much it takes in one turn."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw
from tests.libs.engine.builders import CATALOGUE, NOW, definition, task
from tests.services.gz_coordinator.desk import Desk, at_desk

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model.events import WorkflowSubmitted
from gz_coordinator import service as service_module
from gz_coordinator.keeping import ended
from gz_coordinator.service import Service


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with at_desk() as desk:
        yield desk


async def test_ended_workflows_leave_memory_by_what_they_weigh(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "KEPT_BYTES", 20_000)  # of two tasks, a workflow weighs about 5,000
    for number in range(10):
        await desk.run(f"w{number}")
    assert list(desk.engine.workflows) == ["w7", "w8", "w9"]
    assert await desk.service.read("w0", lambda workflow: workflow.state) == "completed"


async def test_one_that_is_heavier_than_all_may_weigh_stays_until_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "KEPT_BYTES", 10)
    await desk.run("w0")
    assert list(desk.engine.workflows) == ["w0"]
    await desk.run("w1")
    assert list(desk.engine.workflows) == ["w1"]


async def test_a_workflow_that_has_left_memory_is_brought_back_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "KEPT", 1)
    await desk.run("w0")
    await desk.run("w1")
    await asyncio.gather(*(desk.service.ended.bring_back("w0") for _ in range(5)))
    assert sorted(desk.engine.workflows) == ["w0", "w1"]
    await desk.run("w2")
    assert list(desk.engine.workflows) == ["w2"]


async def test_large_results_are_taken_a_few_in_a_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_INPUT_BYTES", 3_500)
    sizes: list[int] = []
    decide = desk.engine.decide

    def counted(now: int, inputs: Any) -> Any:
        sizes.append(sum(isinstance(item, inp.CallCompleted) for item in inputs))
        return decide(now, inputs)

    monkeypatch.setattr(desk.engine, "decide", counted)
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
    journal = desk.journal
    journal.open.clear()
    journal.waiting.clear()
    running = asyncio.create_task(desk.run("w1"))
    await journal.waiting.wait()
    seen = asyncio.create_task(desk.service.read("w1", lambda workflow: workflow.seq))
    assert await desk.service.read("w0", lambda workflow: workflow.final)
    assert "w1" in desk.engine.workflows
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
