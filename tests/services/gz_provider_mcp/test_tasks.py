"""Servers that make tasks of calls, as both eras have them."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp_servers import eventually

from gleitzeit.errors import GleitzeitError

Serve = Callable[..., AbstractAsyncContextManager[Any]]
PROGRAM = str(Path(__file__).with_name("task_server.py"))


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_a_call_that_becomes_a_task_is_asked_after_until_it_has_ended(
    era: str, serve: Serve, tmp_path: Path
) -> None:
    log = tmp_path / "state" / "logs" / "mcp-far.log"
    async with serve({"far": {"command": sys.executable, "args": [PROGRAM, era]}}) as provided:
        assert (await provided.call("mcp/server_info", {"server": "far"}))["era"] == era

        answer = await provided.call("mcp/tool.later", {"_meta": {"progressToken": "p", "callId": "c"}})
        assert answer["response"] == "done"
        told = [params["data"] for method, params in provided.said if method == "notifications/message"]
        assert told == ["look 0", "look 1"], "each of its messages once"

        asked = asyncio.ensure_future(provided.tool("asks"))
        await eventually(lambda: _questions(provided))
        [question] = await _questions(provided)
        await provided.call("mcp/elicitation/answer", {"id": question["id"], "content": {"name": "Ada"}})
        assert (await asked)["response"] == "Ada"

        with pytest.raises(GleitzeitError, match="it broke"):
            await provided.tool("fails")
        with pytest.raises(GleitzeitError, match="cancelled"):
            await provided.tool("gone")

        hanging = asyncio.ensure_future(provided.tool("hang"))
        await asyncio.sleep(0.3)
        assert not hanging.done()
        hanging.cancel()
        await eventually(lambda: log.exists() and "hang was cancelled" in log.read_text())


@pytest.mark.parametrize("era", ["stateless", "handshake"])
async def test_a_task_that_still_works_has_said_something(era: str, serve: Serve, tmp_path: Path) -> None:
    entry = {"command": sys.executable, "args": [PROGRAM, era], "idle_timeout": 2}
    async with serve({"far": entry}) as provided:
        await provided.ready()
        hanging = asyncio.ensure_future(provided.tool("hang"))
        await asyncio.sleep(3)
        assert not hanging.done(), "it is asked every 20 ms, and answers"
        hanging.cancel()


async def _questions(provided: Any) -> Any:
    return (await provided.call("mcp/elicitation/list"))["questions"]
