"""The link by which a person answers: what it opens, over a real socket, and what it does not."""

import asyncio
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.gz_coordinator.room import Room, room
from websockets.asyncio.client import connect

from gleitzeit import errors
from gleitzeit.transport.server import Server
from gz_coordinator.methods import approvals
from gz_coordinator.methods.workflows import build

WORKFLOW = {
    "name": "Holiday",
    "tasks": [{"id": "ask me", "approval": {"message": "Go?", "form": {"properties": {"days": {"type": "integer"}}}}}],
}


@pytest.fixture
async def there() -> AsyncIterator[Room]:
    async with room() as there:
        doors = {approvals.PREFIX: approvals.door(there.parts)}
        server = Server(build(there.parts), doors=doors, token="secret")
        await server.start()
        there.parts.url = server.url
        yield there
        await server.close()


async def asked(there: Room) -> tuple[str, str]:
    """A workflow that asks, and the link."""
    workflow_id = (await there.call("workflow.submit", {"definition": WORKFLOW}))["workflow_id"]
    await there.turns()
    explained = await there.call("workflow.explain", {"workflow_id": workflow_id})
    [link] = re.findall(r" (http\S+)$", explained["tasks"][0]["message"])
    return workflow_id, link


async def talk(link: str, method: str, **params: Any) -> dict[str, Any]:
    """What the page does: connect below the path, without any other secret."""
    where, _, token = link.partition("#")
    workflow_id, task_id = where.split("/")[-2:]
    given = {"workflow_id": workflow_id, "task_id": task_id.replace("%20", " "), "token": token, **params}
    async with connect(where.replace("http", "ws", 1)) as socket:
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": given}))
        reply: dict[str, Any] = json.loads(await socket.recv())
        return reply


async def test_a_person_answers_by_a_link_and_nothing_happens_before(there: Room) -> None:
    workflow_id, link = await asked(there)
    with await asyncio.to_thread(urllib.request.urlopen, link) as page:
        assert b"approval.answer" in page.read()
        assert "script-src 'sha256-" in page.headers["Content-Security-Policy"]
    shown = (await talk(link, "approval.get"))["result"]
    assert (shown["name"], shown["open"], shown["message"]) == ("Holiday", True, "Go?")
    wrong = await talk(link, "approval.answer", approved=True, values={"days": "x"})
    assert "'days' must be a whole number" in wrong["error"]["message"]
    [problem] = wrong["error"]["data"]["problems"]
    assert problem["path"] == ["days"], "the page shows it beside the field"
    assert "result" in await talk(link, "approval.answer", approved=True, values={"days": 3}, by="Ada")
    result = await there.result(workflow_id)
    assert result["results"]["ask me"]["values"] == {"days": 3}
    again = await talk(link, "approval.answer", approved=False)
    assert "was approved before by Ada" in again["error"]["message"]
    shown = (await talk(link, "approval.get"))["result"]
    assert not shown["open"]
    assert "was approved before by Ada" in shown["closed"]


async def test_the_door_opens_nothing_else(there: Room) -> None:
    _, link = await asked(there)
    for method in ("workflow.list", "task.complete", "system.status", "workflow.submit"):
        assert (await talk(link, method))["error"]["code"] == errors.MethodNotFound.code
    for bad in (f"{link}x", link[:-1] + ("A" if link[-1] != "A" else "B"), link.partition("#")[0] + "#"):
        assert (await talk(bad, "approval.get"))["error"]["code"] == errors.Unauthorized.code
    nowhere = link.replace("wf-", "wf-0")
    assert (await talk(nowhere, "approval.get"))["error"]["code"] == errors.Unauthorized.code


async def test_a_link_is_of_one_task_and_one_attempt(there: Room) -> None:
    workflow_id, link = await asked(there)
    _, other = await asked(there)
    mixed = link.partition("#")[0] + "#" + other.partition("#")[2]
    assert (await talk(mixed, "approval.get"))["error"]["code"] == errors.Unauthorized.code
    await there.call("task.complete", {"workflow_id": workflow_id, "task_id": "ask me", "approved": False})
    await there.until(workflow_id, "failed")
    await there.call("workflow.retry", {"workflow_id": workflow_id})
    await there.turns()
    assert "of an earlier attempt" in (await talk(link, "approval.answer", approved=True))["error"]["message"]


async def test_an_answer_that_names_its_attempt_is_for_no_later_question(there: Room) -> None:
    workflow_id, _ = await asked(there)
    answer = {"workflow_id": workflow_id, "task_id": "ask me", "attempt": 1}
    await there.call("task.complete", {**answer, "approved": False})
    await there.until(workflow_id, "failed")
    await there.call("workflow.retry", {"workflow_id": workflow_id})
    await there.turns()
    with pytest.raises(errors.InvalidState, match="asks anew, in attempt 2"):
        await there.call("task.complete", answer)
    await there.call("task.complete", {**answer, "attempt": 2})
    await there.until(workflow_id, "completed")


@pytest.mark.skipif(shutil.which("node") is None, reason="nothing else here reads JavaScript")
def test_the_script_of_the_page_can_be_read(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    [content] = re.findall(rb"<script>(.*?)</script>", approvals.PAGE, re.DOTALL)
    script.write_bytes(content)
    subprocess.run(["node", "--check", script], check=True)


async def test_defaults_are_filled_in_whatever_the_answer(there: Room) -> None:
    form = {"properties": {"days": {"type": "integer", "default": 3}, "why": {"type": "string"}}, "required": ["why"]}
    asks = {"id": "ask", "approval": {"form": form, "on_reject": "continue"}}
    workflow_id = (await there.call("workflow.submit", {"definition": {"name": "n", "tasks": [asks]}}))["workflow_id"]
    await there.turns()
    await there.call("task.complete", {"workflow_id": workflow_id, "task_id": "ask", "approved": False})
    assert (await there.result(workflow_id))["results"]["ask"]["values"] == {"days": 3}
