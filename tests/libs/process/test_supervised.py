import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gleitzeit.process.children import Child, ChildExited, start_child
from gleitzeit.process.restart import Backoff
from gleitzeit.process.supervised import ChildEvent, Supervised

FAKE = [sys.executable, "-S", str(Path(__file__).with_name("fake_service.py"))]
AT_ONCE = Backoff(first_seconds=0.001)
NEVER = Backoff(first_seconds=1000, max_seconds=1000)


class Events:
    def __init__(self) -> None:
        self.all: list[ChildEvent] = []
        self.broken = False  # like a terminal that has been closed
        self._queue: asyncio.Queue[ChildEvent] = asyncio.Queue()

    def put(self, event: ChildEvent) -> None:
        self.all.append(event)
        self._queue.put_nowait(event)
        if self.broken:
            raise BrokenPipeError

    async def next(self, kind: str) -> ChildEvent:
        async with asyncio.timeout(30):
            while (event := await self._queue.get()).kind != kind:
                pass
        return event


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def supervise(tmp_path: Path, events: Events) -> AsyncIterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def supervise(*options: str, backoff: Backoff = AT_ONCE, command: list[str] = FAKE) -> Supervised:
        async def start() -> Child:
            return await start_child("fake", [*command, *options], environ=os.environ, log=tmp_path / "log")

        made.append(Supervised("fake", start, on_event=events.put, backoff=backoff))
        made[-1].begin()
        return made[-1]

    yield supervise
    for supervised in made:
        await supervised.stop(0)


async def test_a_child_that_is_killed_is_started_again(supervise: Callable[..., Supervised], events: Events) -> None:
    supervised = supervise()
    first = await events.next("ready")
    assert await supervised.first_ready == first.url
    os.kill(first.pid, 9)
    assert (await events.next("died")).exit_code == -9
    assert (await events.next("restarting")).delay_seconds == 0.001
    second = await events.next("ready")
    assert second.pid != first.pid
    await supervised.stop(5)
    assert events.all[-1] == ChildEvent("stopped", "fake", exit_code=0, detail="exited with status 0")
    assert [event.kind for event in events.all] == [
        *("started", "ready", "died", "restarting"),
        *("started", "ready", "stopped"),
    ]


async def test_the_delay_grows_from_death_to_death(supervise: Callable[..., Supervised], events: Events) -> None:
    supervise("--fail", "1")
    died = await events.next("died")
    assert died.exit_code == 1
    assert died.detail == "cannot start: the reason"
    assert [(await events.next("restarting")).delay_seconds for _ in range(3)] == [0.001, 0.002, 0.004]


async def test_a_usage_error_is_final(supervise: Callable[..., Supervised], events: Events) -> None:
    supervised = supervise("--fail", "2")
    with pytest.raises(ChildExited, match="exited with status 2 before it was ready:\ncannot start: the reason"):
        await supervised.first_ready
    assert await supervised.wait() == 2
    assert [event.kind for event in events.all] == ["started", "stopped"]


async def test_the_reason_for_a_last_end_is_told(supervise: Callable[..., Supervised], events: Events) -> None:
    supervise("--cannot", "there is no model", "--status", "2")
    assert (await events.next("stopped")).detail == "exited with status 2: there is no model"


async def test_stop_does_not_wait_for_the_delay(supervise: Callable[..., Supervised], events: Events) -> None:
    supervised = supervise("--fail", "1", backoff=NEVER)
    await events.next("restarting")
    async with asyncio.timeout(30):
        await supervised.stop(5)
    assert events.all[-1].kind == "stopped"


async def test_stop_before_the_first_instant_leaves_nothing_running(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise()
    async with asyncio.timeout(30):
        await supervised.stop(5)
    assert supervised.child is None


async def test_kill_is_the_last_life(supervise: Callable[..., Supervised], events: Events) -> None:
    supervised = supervise("--stubborn")
    await events.next("ready")
    supervised.kill()
    assert await supervised.wait() == -9
    assert events.all[-1].kind == "stopped"


async def test_a_watcher_that_cannot_write_any_more_disturbs_nothing(
    supervise: Callable[..., Supervised], events: Events
) -> None:
    events.broken = True
    supervised = supervise()
    os.kill((await events.next("ready")).pid, 9)
    await events.next("ready")
    await supervised.stop(5)
    assert events.all[-1].kind == "stopped"


async def test_a_program_that_is_gone_is_tried_again(
    supervise: Callable[..., Supervised], events: Events, tmp_path: Path
) -> None:
    program = tmp_path / "late"
    supervise(command=[str(program)])
    assert "late" in (await events.next("died")).detail
    program.write_text(f"#!/bin/sh\nexec {' '.join(FAKE)}\n")
    program.chmod(0o755)
    await events.next("ready")
