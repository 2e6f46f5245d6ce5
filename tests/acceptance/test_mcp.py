"""MCP through the whole stack: servers as providers of tools, and Gleitzeit as a server of hosts of both eras."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import support
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from gleitzeit.errors import GleitzeitError
from gleitzeit.transport import Connection, connect

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `mcp_servers`

from mcp_servers import nasty_server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[support.Stack]:
    """With the nasty server, in a folder of its own."""
    folder = tmp_path_factory.mktemp("mcp")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GLEITZEIT_MCP_CONFIG", str(folder / "mcp.json"))
        environment.setenv("HOME", str(folder))
        servers = {"nasty": nasty_server(str(folder / "marker")), "other": nasty_server(str(folder / "other"))}
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
        running = support.Stack(folder / "state", "--provider", "echo,mcp")
        assert running.url
        yield running
    assert running.stop() == 0


@pytest.fixture
async def connection(stack: support.Stack) -> Any:
    found = await connect(stack.url)
    await support.eventually(lambda: support.providers_ready(found, 2))
    await support.eventually(lambda: knows(found, "mcp/tool.nasty.count"))
    yield found
    await found.close()


async def knows(connection: Connection, method: str) -> bool:
    described = await connection.call("protocol.get", {"protocol": "mcp/v1"})
    return method in {one["name"] for one in described["methods"]}


async def ran(connection: Connection, stack: support.Stack, *tasks: dict[str, Any]) -> dict[str, Any]:
    view = await support.finished(stack.url, await support.submit(connection, *tasks))
    return {task["task_id"]: task for task in view["tasks"]}


async def test_tasks_call_tools_in_every_spelling(connection: Connection, stack: support.Stack) -> None:
    tasks = await ran(
        connection,
        stack,
        {"id": "sum", "type": "mcp", "params": {"tool": "add", "a": 25, "b": 17}},
        {"id": "twice", "protocol": "mcp/v1", "method": "tool.multiply", "params": {"a": "${sum.result}", "b": 2}},
        {"id": "count", "protocol": "mcp/nasty/v1", "method": "count"},
        {"id": "called", "method": "mcp/tools/call", "params": {"name": "other.count", "arguments": {"x": 1}}},
        {"id": "listed", "protocol": "mcp/v1", "method": "list_tools", "params": {"server": "nasty"}},
        {"id": "ping", "method": "mcp/ping"},
        {"id": "text", "method": "mcp/tool.concat", "params": {"strings": ["${twice.response}", "${count.content}"]}},
    )
    assert {name: task["status"] for name, task in tasks.items()} == dict.fromkeys(tasks, "completed")
    assert tasks["twice"]["result"]["result"] == 84
    assert tasks["text"]["result"]["joined"].startswith("84")


async def test_params_and_tools_are_checked_at_submit(connection: Connection) -> None:
    wrong = {
        "mcp/tool.nasty.conut": ({}, "the MCP server 'nasty' has no tool 'conut'"),
        "mcp/tool.count": ({}, "several MCP servers have a tool 'count'"),
        "mcp/tool.nasty.count": ({"x": "seven"}, "must be a whole number"),
    }
    for method, (params, words) in wrong.items():
        definition = {"name": "w", "tasks": [{"id": "t", "method": method, "params": params}]}
        checked = await connection.call("workflow.validate", {"definition": definition})
        assert not checked["valid"]
        assert words in checked["problems"][0]["message"]


async def test_what_a_server_changes_reaches_the_coordinator(connection: Connection, stack: support.Stack) -> None:
    assert not await knows(connection, "mcp/tool.other.new")
    tasks = await ran(connection, stack, {"id": "c", "method": "mcp/tool.other.change"})
    assert tasks["c"]["status"] == "completed"
    await support.eventually(lambda: knows(connection, "mcp/tool.other.new"))
    described = await connection.call("protocol.get", {"protocol": "mcp/v1"})
    [count] = [one for one in described["methods"] if one["name"] == "mcp/tool.other.count"]
    assert count["description"] == "count, version 2", "what was known before is replaced"


async def test_a_call_whose_server_dies_is_lost_by_the_rules(connection: Connection, stack: support.Stack) -> None:
    tasks = await ran(
        connection,
        stack,
        {"id": "harmless", "method": "mcp/tool.nasty.die-once"},
    )
    assert (tasks["harmless"]["status"], tasks["harmless"]["attempts"]) == ("completed", 2), "it may be repeated"
    tasks = await ran(connection, stack, {"id": "effect", "method": "mcp/tool.nasty.die"})
    assert tasks["effect"]["status"] == "failed"
    assert tasks["effect"]["attempts"] == 1
    assert "MCP server 'nasty' is gone (it exited with status 7)" in tasks["effect"]["error"]["message"]
    assert "may have had its effect; it is not repeated" in tasks["effect"]["error"]["message"]
    tasks = await ran(connection, stack, {"id": "poison", "method": "mcp/tool.other.die", "on_lost": "retry"})
    assert "quarantined: 3 calls" in tasks["poison"]["error"]["message"]


async def test_a_cancelled_workflow_cancels_the_call(connection: Connection, stack: support.Stack) -> None:
    workflow_id = await support.submit(connection, {"id": "h", "method": "mcp/tool.nasty.hang"})
    log = stack.state / "logs" / "mcp-nasty.log"
    await support.eventually(lambda: log.exists() and "hangs" in log.read_text())
    await connection.call("workflow.cancel", {"workflow_id": workflow_id})
    await support.eventually(lambda: log.exists() and "cancelled" in log.read_text())


DEFINITION = """
name: from a host
tasks:
  - {id: first, method: echo/echo, params: {message: hello}}
  - {id: second, method: echo/echo, params: {message: "${first.response} again"}}
outputs: {said: "${second.response}"}
"""


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_host_over_stdio(stack: support.Stack, mode: str, tmp_path: Path) -> None:
    await store_template(stack, tmp_path)
    program = StdioServerParameters(
        command=sys.executable,
        args=["-m", "gz_cli", "mcp", "serve", "--state", str(stack.state)],
        env=dict(os.environ),
    )
    async with Client(stdio_client(program), mode=mode) as host:
        await does_what_a_host_does(host)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_host_over_http(stack: support.Stack, mode: str, tmp_path: Path) -> None:
    """Which is given the URL and the token."""
    await store_template(stack, tmp_path)
    (tmp_path / "token").write_text("open-sesame")
    words = ["mcp", "serve", "--http", "0", "--token-file", str(tmp_path / "token"), "--state", str(stack.state)]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gz_cli", *words, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        url = re.findall(r"http://\S+", (await process.stderr.readline()).decode())[0]
        async with httpx2.AsyncClient() as client:
            assert (await client.post(url, json={})).status_code == 401
        with_token = httpx2.AsyncClient(headers={"Authorization": "Bearer open-sesame"}, timeout=30)
        async with with_token, Client(streamable_http_client(url, http_client=with_token), mode=mode) as host:
            await does_what_a_host_does(host)
            await asyncio.gather(*(hears_only_of_its_own(url, name) for name in ("left", "right")))
    finally:
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), support.PATIENCE_SECONDS) == 0


async def hears_only_of_its_own(url: str, name: str) -> None:
    """Though hosts count their calls alike, and so choose the same tokens."""
    told: list[str] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((message or "").partition(":")[0])

    with_token = httpx2.AsyncClient(headers={"Authorization": "Bearer open-sesame"}, timeout=30)
    async with with_token, Client(streamable_http_client(url, http_client=with_token)) as host:
        definition = {"name": name, "tasks": [{"id": "a", "method": "echo/delay", "params": {"seconds": 0.5}}]}
        await host.call_tool("submit_workflow", {"definition": definition}, progress_callback=progress)
    assert set(told) == {name}


async def does_what_a_host_does(host: Client) -> None:
    told: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append(done)

    tools = {tool.name: tool for tool in (await host.list_tools()).tools}
    assert {"submit_workflow", "get_workflow", "watch_workflow", "template_greet"} <= set(tools)
    assert tools["template_greet"].input_schema["required"] == ["who"]

    done = await host.call_tool("submit_workflow", {"definition": DEFINITION}, progress_callback=progress)
    assert done.structured_content["status"] == "completed"
    assert done.structured_content["outputs"] == {"said": "hello again"}
    assert told[-1] == 2

    slow = {"name": "slow", "tasks": [{"id": "a", "method": "echo/delay", "params": {"seconds": 9}}]}
    begun = await host.call_tool("submit_workflow", {"definition": slow, "wait_seconds": 0.1})
    handle = begun.structured_content["workflow_id"]
    assert begun.structured_content["status"] == "running", "a handle, not a wait"
    watched = await host.call_tool("watch_workflow", {"workflow_id": handle})
    assert watched.structured_content["events"][0]["type"] == "WorkflowSubmitted"
    await host.call_tool("cancel_workflow", {"workflow_id": handle})
    ended = await host.call_tool("get_workflow", {"workflow_id": handle, "wait_seconds": 10})
    assert ended.structured_content["status"] == "cancelled"

    greeted = await host.call_tool("template_greet", {"who": "Ada"})
    assert greeted.structured_content["outputs"] == {"greeting": "Hello Ada"}
    wrong = await host.call_tool("template_greet", {})
    assert wrong.is_error
    bad = await host.call_tool("submit_workflow", {"definition": "name: x\ntasks: [{method: echo/ecko}]"})
    assert bad.is_error
    assert "did you mean" in bad.content[0].text


async def store_template(stack: support.Stack, folder: Path) -> None:
    file = folder / "greet.yaml"
    file.write_text(
        "name: greet\ninputs: {who: {type: string, required: true}}\n"
        "tasks: [{id: a, method: echo/echo, params: {message: 'Hello ${inputs.who}'}}]\n"
        "outputs: {greeting: '${a.response}'}\n"
    )
    stored = support.gz("template", "put", str(file), state=stack.state)
    assert stored.returncode == 0, stored.stderr


async def test_a_host_on_the_coordinator_s_socket(connection: Connection) -> None:
    """Without anything but JSON-RPC: both eras on one socket, beside its own methods."""
    old = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    assert (await connection.call("initialize", old))["protocolVersion"] == "2025-03-26"
    connection.notify("notifications/initialized", {})
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    found = await connection.call("server/discover", {"_meta": meta})
    assert found["supportedVersions"] == ["2026-07-28"]
    listed = await connection.call("tools/list", {"_meta": meta})
    assert listed["resultType"] == "complete"
    called = {"name": "list_methods", "arguments": {"protocol": "echo/v1"}}
    answer = await connection.call("tools/call", called)
    assert "echo/echo" in {one["name"] for one in answer["structuredContent"]["methods"]}
    for name, arguments, said in (
        ("list_workflows", {"limit": 2.0}, ""),
        ("get_workflow", {"workflow": "x"}, "unknown key 'workflow' (did you mean 'workflow_id'?)"),
        ("list_workflows", {"status": "compelted"}, "not 'compelted' (did you mean 'completed'?)"),
        ("get_workflow", {"workflow_id": 3}, "get_workflow: workflow_id: must be text, not 3"),
        ("list_methods", {"protocol": "ecko/v1"}, "did you mean 'echo/v1'?"),
    ):
        answer = await connection.call("tools/call", {"name": name, "arguments": arguments})
        assert (answer.get("isError", False), said in answer["content"][0]["text"]) == (said != "", True), answer
    with pytest.raises(GleitzeitError, match=r"Unknown tool: submit_workflw \(did you mean 'submit_workflow'\?\)"):
        await connection.call("tools/call", {"name": "submit_workflw", "arguments": {}})
    wrong = {"definition": {"name": "x", "tasks": [{"id": "a", "method": "echo/ecko"}]}}
    answer = await connection.call("tools/call", {"name": "submit_workflow", "arguments": wrong})
    assert answer["content"][0]["text"] == (
        "tasks[0].method: protocol 'echo/v1' has no method 'echo/ecko' (did you mean 'echo/echo'?)"
    )
    assert await connection.call("ping") == {}
    assert (await connection.call("system.status"))["draining"] is False


async def test_a_host_that_means_one_of_several_workflows_is_told_how_to_say_which(connection: Connection) -> None:
    twin = {"name": "twin", "tasks": [{"id": "a", "method": "echo/ping"}]}
    begun = [(await connection.call("workflow.submit", {"definition": twin}))["workflow_id"] for _ in range(2)]
    assert all(workflow_id.startswith("wf-") for workflow_id in begun)
    for text, said in (("wf-", "give more of its id"), ("twin", "give its id, or twin@latest")):
        answer = await connection.call("tools/call", {"name": "get_workflow", "arguments": {"workflow_id": text}})
        assert answer["content"][0]["text"].endswith(f"{text!r} is not one workflow: {said}")


def test_gz_run_starts_what_a_document_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLEITZEIT_MCP_CONFIG", str(tmp_path / "mcp.json"))
    monkeypatch.setenv("HOME", str(tmp_path))
    state = tmp_path / "state"
    entry = nasty_server()
    added = support.gz("mcp", "add", "nasty", "--", entry["command"], *entry["args"], state=state)
    assert added.returncode == 0, added.stderr
    document = tmp_path / "flow.yaml"
    document.write_text(
        "name: tools\ntasks:\n"
        "  - {id: a, method: mcp/tool.count}\n"
        "  - {id: b, method: mcp/tool.concat, params: {strings: ['${a.response}']}}\n"
    )
    run = support.gz("run", str(document), "-q", "-o", "json", state=state)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["results"]["b"]["joined"].endswith(" 1")
    document.write_text("name: tools\ntasks: [{id: a, method: mcp/tool.nasty.conut}]\n")
    run = support.gz("run", str(document), state=state)
    assert run.returncode == 2
    assert "did you mean mcp/tool.nasty.count?" in run.stderr
    checked = support.gz("validate", str(document), state=state)
    assert checked.returncode == 2, "what was remembered of the tools is enough"
    assert "the MCP server 'nasty' has no tool 'conut'" in checked.stderr
