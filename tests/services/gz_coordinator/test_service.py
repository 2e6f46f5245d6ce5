"""The loop, over a journal in memory: what it keeps of what has ended, and how much it takes in one turn."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec import Raw
from tests.libs.engine.builders import CATALOGUE, NOW, definition, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.params import Identity
from gleitzeit.engine.workflow import Workflow
from gleitzeit.journal.memory import MemoryJournal
from gz_coordinator import service as service_module
from gz_coordinator.service import Service


class Echo:
    """A provider that answers every call at once with the same result, and an audience that does not listen."""

    def __init__(self, service: Service, result: bytes) -> None:
        self.service = service
        self.result = Raw(result)

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.CallProvider):
                self.service.post(fx.CallCompleted(effect.call, self.result))

    def publish(self, workflow: Workflow, first_seq: int, encoded: Sequence[bytes]) -> None:
        pass


class Desk:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def run(self, workflow_id: str, tasks: int = 2) -> None:
        """Submit, and wait until it has ended."""
        tasks_ = definition(*(task(f"t{i}") for i in range(tasks)))
        await self.service.ask(lambda token: fx.Submit(token, workflow_id, tasks_, Raw(b"{}")))
        while not await self.service.read(workflow_id, lambda workflow: workflow.final):  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    journal = MemoryJournal()
    await journal.claim("me")
    service = Service(Engine(CATALOGUE, Identity("c", 1, "me")), journal, lambda: NOW)
    service.performer = service.audience = Echo(service, b'"%b"' % (b"x" * 1_000))
    service.post(fx.ProviderReady("p", "p#1", frozenset({"echo/echo"}), 100))
    running = asyncio.create_task(service.run())
    yield Desk(service)
    service.stop()
    await running


async def test_ended_workflows_leave_memory_by_what_they_weigh(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "KEPT_FINAL_BYTES", 20_000)  # of two tasks, a workflow weighs about 5,000
    for number in range(10):
        await desk.run(f"w{number}")
    assert list(desk.service.engine.workflows) == ["w7", "w8", "w9"]
    assert await desk.service.read("w0", lambda workflow: workflow.state) == "completed"


async def test_one_that_is_heavier_than_all_may_weigh_stays_until_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "KEPT_FINAL_BYTES", 10)
    await desk.run("w0")
    assert list(desk.service.engine.workflows) == ["w0"]
    await desk.run("w1")
    assert list(desk.service.engine.workflows) == ["w1"]


async def test_a_workflow_that_has_left_memory_is_brought_back_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "KEPT_FINAL", 1)
    await desk.run("w0")
    await desk.run("w1")
    await asyncio.gather(*(desk.service.bring_back("w0") for _ in range(5)))
    assert sorted(desk.service.engine.workflows) == ["w0", "w1"]
    await desk.run("w2")
    assert list(desk.service.engine.workflows) == ["w2"]


async def test_large_results_are_taken_a_few_in_a_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_INPUT_BYTES", 3_500)
    sizes: list[int] = []
    decide = desk.service.engine.decide

    def counted(now: int, inputs: Any) -> Any:
        sizes.append(sum(isinstance(item, fx.CallCompleted) for item in inputs))
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

    monkeypatch.setattr(service_module, "load", replayed)
    await desk.service.read("w", lambda workflow: looks.append(workflow.id))
    assert looks == ["w"]
