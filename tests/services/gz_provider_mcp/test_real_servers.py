"""Against servers that we did not write, of both eras, over stdio and streamable HTTP."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp_servers import eventually, free_port, listens, nasty_server, npm_server, python_server, time_server

from gleitzeit.errors import TaskError

Serve = Callable[..., AbstractAsyncContextManager[Any]]


async def test_time_of_the_stateless_era(serve: Serve) -> None:
    async with serve({"time": time_server()}) as provided:
        about = await provided.call("mcp/server_info", {"server": "time"})
        assert (about["era"], about["version"], about["server_name"]) == ("stateless", "2026-07-28", "mcp-time")
        given = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Europe/Berlin"}
        result = await provided.tool("time.convert_time", **given)
        assert result["target"]["timezone"] == "Europe/Berlin", "a key of structuredContent"
        assert result["result"]["target"] == result["target"], "and all of it"
        assert json.loads(result["response"])["target"] == result["target"], "and the text"
        assert (await provided.tool("convert_time", arguments=given))["target"] == result["target"]
        method = (await provided.methods())["mcp/tool.time.convert_time"]
        assert method["x-params-schema"]["required"] == ["source_timezone", "time", "target_timezone"]
        assert method["x-aliases"] == ["mcp/tool.convert_time"]
        assert method["x-idempotent"] is True, "by its annotations"
        assert set(method["x-result-schema"]["required"]) >= {"source", "target"}
        with pytest.raises(TaskError, match="No time zone found"):
            await provided.tool("time.convert_time", **{**given, "target_timezone": "Europe/Nowhere"})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    (folder / "a.txt").write_text("hello")
    return folder


async def test_git(serve: Serve, repository: Path) -> None:
    async with serve({"git": {"command": python_server("mcp-server-git")}}) as provided:
        await provided.ready()
        status = await provided.tool("git.git_status", repo_path=str(repository))
        assert "a.txt" in status["response"]
        with pytest.raises(TaskError, match="nowhere"):
            await provided.tool("git.git_status", repo_path=str(repository / "nowhere"))


async def test_filesystem_and_memory_side_by_side(serve: Serve, tmp_path: Path) -> None:
    """The first asks for `roots/list`, and gets them."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("from a file")
    servers = {
        "fs": {"command": npm_server("server-filesystem"), "args": [str(folder)], "roots": [str(folder)]},
        "memory": {"command": npm_server("server-memory"), "env": {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")}},
    }
    async with serve(servers) as provided:
        await provided.ready()
        read = await provided.tool("fs.read_text_file", path=str(folder / "a.txt"))
        assert read == {"content": "from a file", "response": "from a file", "result": {"content": "from a file"}}
        entity = {"name": "Ada", "entityType": "person", "observations": ["wrote a program"]}
        await provided.tool("memory.create_entities", entities=[entity])
        assert (await provided.tool("read_graph"))["entities"][0]["name"] == "Ada"
        with pytest.raises(TaskError, match="outside allowed directories"):
            await provided.tool("fs.read_text_file", path="/etc/passwd")


async def use_everything(provided: Any) -> None:
    """What the reference server of the old era has of everything."""
    assert (await provided.tool("every.echo", message="hé"))["response"] == "Echo: hé"
    weather = await provided.tool("every.get-structured-content", location="Chicago")
    assert weather["temperature"] == weather["result"]["temperature"]
    image = await provided.tool("every.get-tiny-image")
    assert [block["type"] for block in image["content"]] == ["text", "image", "text"]
    called = {"duration": 0.3, "steps": 3, "_meta": {"progressToken": "p"}}
    await provided.call("mcp/tool.every.trigger-long-running-operation", called)
    told = [params["progress"] for method, params in provided.said if method == "notifications/progress"]
    assert told == [1, 2, 3]
    listed = await provided.call("mcp/resources/list", {"server": "every"})
    read = await provided.call("mcp/resources/read", {"uri": listed["resources"][0]["uri"]})
    assert read["response"].startswith("#")
    assert (await provided.call("mcp/resources/templates/list"))["count"] > 0
    prompt = await provided.call("mcp/prompts/get", {"name": "args-prompt", "arguments": {"city": "Graz"}})
    assert "Graz" in prompt["response"]
    assert {one["name"] for one in (await provided.call("mcp/prompts/list"))["prompts"]} >= {"simple-prompt"}
    tools = await provided.call("mcp/tools/list", {"server": "every"})
    assert all(one["server"] == "every" for one in tools["tools"])
    assert (await provided.call("mcp/tools/call", {"name": "every.echo", "arguments": {"message": "x"}}))["response"]


async def test_everything_over_stdio(serve: Serve) -> None:
    async with serve({"every": {"command": npm_server("server-everything"), "env": {"GREETING": "hi"}}}) as provided:
        await provided.ready()
        await use_everything(provided)
        environment = json.loads((await provided.tool("every.get-env"))["response"])
        assert environment["GREETING"] == "hi"
        assert not [name for name in environment if name.startswith(("GLEITZEIT", "PYTEST"))], "filtered"
        await answer_a_question(provided)


async def answer_a_question(provided: Any) -> None:
    asked = asyncio.ensure_future(
        provided.call("mcp/tool.every.trigger-elicitation-request", {"_meta": {"progressToken": "q"}})
    )
    await eventually(lambda: _questions(provided))
    found = await _questions(provided)
    with pytest.raises(TaskError, match="that is no answer"):
        await provided.call("mcp/elicitation/answer", {"id": found[0]["id"], "content": {"name": 7}})
    await provided.call("mcp/elicitation/answer", {"id": found[0]["id"], "content": {"name": "Ada", "check": True}})
    assert "Ada" in (await asked)["response"]
    told = [params["data"] for method, params in provided.said if method == "notifications/message"]
    assert any("gz mcp answer" in str(line) for line in told), "those who watch are told of the question"


async def _questions(provided: Any) -> Any:
    return (await provided.call("mcp/elicitation/list"))["questions"]


@asynccontextmanager
async def everything_over_http(mode: str) -> AsyncIterator[int]:
    """The port that it listens at."""
    program = npm_server("server-everything")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program, mode, env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually(lambda: listens(port))
        yield port
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(("mode", "kind", "path"), [("streamableHttp", "http", "mcp"), ("sse", "sse", "sse")])
async def test_everything_over_http(mode: str, kind: str, path: str, serve: Serve) -> None:
    async with everything_over_http(mode) as port:
        entry = {"type": kind, "url": f"http://127.0.0.1:{port}/{path}"}
        async with serve({"every": entry}) as provided:
            await provided.ready()
            about = await provided.call("mcp/server_info", {"server": "every"})
            assert (about["transport"], about["era"], about["pid"]) == (kind, "handshake", None)
            await use_everything(provided)


async def test_the_oldest_http_is_found_out(serve: Serve) -> None:
    """Of a URL alone nobody knows of which HTTP it is."""
    async with (
        everything_over_http("sse") as port,
        serve({"every": {"url": f"http://127.0.0.1:{port}/sse"}}) as provided,
    ):
        await provided.ready()
        assert (await provided.tool("every.echo", message="hi"))["response"] == "Echo: hi"


async def test_nobody_at_that_address(serve: Serve) -> None:
    async with serve({"gone": {"url": "http://127.0.0.1:9/mcp"}, "nasty": nasty_server()}) as provided:
        answer = await provided.call("mcp/ping")
        assert "cannot be had" in answer["servers"]["gone"]
        assert isinstance(answer["servers"]["nasty"], float), "the others are not held up"
        assert any("gone" in problem for problem in await provided.problems())
