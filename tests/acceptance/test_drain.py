"""A provider is drained under its call, and the coordinator is killed: nothing is lost, and nothing new is sent."""

import asyncio
import json
from pathlib import Path

import support
from support import Stack

from gleitzeit.errors import GleitzeitError, ProviderNotFound
from gleitzeit.transport import Connection, connect


async def test_a_drain_outlives_the_coordinator(stack: Stack, connection: Connection, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = f"import time\nopen({str(marks)!r}, 'a').write('x')\ntime.sleep(3)\nresult = 'done'"
    tasks = [
        {"id": "slow", "method": "python/execute", "params": {"code": code}},
        {"id": "after", "method": "python/execute", "dependencies": ["slow"], "params": {"code": "result = 1"}},
    ]
    workflow_id = await support.submit(connection, *tasks)
    await support.eventually(marks.exists)
    drained = await asyncio.to_thread(support.gz, "drain", "python", "-o", "json", state=stack.state)
    assert [one["status"] for one in json.loads(drained.stdout)] == ["draining"], drained
    stack.kill("gz_coordinator")
    looked = await asyncio.to_thread(support.gz, "status", state=stack.state)
    assert looked.returncode == 0, f"its stack starts it again: {looked}"

    async def why() -> str:
        told = await connection.call("workflow.explain", {"workflow_id": workflow_id, "task_id": "after"})
        return str(told["tasks"][0]["reason"])

    connection = await support.eventually(lambda: _again(stack))
    await support.eventually(lambda: _is(connection, "drained"))
    assert await why() == "draining"
    assert marks.read_text() == "x"
    undone = await asyncio.to_thread(support.gz, "drain", "python", "--undo", state=stack.state)
    assert undone.returncode == 0, undone
    view = await support.finished(stack.url, workflow_id)
    assert [task["status"] for task in view["tasks"]] == ["completed", "completed"]
    await connection.close()


async def _again(stack: Stack) -> Connection | None:
    try:
        return await connect(stack.url)
    except GleitzeitError:
        return None


async def _is(connection: Connection, status: str) -> bool:
    try:
        found = await connection.call("provider.get", {"name": "python"})
    except ProviderNotFound:  # it has not announced itself to this coordinator yet
        return False
    return [one["status"] for one in found["instances"]] == [status]
