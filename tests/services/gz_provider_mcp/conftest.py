import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `mcp_servers`

from gleitzeit.transport import Connection, connect
from gz_provider_mcp.main import Source, build, parser

Serve = Callable[..., AbstractAsyncContextManager["Provided"]]


class Provided:
    """A provider that serves, a connection to it, and what came by that besides answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection: Connection
        self.said: list[tuple[str, Any]] = []

    def hear(self, connection: Connection, method: str, params: Raw | None) -> None:
        self.said.append((method, json.loads(bytes(params)) if params is not None else None))

    async def call(self, method: str, params: object = None, **more: Any) -> Any:
        return await self.connection.call(method, params, timeout_seconds=more.get("seconds", 30))

    async def tool(self, name: str, **arguments: Any) -> Any:
        return await self.call(f"mcp/tool.{name}", arguments)

    async def methods(self) -> dict[str, Any]:
        document = await self.call("rpc.discover")
        return {method["name"]: method for method in document["methods"]}

    async def problems(self) -> list[str]:
        document = await self.call("rpc.discover")
        found: list[str] = document["x-gleitzeit"].get("problems", [])
        return found

    async def ready(self) -> None:
        """All servers are, or will not be."""
        await self.call("mcp/ping")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`async with serve({name: entry}) as provided`; its files are in tmp_path."""

    @asynccontextmanager
    async def serving(servers: dict[str, Any], *, answer_seconds: float = 5.0) -> AsyncIterator[Provided]:
        file = tmp_path / "mcp.json"
        file.write_text(json.dumps({"mcpServers": servers}))
        monkeypatch.setenv("GLEITZEIT_MCP_CONFIG", str(file))
        monkeypatch.setenv("GLEITZEIT_CONFIG", str(tmp_path / "config.yaml"))
        provided = Provided(tmp_path)
        provider = build(Source(parser().parse_args([])), tmp_path / "state", answer_seconds)
        async with provider.serve() as service:
            provided.connection = await connect(service.url, on_notification=provided.hear)
            try:
                yield provided
            finally:
                await provided.connection.close()

    return serving
