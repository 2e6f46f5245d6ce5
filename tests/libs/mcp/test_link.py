"""Both eras, on the transports that are at hand: a program of ours, and a WebSocket."""

import os
import sys

import msgspec
import pytest

from gleitzeit.errors import TaskError
from gleitzeit.mcp.link import LinkFailed, opened
from gleitzeit.mcp.servers import McpServer
from gleitzeit.mcp.serving import Serving, ToolCall, UnknownTool
from gleitzeit.transport.server import Server


class Toolbox:
    async def tools(self) -> list[dict[str, object]]:
        return [{"name": f"t{number}", "inputSchema": {"type": "object"}} for number in range(150)]

    async def call(self, call: ToolCall) -> object:
        if call.name == "fail":
            raise TaskError("it failed", {"problems": [{"path": ["a", 1], "message": "is wrong"}]})
        if call.name == "progress":
            call.progress(1, 2, "half")
            call.progress(1, 2, "not more than before")
            return "done"
        if call.name != "t1":
            raise UnknownTool(f"Unknown tool: {call.name}")
        return {"said": call.arguments}


@pytest.mark.parametrize("probe", [True, False])
async def test_a_websocket(probe: bool) -> None:
    server = Server(Serving(Toolbox(), "box", "1.0"))
    await server.start()
    try:
        config = McpServer(name="box", kind="websocket", url=server.url)
        heard: list[dict[str, object]] = []
        async with opened(config, environ={}, probe=probe) as link:
            session = link.session
            assert (session.info.era, session.info.name) == ("stateless" if probe else "handshake", "box")
            await session.ping()
            assert len([raw async for raw in session.pages("tools/list", "tools")]) == 150, "two pages"
            answer = msgspec.json.decode(await session.request("tools/call", {"name": "t1", "arguments": {"a": 1}}))
            assert answer["structuredContent"] == {"said": {"a": 1}}
            assert answer.get("resultType") == ("complete" if probe else None)
            failed = msgspec.json.decode(await session.request("tools/call", {"name": "fail"}))
            assert failed["isError"] is True
            assert failed["content"][0]["text"] == "it failed\n- a.1: is wrong"
            with pytest.raises(Exception, match="Unknown tool: nope"):
                await session.request("tools/call", {"name": "nope"})
            session.connection._on_notification = lambda c, m, params: session.progressed(params)  # type: ignore[assignment]
            await session.request("tools/call", {"name": "progress"}, on_progress=heard.append)
            assert heard == [{"progress": 1, "total": 2, "message": "half"}]
    finally:
        await server.close()


async def test_nobody_there() -> None:
    config = McpServer(name="box", kind="websocket", url="ws://127.0.0.1:9/")
    with pytest.raises(LinkFailed, match="cannot connect"):
        async with opened(config, environ={}):
            pass


async def test_what_our_own_code_raises_is_not_the_server_s() -> None:
    config = McpServer(name="b", kind="stdio", command=(sys.executable, "-m", "gz_mcp_builtin"))
    with pytest.raises(FileNotFoundError):
        async with opened(config, environ=os.environ):
            raise FileNotFoundError("ours")


async def test_one_that_ends_at_its_start_says_why() -> None:
    config = McpServer(name="x", kind="stdio", command=("sh", "-c", "echo no licence >&2; exit 4"))
    with pytest.raises(LinkFailed, match="exited with status 4 at its start:\nno licence"):
        async with opened(config, environ=os.environ):
            pass
