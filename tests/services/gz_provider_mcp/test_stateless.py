"""The stateless era, as the official SDK serves it, on stdio and over HTTP."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp_servers import eventually, free_port, listens

Serve = Callable[..., AbstractAsyncContextManager[Any]]
PROGRAM = str(Path(__file__).with_name("sdk_server.py"))


@asynccontextmanager
async def entry_of(kind: str, folder: Path) -> AsyncIterator[tuple[dict[str, Any], Path]]:
    """How it is configured, and where its stderr goes."""
    if kind == "stdio":
        yield {"command": sys.executable, "args": [PROGRAM]}, folder / "state" / "logs" / "mcp-sdk.log"
        return
    port = free_port()
    with (folder / "http.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, PROGRAM, str(port), stdout=log, stderr=log)
        try:
            await eventually(lambda: listens(port))
            yield {"url": f"http://127.0.0.1:{port}/mcp"}, folder / "http.log"
        finally:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_everything_of_it(kind: str, serve: Serve, tmp_path: Path) -> None:
    async with entry_of(kind, tmp_path) as (entry, log), serve({"sdk": entry}) as provided:
        about = await provided.call("mcp/server_info", {"server": "sdk"})
        assert (about["era"], about["transport"]) == ("stateless", kind)

        await provided.call("mcp/tool.slow", {"_meta": {"progressToken": "p"}})
        told = [params["progress"] for method, params in provided.said if method == "notifications/progress"]
        assert told == [1, 2, 3]

        for place in ("eu-west", "Österreich", " =?base64?x?="):
            assert (await provided.tool("region", place=place))["response"] == f"in {place}", "mirrored in a header"

        asked = asyncio.ensure_future(provided.tool("greet"))
        await eventually(lambda: _questions(provided))
        [question] = await _questions(provided)
        assert question["message"] == "Who are you?"
        await provided.call("mcp/elicitation/answer", {"id": question["id"], "content": {"name": "Ada"}})
        assert (await asked)["response"] == "Hello Ada", "input_required, and asked once more"

        await provided.tool("grow")
        await eventually(lambda: _has(provided, "mcp/tool.sdk.new"))

        hanging = asyncio.ensure_future(provided.tool("hang"))
        await provided.tool("region", place="x")
        hanging.cancel()
        await eventually(lambda: log.exists() and "hang was cancelled" in log.read_text())


async def _questions(provided: Any) -> Any:
    return (await provided.call("mcp/elicitation/list"))["questions"]


async def _has(provided: Any, name: str) -> bool:
    return name in await provided.methods()
