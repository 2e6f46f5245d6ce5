"""`task.retry` over the wire: one task and what was skipped because of it, and nothing else."""

from typing import Any

import pytest
from tests.services.gz_coordinator.room import Room, room

from gleitzeit import errors

ASKS: dict[str, Any] = {
    "name": "asks",
    "tasks": [
        {"id": "good", "method": "echo/echo", "params": {"message": "hi"}},
        {"id": "unwanted", "when": "good.response == 'no'", "method": "echo/echo", "params": {"message": "x"}},
        {"id": "one", "name": "The first", "approval": {"message": "?"}},
        {"id": "then", "dependencies": ["one"], "method": "echo/echo", "params": {"message": "then"}},
        {"id": "two", "approval": {"message": "?"}},
    ],
}


async def rejected(there: Room) -> str:
    workflow_id: str = (await there.call("workflow.submit", {"definition": ASKS}))["workflow_id"]
    await there.turns()
    with pytest.raises(errors.InvalidState, match="running: only what failed"):
        await retry(there, workflow_id, "one")
    for task in ("one", "two"):
        await there.call("task.complete", {"workflow_id": workflow_id, "task_id": task, "approved": False})
    await there.until(workflow_id, "failed")
    return workflow_id


async def retry(there: Room, workflow_id: str, task_id: str) -> Any:
    return await there.call("task.retry", {"workflow_id": workflow_id, "task_id": task_id})


@pytest.mark.parametrize("name", ["one", "The first"])
async def test_one_task_and_what_it_held_up_run_again(name: str) -> None:
    async with room() as there:
        workflow_id = await rejected(there)
        assert (await retry(there, workflow_id, name))["tasks"] == ["one", "then"]
        await there.turns()
        await there.call("task.complete", {"workflow_id": workflow_id, "task_id": "one"})
        view = await there.until(workflow_id, "failed")
        states = {task["task_id"]: task["status"] for task in view["tasks"]}
        assert states == {
            "good": "completed", "unwanted": "skipped", "one": "completed", "then": "completed", "two": "failed"
        }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("good", errors.InvalidState, "task good is completed: only what failed"),
        ("unwanted", errors.InvalidState, "task unwanted is skipped: only what failed"),
        ("then", errors.InvalidState, "task then needs one, which is failed: retry one"),
        ("none", errors.TaskNotFound, "no task 'none'"),
    ],
)
async def test_what_cannot_be_tried_again_says_why(task: str, error: type[Exception], message: str) -> None:
    async with room() as there:
        workflow_id = await rejected(there)
        with pytest.raises(error, match=message):
            await retry(there, workflow_id, task)
        with pytest.raises(errors.WorkflowNotFound):
            await retry(there, "wf-none", task)
