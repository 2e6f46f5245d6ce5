"""Nothing but `websockets` and `json`: what any language can do."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import support
from support import Stack
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as open_server

ROOT = Path(__file__).resolve().parents[2]


async def ask(socket: ClientConnection, number: int, method: str, params: Any) -> Any:
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
    while True:
        message = json.loads(await socket.recv())
        if message.get("id") == number:
            return message["result"]


async def test_submit_and_watch_to_the_end(stack: Stack) -> None:
    async with open_websocket(stack.url) as socket:
        tasks = [
            {"id": "a", "method": "echo/echo", "params": {"message": "hi"}},
            {"id": "b", "method": "python/execute", "params": {"code": "result = ${a.response} * 2"}},
        ]
        submitted = await ask(socket, 1, "workflow.submit", {"definition": {"name": "plain", "tasks": tasks}})
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "workflow.watch",
                                      "params": [submitted["workflow_id"]]}))  # fmt: skip
        events = []
        async with asyncio.timeout(support.PATIENCE_SECONDS):
            async for text in socket:
                message = json.loads(text)
                if message.get("method") == "notifications/event":
                    events.append(message["params"])
                    if message["params"]["event"]["type"].startswith("WorkflowCompleted"):
                        break
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        started = [event["event"]["task"] for event in events if event["event"]["type"] == "TaskStarted"]
        assert started == ["a", "b"]
        result = await ask(socket, 3, "workflow.result", [submitted["workflow_id"]])
        assert result["results"]["b"]["result"] == "hihi"


async def test_the_script_of_the_readme(stack: Stack) -> None:
    found = re.search(r"## From any language\n+```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    script = found[1].replace("ws://127.0.0.1:8765/", stack.url)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=-1, stderr=-1)
    async with asyncio.timeout(support.PATIENCE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out.splitlines()[-1])["params"]["event"]["type"] == "WorkflowCompleted"


async def test_a_batch_with_bad_members(stack: Stack) -> None:
    async with open_websocket(stack.url) as socket:
        batch = [
            {"jsonrpc": "2.0", "method": "ping", "id": 1},
            {"nonsense": True},
            {"jsonrpc": "2.0", "method": "system.status", "id": "two"},
            {"jsonrpc": "2.0", "method": "no.such.method", "id": 3},
        ]
        await socket.send(json.dumps(batch))
        answers = {str(answer["id"]): answer for answer in json.loads(await socket.recv())}
        assert answers["1"]["result"] == {}
        assert answers["two"]["result"]["providers"] >= 0
        assert answers["3"]["error"]["code"] == -32601
        assert answers["None"]["error"]["code"] == -32600


async def test_a_provider_in_javascript(stack: Stack) -> None:
    """Made known by provider.register, described in protocol.get, and used by a workflow."""
    script = ROOT / "examples/provider_in_javascript/provider.mjs"
    process = await asyncio.create_subprocess_exec("node", str(script), "0", stdout=-1)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
        async with open_websocket(stack.url) as socket:
            registered = await ask(socket, 1, "provider.register", {"url": url})
            assert registered["methods"] == ["text/slug", "text/statistics"]
            described = (await ask(socket, 2, "protocol.get", {"protocol": "text/v1"}))["methods"]
            assert [method["name"] for method in described] == registered["methods"]
            tasks = [
                {"id": "a", "method": "echo/echo", "params": {"message": "Über die Gleitzeit"}},
                {"id": "b", "method": "text/slug", "params": {"title": "${a.response}"}},
            ]
            submitted = await ask(socket, 3, "workflow.submit", {"definition": {"name": "js", "tasks": tasks}})
            view = await support.finished(stack.url, submitted["workflow_id"])
            assert view["tasks"][1]["result"] == {"slug": "uber-die-gleitzeit"}
    finally:
        process.kill()
        await process.wait()


async def test_the_trace_of_who_submits_goes_on_to_providers(stack: Stack) -> None:
    """Also in workflows that are tasks, and for a document that is checked in another process."""
    heard: list[dict[str, Any]] = []

    async def serve(socket: ServerConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            if "id" not in message:
                continue
            methods = [{"name": "spy/look", "params": [], "result": {"name": "result", "schema": {}}}]
            described = {"openrpc": "1.4.1", "info": {"title": "spy", "version": "1.0.0"}, "methods": methods}
            if message["method"] == "spy/look":
                heard.append(message["params"]["_meta"])
            result = described if message["method"] == "rpc.discover" else {}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}))

    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    child = {"name": "child", "tasks": [{"id": "c", "method": "spy/look"}]}
    tasks = [{"id": "a", "method": "spy/look"}, {"id": "b", "workflow": child, "dependencies": ["a"]}]
    async with open_server(serve, "127.0.0.1", 0) as server, open_websocket(stack.url) as socket:
        port = server.sockets[0].getsockname()[1]
        await ask(socket, 1, "provider.register", {"url": f"ws://127.0.0.1:{port}/"})
        traced = {"traceparent": given}
        for number, (meta, size) in enumerate([(traced, 0), (traced, 300_000), ({}, 0)]):
            definition = {"name": "traced", "description": "x" * size, "tasks": tasks}
            submitted = await ask(socket, 10 + number, "workflow.submit", {"definition": definition, "_meta": meta})
            await support.eventually(lambda: len(heard) == 2)
            traces = [said["traceparent"].split("-") for said in heard]
            assert {one[1] for one in traces} == {given.split("-")[1]} or not meta
            assert len({one[1] for one in traces}) == 1
            assert len({one[2] for one in traces} - {given.split("-")[2]}) == 2
            history = await ask(socket, 20 + number, "workflow.history", [submitted["workflow_id"]])
            assert history["events"][0]["event"].get("traceparent", "") == meta.get("traceparent", "")
            heard.clear()
