"""Documents of earlier versions, run by a whole stack."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import support

sys.path.insert(0, str(Path(__file__).parent))

from runs import RUNS, Runs

from gleitzeit.spec.loading.load import load_text
from gleitzeit.transport import Connection, connect


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = support.Stack(tmp_path_factory.mktemp("compatibility") / "state", "--provider", "echo,python")
    yield stack.url
    assert stack.stop() == 0


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    found = await connect(url)
    yield found
    await found.close()


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case.row)
async def test_it_runs(url: str, connection: Connection, case: Runs) -> None:
    definition = load_text(dedent(case.document).strip()).value
    submitted = await connection.call("workflow.submit", {"definition": definition})
    view = await support.finished(url, submitted["workflow_id"])
    result = await connection.call("workflow.result", {"workflow_id": submitted["workflow_id"]})
    tasks = {task["task_id"]: task for task in view["tasks"]}
    for key, expected in case.outputs.items():
        part, _, task_id = key.partition(".")
        if part == "error" and task_id:
            assert expected in tasks[task_id]["error"]["message"]
        elif part == "status" and task_id:
            assert tasks[task_id]["status"] == expected
        else:
            assert view["status"] == "completed", json.dumps(tasks, indent=1)
            assert result["outputs"][key] == expected


async def test_statuses_and_events_have_our_names_only(url: str, connection: Connection) -> None:
    """Section 2: what is sent is ours; earlier ones are accepted as filters."""
    tasks: list[dict[str, Any]] = [{"id": "a", "method": "echo/echo"}]
    workflow_id = await support.submit(connection, *tasks)
    await support.finished(url, workflow_id)
    for status in ("completed", "submitted", "queued", "validated", "executing", "retry_pending", "paused"):
        await connection.call("workflow.list", {"status": [status]})
    events = (await connection.call("workflow.history", {"workflow_id": workflow_id}))["events"]
    assert {event["event"]["type"] for event in events} >= {"WorkflowSubmitted", "TaskCompleted", "WorkflowCompleted"}
