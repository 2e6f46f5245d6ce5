"""What a machine may do: a disk that does not sync, a clock that jumps, processes that stand still."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from support import Stack
from tests.shim.build import environ

from gleitzeit.errors import GleitzeitError
from gleitzeit.spec.durations import in_words
from gleitzeit.transport import connect

DAYS_MS = 24 * 3600 * 1000


def echo(task: str, message: str = "x", **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "echo/echo", "params": {"message": message}, **more}


def marking(marks: Path, seconds: float) -> dict[str, Any]:
    code = f"import time\nopen({str(marks)!r}, 'a').write('x')\ntime.sleep({seconds})\nresult = 'done'"
    return {"id": "slow", "method": "python/execute", "params": {"code": code}}


class Load:
    """Somebody who submits without end; what was acknowledged is in `acknowledged`."""

    def __init__(self, stack: Stack) -> None:
        self.acknowledged: list[str] = []
        self._stack = stack
        self._task = asyncio.create_task(self._submit())

    async def _submit(self) -> None:
        while True:
            with contextlib.suppress(GleitzeitError, TimeoutError):
                connection = await connect(self._stack.url)
                try:
                    while True:
                        tasks = echo("a"), echo("b", "${a.response}")
                        self.acknowledged.append(await support.submit(connection, *tasks))
                finally:
                    await connection.close()
            await asyncio.sleep(0.02)

    async def more(self, count: int = 20) -> None:
        before = len(self.acknowledged)
        await support.eventually(lambda: len(self.acknowledged) >= before + count)

    async def all_completed(self) -> None:
        """Submit no more; what was acknowledged ends well."""
        self._task.cancel()
        await asyncio.wait({self._task})
        async with support.looking(self._stack.url) as finished:
            for workflow_id in self.acknowledged:
                view = await finished(workflow_id, support.PATIENCE_SECONDS)
                assert view["status"] == "completed", view


@pytest.fixture
def running() -> Iterator[list[Stack]]:
    """Stacks to be stopped at the end."""
    stacks: list[Stack] = []
    yield stacks
    for stack in stacks:
        stack.stop()


async def test_a_sync_that_fails_ends_the_coordinator_before_it_acknowledges(
    tmp_path: Path, running: list[Stack]
) -> None:
    failing = tmp_path / "failing"
    stack = Stack(tmp_path / "state", "--provider", "echo", environ=environ("journal.db", eio=failing))
    running.append(stack)
    load = Load(stack)
    await load.more()
    first = stack.pid("gz_coordinator")
    failing.touch()
    await support.eventually(lambda: not support.is_alive(first))
    acknowledged = len(load.acknowledged)
    await asyncio.sleep(1)  # to see that nothing is acknowledged: no condition tells that
    assert len(load.acknowledged) == acknowledged
    failing.unlink()
    await load.more()
    await load.all_completed()


async def test_clocks_that_jump_under_load(tmp_path: Path, running: list[Stack]) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    stack = Stack(tmp_path / "state", "--provider", "echo,python", environ=environ("nothing", clock=clock))
    running.append(stack)
    connection = await support.connected(stack, 2)
    began = time.monotonic()
    sleeping = await support.submit(connection, {"id": "s", "method": "timer/sleep", "params": {"seconds": 4}})
    retry = {"max_attempts": 4, "base_delay": 0.2}
    flaky = {"id": "f", "method": "python/execute", "params": {"code": "raise OSError"}, "retry": retry}
    failing = await support.submit(connection, flaky)
    load = Load(stack)
    for jump in (3 * DAYS_MS, -2 * DAYS_MS, 40 * DAYS_MS, 0):
        await load.more(10)
        clock.write_text(str(jump))
    await load.more(10)
    view = await support.finished(stack.url, sleeping)
    assert view["status"] == "completed"
    assert time.monotonic() - began >= 4
    assert (await support.finished(stack.url, failing))["tasks"][0]["attempts"] == 4
    await load.all_completed()
    for workflow_id in (sleeping, failing, load.acknowledged[-1]):
        history = await connection.call("workflow.history", {"workflow_id": workflow_id})
        times = [row["event"]["at"] for row in history["events"]]
        assert times == sorted(times)
        assert times[-1] - times[0] < 60_000, "no jump is in them"
    await connection.close()


async def test_a_clock_set_forward_while_the_coordinator_runs(tmp_path: Path, running: list[Stack]) -> None:
    """As when a machine without a clock of its own learns the time."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    stack = Stack(tmp_path / "state", "--provider", "echo", environ=environ("nothing", clock=clock))
    running.append(stack)
    connection = await support.connected(stack, 1)
    definition = {"name": "scheduled", "tasks": [echo("a")]}
    put = {"name": "s", "definition": definition, "every": "10h", "overlap": "allow"}
    await connection.call("schedule.put", put)
    sleeping = await support.submit(connection, {"id": "s", "method": "timer/sleep", "params": {"seconds": 3600}})
    clock.write_text(str(DAYS_MS))

    async def fired() -> bool:
        return len((await connection.call("workflow.list", {"name": "scheduled"}))["workflows"]) == 1

    await support.eventually(fired)
    assert (await connection.call("workflow.get", {"workflow_id": sleeping}))["status"] == "running"
    [warning] = [one for one in (await connection.call("system.status"))["warnings"] if "set forward" in one]
    assert f"by {in_words(DAYS_MS // 1000)} while" in warning
    await connection.close()


async def test_a_clock_set_back_while_the_coordinator_was_away(tmp_path: Path, running: list[Stack]) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(3 * DAYS_MS))
    stack = Stack(tmp_path / "state", "--provider", "echo,python", environ=environ("nothing", clock=clock))
    running.append(stack)
    connection = await support.connected(stack, 2)
    task = {"id": "s", "method": "timer/sleep", "params": {"seconds": 3}}
    sleeping = await support.submit(connection, task, echo("after", dependencies=["s"]))
    clock.write_text("0")
    stack.kill("gz_coordinator")
    view = await support.finished(stack.url, sleeping)
    assert view["status"] == "completed", "and not in three days"
    await connection.close()


async def test_processes_that_stood_still_for_longer_than_the_lease(tmp_path: Path, running: list[Stack]) -> None:
    stack = Stack(tmp_path / "state", "--provider", "echo,python", environ={"GLEITZEIT_LEASE_SECONDS": "1"})
    running.append(stack)
    connection = await support.connected(stack, 2)
    for module in ("gz_coordinator", "gz_provider_python"):
        marks = tmp_path / module
        workflow_id = await support.submit(connection, marking(marks, 1.5))
        await support.eventually(marks.exists)
        await _stands_still(stack.pid(module), 2.5)
        view = await support.finished(stack.url, workflow_id)
        assert (view["status"], view["tasks"][0]["attempts"], marks.read_text()) == ("completed", 1, "x")
    await connection.close()


@pytest.mark.long
@pytest.mark.parametrize("module", ["gz_coordinator", "gz_provider_python"])
async def test_standing_still_until_every_socket_is_given_up(tmp_path: Path, running: list[Stack], module: str) -> None:
    """A minute: longer than the pings of the sockets wait, and with a lease of 30 s longer than that."""
    stack = Stack(tmp_path / "state", "--provider", "echo,python", environ={"GLEITZEIT_LEASE_SECONDS": "30"})
    running.append(stack)
    connection = await support.connected(stack, 2)
    marks = tmp_path / "marks"
    workflow_id = await support.submit(connection, {**marking(marks, 5), "timeout": 600})
    await support.eventually(marks.exists)
    await _stands_still(stack.pid(module), 60)
    view = await support.finished(stack.url, workflow_id, seconds=120)
    assert view["status"] == "completed", view
    history = await connect(stack.url)
    events = (await history.call("workflow.history", {"workflow_id": workflow_id}))["events"]
    lost = sum(row["event"]["type"] == "CallLost" for row in events)
    assert len(marks.read_text()) <= 1 + lost, "it was paid twice although nobody lost it"
    await history.close()
    await connection.close()


async def _stands_still(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)  # the length of it is what is tested
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_shim_is_what_it_says(tmp_path: Path) -> None:
    """Else these tests would test nothing."""
    clock, failing = tmp_path / "clock", tmp_path / "failing"
    clock.write_text(str(DAYS_MS))
    code = "import os, time; print(time.time()); os.fsync(os.open(__import__('sys').argv[1], os.O_RDWR | os.O_CREAT))"
    command = [sys.executable, "-c", code, str(tmp_path / "journal.db")]
    shim = environ("journal.db", clock=clock, eio=failing)
    good = subprocess.run(command, env=shim, capture_output=True, text=True)
    assert good.returncode == 0
    assert abs(float(good.stdout) - time.time() - DAYS_MS / 1000) < 60
    failing.touch()
    assert "Input/output error" in subprocess.run(command, env=shim, capture_output=True, text=True).stderr
