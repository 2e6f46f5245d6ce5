"""Every code that a client may see, over a plain WebSocket, from what is wrong in such a way.

What earlier versions had codes for and nobody sends any more: a queue (-27001 …), which is a part of the coordinator
now; a retry that is exhausted (-29008) and a workflow that failed of a task (-28003) say the code of what failed; a
dependency that failed (-29005) is a status, `skipped`; a system that is not there yet, or ends (-31001, -31002), does
not answer.
Those of a journal, of a full coordinator and of tokens are tested where these are made to fail.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import support
from websockets.asyncio.client import ClientConnection, connect

from gleitzeit.errors import name_of

ECHO = {"id": "a", "method": "echo/echo", "params": {"message": "x"}}
AGAIN = {"max_attempts": 2, "base_delay": 0.01}
NO_BLOB = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = support.Stack(tmp_path_factory.mktemp("codes") / "state", "--provider", "echo,python,validation")
    yield stack.url
    assert stack.stop() == 0


class Plain:
    """JSON-RPC and nothing of ours."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def frame(self, text: str) -> Any:
        await self._socket.send(text)
        return json.loads(await self._socket.recv())

    async def call(self, method: str, params: Any = None) -> Any:
        """The whole answer."""
        number = next(self._ids)
        answer = await self.frame(
            json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        )
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", number)
        return answer

    async def run(self, *tasks: dict[str, Any], **more: Any) -> Any:
        """The workflow when it has ended."""
        submitted = await self.call("workflow.submit", {"definition": {"name": "n", "tasks": tasks, **more}})
        return await self.ended(submitted["result"]["workflow_id"])

    async def ended(self, workflow_id: str) -> Any:
        async with asyncio.timeout(support.PATIENCE_SECONDS):
            while True:
                view = (await self.call("workflow.get", {"workflow_id": workflow_id}))["result"]
                if view["status"] in ("completed", "failed", "cancelled"):
                    return view
                await asyncio.sleep(0.02)


@pytest.fixture
async def plain(url: str) -> AsyncIterator[Plain]:
    async with connect(url) as socket:
        yield Plain(socket)


def submits(*tasks: Any, **more: Any) -> dict[str, Any]:
    return {"definition": {"name": "n", "tasks": list(tasks), **more}}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", -32700),
        ("[]", -32600),
        ('{"jsonrpc": "2.0", "id": 1}', -32600),
        ('{"jsonrpc": "1.0", "id": 1, "method": "ping"}', -32600),
        ('{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": 3}', -32600),
    ],
)
async def test_what_is_no_request(plain: Plain, frame: str, code: int) -> None:
    assert (await plain.frame(frame))["error"]["code"] == code


ANSWERS: list[tuple[str, Any, int]] = [
    ("no.such", {}, -32601),
    ("echo/echo", {"message": "x"}, -32601),
    ("workflow.get", {}, -32602),
    ("workflow.get", [3], -32602),
    ("workflow.list", {"status": "done"}, -32602),
    ("workflow.history", {"workflow_id": "DONE", "events": ["TaskDone"]}, -32602),
    ("workflow.submit", submits(), -28001),
    ("workflow.submit", submits({"id": "a", "method": "echo/none"}), -28001),
    ("workflow.submit", submits({"id": "a", "protocol": "echo/v9", "method": "echo"}), -28001),
    ("workflow.submit", submits({**ECHO, "dependencies": ["b"]}, {**ECHO, "id": "b", "dependencies": ["a"]}), -28006),
    ("template.put", {"definition": {"name": "x"}}, -28001),
    *((method, {"workflow_id": "nobody"}, -28002) for method in (
        "workflow.get", "workflow.result", "workflow.watch", "workflow.history", "workflow.explain", "workflow.cancel",
        "workflow.pause", "workflow.resume", "workflow.hold", "workflow.retry", "workflow.rerun",
    )),
    ("workflow.signal", {"workflow_id": "nobody", "name": "x"}, -28002),
    ("task.get", {"workflow_id": "nobody", "task_id": "a"}, -28002),
    *((method, {"workflow_id": "DONE"}, -28007) for method in (
        "workflow.cancel", "workflow.pause", "workflow.resume", "workflow.hold", "workflow.retry",
    )),
    ("workflow.rerun", {"workflow_id": "WAITING"}, -28007),
    ("workflow.signal", {"workflow_id": "DONE", "name": "x"}, -28007),
    ("task.complete", {"workflow_id": "WAITING", "task_id": "w"}, -28007),
    ("template.get", {"name": "nobody"}, -28011),
    ("template.run", {"name": "nobody"}, -28011),
    ("schedule.get", {"name": "nobody"}, -28012),
    ("schedule.trigger", {"name": "nobody"}, -28012),
    ("task.get", {"workflow_id": "DONE", "task_id": "nobody"}, -29009),
    ("workflow.explain", {"workflow_id": "DONE", "task_id": "nobody"}, -29009),
    ("workflow.rerun", {"workflow_id": "DONE", "from_task": "nobody"}, -29009),
    ("protocol.get", {"protocol": "nobody/v1"}, -30001),
    ("provider.register", {"url": "ws://127.0.0.1:1/"}, -30002),
    ("blob.get", {"blob": NO_BLOB, "offset": 0}, -31007),
]  # fmt: skip


async def test_what_is_answered(plain: Plain) -> None:
    """With the name of the code, and whether it is worth another try."""
    known = {"DONE": (await plain.run(ECHO))["workflow_id"]}
    waiting = submits({"id": "w", "method": "signal/wait", "params": {"signal_name": "x"}})
    known["WAITING"] = (await plain.call("workflow.submit", waiting))["result"]["workflow_id"]
    for method, params, code in ANSWERS:
        given = json.loads(json.dumps(params).replace("DONE", known["DONE"]).replace("WAITING", known["WAITING"]))
        answer = await plain.call(method, given)
        assert "error" in answer, (method, params)
        error = answer["error"]
        found = (error["code"], error["data"]["name"], error["data"]["retryable"])
        assert found == (code, name_of(code) or found[1], False), (method, params, error)
        assert error["message"]
    await plain.call("workflow.cancel", {"workflow_id": known["WAITING"]})


WHOLE: list[tuple[str, Any]] = [
    ("workflow.list", {"limit": 2.0}),
    ("workflow.get", {"workflow_id": "DONE", "after": 0.0, "limit": 1.0}),
    ("workflow.get", {"workflow_id": "DONE", "after": 1e300}),
    ("workflow.history", {"workflow_id": "DONE", "after": 1.0, "limit": 2.0}),
    ("workflow.history", {"workflow_id": "DONE", "after": 1e300}),
    ("batch.list", {"limit": 1.0}),
    ("workflow.watch", {
        "workflow_id": "DONE", "after": 0.0, "streams": {"a": 3.0, "b": {"attempt": 1.0, "offset": 2.0}},
    }),
]  # fmt: skip


async def test_whole_numbers_that_look_like_fractions(plain: Plain) -> None:
    """JSON has one kind of number. A slice, SQL and islice have not: one of these once ended the journal's thread."""
    done = (await plain.run(ECHO))["workflow_id"]
    for method, params in WHOLE:
        answer = await plain.call(method, json.loads(json.dumps(params).replace("DONE", done)))
        assert "result" in answer, (method, params, answer)
    told = await plain.frame(json.dumps({"jsonrpc": "2.0", "method": "ping"}))
    assert told["method"] == "notifications/event", "it is watched, too"


def python(code: str, **more: Any) -> dict[str, Any]:
    return {"id": "a", "method": "python/execute", "params": {"code": code}, **more}


FAILURES: dict[int, list[list[dict[str, Any]]]] = {
    -32602: [[python("result = 'x'", id="b"), {"id": "a", "method": "echo/delay", "params": {"delay": "${b.result}"}}]],
    -29001: [[{"id": "a", "method": "validation/assert", "params": {"assertions": ["1 > 2"]}}]],
    -29002: [
        [python("raise ValueError('no')")],
        [{"id": "a", "method": "echo/error", "params": {"message": "no"}, "retry": AGAIN}],
        [{"id": "a", "workflow": {"name": "c", "tasks": [{"id": "x", "method": "echo/error"}]}}],
    ],
    -29003: [
        [{"id": "a", "method": "echo/delay", "params": {"delay": 5}, "timeout": 0.05}],
        [{"id": "a", "method": "signal/wait", "params": {"signal_name": "x", "timeout": 0.05}}],
        [{"id": "a", "approval": {"message": "May I?", "timeout": 0.05}}],
    ],
    -29004: [
        [
            {"id": "a", "method": "echo/delay", "params": {"delay": 5}, "concurrency": {"key": "x"}},
            {**ECHO, "id": "b", "concurrency": {"key": "x", "on_conflict": "cancel_running"}},
        ]
    ],
    -29006: [
        [python("result = {'x': 1}", id="b"), {**ECHO, "params": {"message": "${b.y}"}}],
        [python("result = 3", id="b"), {**ECHO, "for_each": "${b.result}"}],
        [python("result = 3", id="b"), {**ECHO, "when": "${b.result}"}],
    ],
    -29010: [[{"id": "a", "method": "echo/error", "retry": AGAIN, "budget": {"calls": 1}}]],
    -29011: [[{**ECHO, "until": {"condition": "loop.round > 5", "max": 2}}]],
    -30003: [[{"id": "a", "method": "nobody/does", "queue_timeout": 0.05}]],
    -31004: [[python("result = [1, 2]", id="b"), {**ECHO, "for_each": "${b.result}", "max_items": 1}]],
}  # fmt: skip


@pytest.mark.parametrize("code", FAILURES)
async def test_what_tasks_fail_of(plain: Plain, code: int) -> None:
    for tasks in FAILURES[code]:
        view = await plain.run(*tasks)
        failed = next(task for task in view["tasks"] if task["task_id"] == "a")
        assert (view["status"], failed["status"]) == ("failed", "failed"), view
        assert failed["error"]["code"] == code, failed
        assert failed["error"]["name"]
        assert view["error"]["code"] == code


async def test_what_workflows_fail_of(plain: Plain) -> None:
    late = await plain.run({"id": "a", "method": "echo/delay", "params": {"delay": 5}}, timeout=0.05)
    assert (late["error"]["code"], late["error"]["name"]) == (-28004, "WORKFLOW_TIMEOUT")
    unread = await plain.run(python("result = {'x': 1}"), outputs={"o": "${a.y}"})
    assert unread["error"]["code"] == -29006
    dependent = await plain.run(python("raise ValueError"), {**ECHO, "id": "b", "dependencies": ["a"]})
    assert [task["status"] for task in dependent["tasks"]] == ["failed", "skipped"]


async def test_a_key_that_was_used_for_something_else(plain: Plain) -> None:
    assert "result" in await plain.call("workflow.submit", {**submits(ECHO), "idempotency_key": "one"})
    error = (await plain.call("workflow.submit", {**submits({**ECHO, "id": "b"}), "idempotency_key": "one"}))["error"]
    assert error["code"] == -28007
