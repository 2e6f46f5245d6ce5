"""Processes are killed under a running workflow: nothing acknowledged is lost, nothing that lives is run twice."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import support
from support import Stack

from gleitzeit.errors import GleitzeitError
from gleitzeit.transport import Connection, connect


def marking(marks: Path, seconds: float) -> str:
    """Python code that notes each time it is run, and takes a while."""
    return f"import time\nopen({str(marks)!r}, 'a').write('x')\ntime.sleep({seconds})\nresult = 'done'"


def python(task: str, code: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "python/execute", "params": {"code": code}, **more}


def echo(task: str, message: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "echo/echo", "params": {"message": message}, **more}


async def test_coordinator_killed_in_mid_workflow(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    workflow_id = await support.submit(
        connection, python("slow", marking(marks, 3)), echo("after", "${slow.result} after all")
    )
    await support.eventually(marks.exists)
    stack.kill("gz_coordinator")
    view = await support.finished(stack.url, workflow_id)
    assert view["status"] == "completed", view
    slow, after = view["tasks"]
    assert marks.read_text() == "x", "the call that ran on was attached to, not repeated"
    assert slow["attempts"] == 1
    assert after["result"]["response"] == "done after all"


async def test_coordinator_killed_again_and_again(stack: Stack, connection: Connection) -> None:
    acknowledged = []

    async def submit_for_ever() -> None:
        while True:
            with contextlib.suppress(GleitzeitError, TimeoutError):
                mine = await connect(stack.url)
                while True:
                    tasks = [echo(f"t{n}", "x", dependencies=[f"t{n - 1}"] if n else []) for n in range(5)]
                    acknowledged.append(await support.submit(mine, *tasks))
            await asyncio.sleep(0.02)

    submitting = asyncio.create_task(submit_for_ever())
    for _ in range(4):
        before = len(acknowledged)
        await support.eventually(lambda before=before: len(acknowledged) > before + 20)
        stack.kill("gz_coordinator")
    submitting.cancel()
    assert len(acknowledged) > 80
    for workflow_id in acknowledged:
        view = await support.finished(stack.url, workflow_id)
        assert view["status"] == "completed", view


async def test_provider_killed_under_its_call(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    workflow_id = await support.submit(connection, python("slow", marking(marks, 1)))
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
    workflow_id = await support.submit(connection, python("once", marking(marks, 5), retry={"max_attempts": 1}))
    await support.eventually(marks.exists)
    stack.kill("gz_provider_python")
    view = await support.finished(stack.url, workflow_id)
    assert (view["status"], marks.read_text()) == ("failed", "x")
    assert view["tasks"][0]["error"]["name"] == "CALL_LOST"


async def test_nats_killed_and_restarted(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    running = await support.submit(connection, python("slow", marking(marks, 2)))
    await support.eventually(marks.exists)
    stack.kill("nats-server")
    during = await support.submit(connection, echo("now", "without NATS"))
    assert (await support.finished(stack.url, during))["status"] == "completed"
    view = await support.finished(stack.url, running)
    assert (view["status"], view["tasks"][0]["attempts"]) == ("completed", 1)

    async def reconnected() -> bool:
        return bool((await connection.call("system.status"))["nats"]["connected"])

    await support.eventually(reconnected)
    assert await support.providers_ready(connection, 2)


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
    workflow_id = await support.submit(connection, python("slow", marking(marks, 3)), echo("after", "${slow.result}"))
    await support.eventually(marks.exists)
    support.kill_all(stack)
    again = Stack(tmp_path / "state")
    try:
        view = await support.finished(again.url, workflow_id)
        assert view["status"] == "completed", view
        assert view["tasks"][1]["result"]["response"] == "done"
    finally:
        assert again.stop() == 0
