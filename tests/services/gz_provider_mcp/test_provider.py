"""What a provider of mcp/v1 says of itself, and how it follows what changes."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from mcp_servers import eventually, nasty_server

from gleitzeit.errors import ConfigurationError, GleitzeitError, TaskError
from gz_provider_mcp.main import Source, parser

Serve = Callable[..., AbstractAsyncContextManager[Any]]


async def test_our_own_tools_need_no_configuration(serve: Serve) -> None:
    async with serve({}) as provided:
        said = {"response": "hi", "echoed": "hi", "length": 2}
        assert await provided.tool("echo", message="hi") == {**said, "result": said}
        assert await provided.tool("add", a=25, b=17) == {
            "result": 42, "response": "42", "calculation": "25 + 17 = 42",
        }  # fmt: skip
        assert (await provided.tool("multiply", a=6, b=7))["result"] == 42
        joined = await provided.tool("builtin.concat", strings=["a", "b"], separator="-")
        assert joined == {"response": "a-b", "result": "a-b", "joined": "a-b", "count": 2}
        with pytest.raises(GleitzeitError, match="must be a number"):
            await provided.tool("add", a="x", b=1)
        assert (await provided.call("mcp/ping", {"server": "builtin"}))["response"] == "pong"
        assert (await provided.call("mcp/server_info"))["server_name"] == "gleitzeit-builtin"


async def test_a_bare_name_is_there_where_it_is_unique(serve: Serve) -> None:
    async with serve({"a": nasty_server(), "b": nasty_server(), "c": nasty_server() | {"prefix": "see"}}) as provided:
        await provided.ready()
        methods = await provided.methods()
        assert "mcp/tool.see.count" in methods
        assert not any(one.get("x-aliases") for name, one in methods.items() if name.endswith(".count"))
        with pytest.raises(TaskError, match=r"several MCP servers have a tool 'count': say which, a\.count"):
            await provided.call("mcp/tools/call", {"name": "count"})
        with pytest.raises(TaskError, match="did you mean 'count'"):
            await provided.call("mcp/tools/call", {"name": "coutn"})
        assert (await provided.call("mcp/tools/call", {"name": "see.count"}))["response"]


async def test_a_list_that_changes_is_read_again_and_told(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        assert "mcp/tool.nasty.new" not in await provided.methods()
        provided.said.clear()
        await provided.tool("nasty.change")
        await eventually(lambda: _has(provided, "mcp/tool.nasty.new"))
        assert "notifications/methods/list_changed" in [method for method, _ in provided.said]
        about = await provided.call("mcp/server_info", {"server": "nasty"})
        assert "count" in about["changed"], "its description says another version"
        assert await provided.tool("nasty.count"), "reported, but not pinned: called"


async def _has(provided: Any, name: str) -> bool:
    return name in await provided.methods()


async def test_a_pinned_tool_that_has_changed_is_not_called(serve: Serve) -> None:
    async with serve({"nasty": nasty_server() | {"pin": True}}) as provided:
        await provided.ready()
        await provided.tool("nasty.change")
        await eventually(lambda: _has(provided, "mcp/tool.nasty.new"))
        with pytest.raises(TaskError, match="has changed: sha256") as raised:
            await provided.tool("nasty.count")
        assert raised.value.data is not None
        assert raised.value.data["name"] == "MCP_TOOL_CHANGED"
        assert any("'count' has changed" in problem for problem in await provided.problems())
    async with serve({"nasty": nasty_server() | {"pin": True}}) as provided:
        await provided.ready()
        assert await provided.tool("nasty.count"), "what was remembered is what it is again"


async def test_remembered_tools_are_there_before_their_server(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
    slow = {"command": sys.executable, "args": ["-c", "import time; time.sleep(60)"]}
    async with serve({"nasty": slow}) as provided:
        assert "mcp/tool.nasty.count" in await provided.methods()
        assert await provided.problems() == ["MCP server 'nasty' is starting"]


async def test_the_configuration_is_followed(serve: Serve) -> None:
    async with serve({"a": nasty_server()}) as provided:
        await provided.ready()
        file = provided.folder / "mcp.json"
        file.write_text(json.dumps({"mcpServers": {"b": nasty_server(), "odd": {"command": 7}}}))
        await eventually(lambda: _has(provided, "mcp/tool.b.count"))
        assert "mcp/tool.a.count" not in await provided.methods()
        assert any("'odd'" in problem for problem in await provided.problems())
        listed = await provided.call("mcp/servers")
        assert [one["name"] for one in listed["servers"]] == ["builtin", "b"]
        assert listed["servers"][1]["command"].startswith(f"{sys.executable} ")


async def test_a_question_that_nobody_answers_is_declined(serve: Serve) -> None:
    async with serve({}, answer_seconds=0.05) as provided:
        with pytest.raises(TaskError, match="no question 'x' is open"):
            await provided.call("mcp/elicitation/answer", {"id": "x"})


def test_one_server_by_its_command_or_url() -> None:
    options = parser().parse_args(["--command", "prog 'a b'", "--arg=-x", "--env", "A=${B}", "--name", "one", "--pin"])
    [server] = Source(options).read().servers
    assert (server.name, server.command, server.env, server.pin) == ("one", ("prog", "a b", "-x"), {"A": "${B}"}, True)
    options = parser().parse_args(["--url", "wss://host/mcp", "--header", "Authorization=Bearer x"])
    [server] = Source(options).read().servers
    assert (server.kind, server.url, server.headers) == ("websocket", "wss://host/mcp", {"Authorization": "Bearer x"})
    with pytest.raises(ConfigurationError, match="is none"):
        Source(parser().parse_args(["--url", "ftp://host/"]))
