"""Processes are killed under a running workflow: nothing acknowledged is lost, nothing that lives is run twice."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from support import Stack

from gleitzeit.errors import GleitzeitError
from gleitzeit.transport import Connection, connect


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all of these: what they kill, it starts again."""
    state = tmp_path_factory.mktemp("faults") / "state"
    running = Stack(state, "--provider", "echo,python", environ={"GLEITZEIT_RESTART_MAX_SECONDS": "0.2"})
    yield running
    assert running.stop() == 0


def marking(marks: Path, seconds: float) -> str:
    """Python code that notes each time it is run, and takes a while."""
    return f"import time\nopen({str(marks)!r}, 'a').write('x')\ntime.sleep({seconds})\nresult = 'done'"


def in_vain_at_first(marks: Path) -> str:
    """Python code as above, which ends well the second time: the first one lasts until it is killed."""
    return (
        f"import os, time\nopen({str(marks)!r}, 'a').write('x')\n"
        f"if os.path.getsize({str(marks)!r}) == 1:\n    time.sleep(600)\nresult = 'done'"
    )


def held(marks: Path, go: Path) -> str:
    """Python code that notes each time it is run, and ends when it may."""
    return (
        f"import os, time\nopen({str(marks)!r}, 'a').write('x')\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.02)\nresult = 'done'"
    )


def python(task: str, code: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "python/execute", "params": {"code": code}, **more}


def echo(task: str, message: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "echo/echo", "params": {"message": message}, **more}


async def test_coordinator_killed_in_mid_workflow(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks, go = tmp_path / "marks", tmp_path / "go"
    workflow_id = await support.submit(
        connection, python("slow", held(marks, go)), echo("after", "${slow.result} after all")
    )
    await support.eventually(marks.exists)
    stack.kill("gz_coordinator")
    await (await support.connected(stack, 2)).close()
    go.touch()
    view = await support.finished(stack.url, workflow_id)
    assert view["status"] == "completed", view
    slow, after = view["tasks"]
    assert marks.read_text() == "x", "the call that ran on was attached to, not repeated"
    assert slow["attempts"] == 1
    assert after["result"]["response"] == "done after all"


async def test_coordinator_killed_among_items_of_a_list(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    """Each item is carried out once, and what refers to them gets all of them in order."""
    marks = tmp_path / "marks"
    code = f"import time\nopen({str(marks)!r}, 'a').write('x')\ntime.sleep(0.4)\nresult = ${{item}} * 10"
    workflow_id = await support.submit(
        connection,
        python("many", code, for_each=list(range(6)), max_parallel=2),
        python("join", "result = ${many}"),
    )
    await support.eventually(lambda: marks.exists() and len(marks.read_text()) >= 3)
    stack.kill("gz_coordinator")
    view = await support.finished(stack.url, workflow_id)
    assert view["status"] == "completed", view
    many, join = view["tasks"]
    assert marks.read_text() == "x" * 6
    assert many["items"] == {"total": 6, "completed": 6}
    assert join["result"]["result"] == [0, 10, 20, 30, 40, 50]


class Load:
    """Somebody who submits without end; each `pay` leaves its mark, so that one can count how often it was carried out.

    `acknowledged` has what the coordinator has answered for, and the file of its marks.
    """

    def __init__(self, stack: Stack, folder: Path, *, pays_for: float = 0.05) -> None:
        self.acknowledged: dict[str, Path] = {}
        self._stack = stack
        self._folder = folder
        self._pays_for = pays_for
        self._number = 0
        self._task = asyncio.create_task(self._submit())

    async def _submit(self) -> None:
        while True:
            with contextlib.suppress(GleitzeitError, TimeoutError):
                mine = await connect(self._stack.url)
                try:
                    while True:
                        await self._submit_one(mine)
                finally:
                    await mine.close()
            await asyncio.sleep(0.02)

    async def _submit_one(self, mine: Connection) -> None:
        self._number += 1
        marks = self._folder / f"marks{self._number}"
        chain = [echo(f"t{n}", "x", dependencies=[f"t{n - 1}"] if n else []) for n in range(4)]
        pay = [] if self._number % 8 else [python("pay", marking(marks, self._pays_for), dependencies=["t1"])]
        async with asyncio.timeout(30):
            workflow_id = await support.submit(mine, *chain, *pay)
        self.acknowledged[workflow_id] = marks

    async def more(self, count: int) -> None:
        before = len(self.acknowledged)
        await support.eventually(lambda: len(self.acknowledged) >= before + count)

    async def end(self, *, may_be_lost: bool = False) -> int:
        """Submit no more. All that was acknowledged completes, and nothing was paid twice but what was lost with its
        provider. Returns how many were lost."""
        self._task.cancel()
        await asyncio.wait({self._task})
        lost = 0
        async with support.looking(self._stack.url) as finished:
            for workflow_id, marks in self.acknowledged.items():
                view = await finished(workflow_id, 90)
                assert view["status"] == "completed", view
                times = len(marks.read_text()) if marks.exists() else 0
                if times > 1:
                    assert may_be_lost, f"{workflow_id} was paid {times} times"
                    lost += await self._losses(workflow_id, times)
        return lost

    async def _losses(self, workflow_id: str, times: int) -> int:
        mine = await connect(self._stack.url)
        events = (await mine.call("workflow.history", {"workflow_id": workflow_id}))["events"]
        await mine.close()
        lost = sum(row["event"]["type"] == "CallLost" and row["event"]["task"] == "pay" for row in events)
        assert times <= 1 + lost, f"{workflow_id} was paid {times} times, and lost {lost} times"
        return lost


async def _killed(stack: Stack, folder: Path, module: str, times: int, **load: float) -> None:
    paying = Load(stack, folder, **load)
    for _ in range(times):
        await paying.more(10)
        stack.kill(module)
    await paying.more(10)
    await paying.end(may_be_lost=module == "gz_provider_python")


async def test_coordinator_killed_again_and_again(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    await _killed(stack, tmp_path, "gz_coordinator", 4)


async def test_a_killed_coordinator_leaves_nobody_behind(stack: Stack, connection: Connection) -> None:
    tasks = [echo(f"t{n}", "x" * 100) for n in range(3_000)]
    await support.submit(connection, *tasks)  # large enough to be checked in a process of its own
    children = list(support.descendants(stack.pid("gz_coordinator")))
    assert children
    stack.kill("gz_coordinator")
    await support.eventually(lambda: not any(support.is_alive(child) for child in children))


async def test_providers_killed_again_and_again(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    await _killed(stack, tmp_path, "gz_provider_python", 3)


@pytest.mark.long
async def test_coordinator_killed_200_times(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    await _killed(stack, tmp_path, "gz_coordinator", 200, pays_for=0.5)


@pytest.mark.long
async def test_providers_killed_100_times(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    await _killed(stack, tmp_path, "gz_provider_python", 100, pays_for=0.5)


@pytest.mark.long
async def test_anything_killed_at_random(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    chance = random.Random(1)
    paying = Load(stack, tmp_path)
    for _ in range(60):
        await paying.more(5)
        stack.kill(chance.choice(["nats-server", "nats-server", "gz_coordinator", "gz_provider_python"]))
    await paying.end(may_be_lost=True)


async def test_provider_killed_under_its_call(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    workflow_id = await support.submit(connection, python("slow", in_vain_at_first(marks)))
    await support.eventually(marks.exists)
    stack.kill("gz_provider_python")
    view = await support.finished(stack.url, workflow_id)
    assert view["status"] == "completed", view
    assert view["tasks"][0]["attempts"] == 2
    history = await connection.call("workflow.history", {"workflow_id": workflow_id})
    (lost,) = [row["event"] for row in history["events"] if row["event"]["type"] == "CallLost"]
    assert lost.get("may_have_run", True) is True


async def test_at_most_once_where_the_author_says_so(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    workflow_id = await support.submit(connection, python("once", in_vain_at_first(marks), retry={"max_attempts": 1}))
    await support.eventually(marks.exists)
    stack.kill("gz_provider_python")
    view = await support.finished(stack.url, workflow_id)
    assert (view["status"], marks.read_text()) == ("failed", "x")
    assert view["tasks"][0]["error"]["name"] == "CALL_LOST"


async def test_a_person_says_whether_a_lost_call_is_made_again(
    stack: Stack, connection: Connection, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    workflow_id = await support.submit(connection, python("pay", in_vain_at_first(marks), on_lost="ask"))
    await support.eventually(marks.exists)
    stack.kill("gz_provider_python")

    async def question() -> str:
        (task,) = (await connection.call("workflow.get", {"workflow_id": workflow_id}))["tasks"]
        return str(task["asks"]["message"]) if "asks" in task else ""

    assert "may have had its effect: once more?" in await support.eventually(question)
    stack.kill("gz_coordinator")
    again = await support.connected(stack, 2)
    await again.call("task.complete", {"workflow_id": workflow_id, "task_id": "pay", "approved": True})
    await again.close()
    view = await support.finished(stack.url, workflow_id)
    assert (view["status"], marks.read_text()) == ("completed", "xx")


async def test_nats_killed_and_restarted(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks, go = tmp_path / "marks", tmp_path / "go"
    running = await support.submit(connection, python("slow", held(marks, go)))
    await support.eventually(marks.exists)
    stack.kill("nats-server")
    during = await support.submit(connection, echo("now", "without NATS"))
    assert (await support.finished(stack.url, during))["status"] == "completed"
    go.touch()
    view = await support.finished(stack.url, running)
    assert (view["status"], view["tasks"][0]["attempts"]) == ("completed", 1)

    async def reconnected() -> bool:
        return bool((await connection.call("system.status"))["nats"]["connected"])

    await support.eventually(reconnected)
    assert await support.providers_ready(connection, 2)


@pytest.mark.long
async def test_nats_that_stands_still_and_a_coordinator_that_is_killed_meanwhile(
    stack: Stack, connection: Connection, tmp_path: Path
) -> None:
    paying = Load(stack, tmp_path, pays_for=0.5)
    await paying.more(10)
    pid = stack.pid("nats-server")
    os.kill(pid, signal.SIGSTOP)
    try:
        await paying.more(10)
        await asyncio.sleep(15)  # the length of it is what is tested
        stack.kill("gz_coordinator")
        await asyncio.sleep(15)
    finally:
        os.kill(pid, signal.SIGCONT)
    await paying.more(10)
    await paying.end()


async def test_cancelled_work_really_stops(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    pid_file = tmp_path / "pids"
    code = f"""
import os, subprocess, time
child = subprocess.Popen(["sleep", "60"])
open({str(pid_file)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(60)
"""
    workflow_id = await support.submit(connection, python("long", code, timeout=120))
    await support.eventually(lambda: pid_file.exists() and len(pid_file.read_text().split()) == 2)
    pids = [int(pid) for pid in pid_file.read_text().split()]
    state = await connection.call("workflow.cancel", {"workflow_id": workflow_id})
    assert state["status"] == "cancelled"
    await support.eventually(lambda: not any(support.is_alive(pid) for pid in pids))


async def test_everything_killed_and_taken_up_again(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "state")
    connection = await connect(stack.url)
    await support.eventually(lambda: support.providers_ready(connection, 2))
    marks = tmp_path / "marks"
    workflow_id = await support.submit(
        connection, python("slow", in_vain_at_first(marks)), echo("after", "${slow.result}")
    )
    await support.eventually(marks.exists)
    support.kill_all(stack)
    again = Stack(tmp_path / "state")
    try:
        view = await support.finished(again.url, workflow_id)
        assert view["status"] == "completed", view
        assert view["tasks"][1]["result"]["response"] == "done"
    finally:
        assert again.stop() == 0
