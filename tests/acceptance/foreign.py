"""A provider in nothing but websockets: it says what it takes, does whatever comes, and counts what it has at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

METHOD = "tally/mark"
CAPACITY = 2
WORK_SECONDS = 0.05
_DOCUMENT = {
    "openrpc": "1.4.1",
    "info": {"title": "tally", "version": "1"},
    "methods": [{"name": METHOD, "params": [], "result": {"name": "result", "schema": {}}}],
    "x-gleitzeit": {"name": "tally", "capacity": CAPACITY},
}


class Foreign:
    def __init__(self) -> None:
        self.port = 0
        self.running = self.most = self.done = self.allowed = 0
        self.told: list[str] = []
        """Why it was asked to stop calls; it goes on with them all the same."""
        self._news = asyncio.Event()

    def allow(self, count: int) -> None:
        """So many calls end; the others go on until it is more."""
        self.allowed = count
        self._news.set()

    async def accept(self, connection: ServerConnection) -> None:
        """What it does for a connection ends with it."""
        work: set[asyncio.Task[None]] = set()
        try:
            async for text in connection:
                request = json.loads(text)
                if request.get("method") == "rpc.discover":
                    await connection.send(_answer(request, _DOCUMENT))
                elif request.get("method") == "notifications/cancelled":
                    self.told.append(request["params"]["reason"])
                elif request.get("method") == METHOD:
                    task = asyncio.create_task(self._mark(connection, request))
                    work.add(task)
                    task.add_done_callback(work.discard)
        except ConnectionClosed:
            pass
        finally:
            for task in work:
                task.cancel()

    async def _mark(self, connection: ServerConnection, request: dict[str, Any]) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(WORK_SECONDS)
            while self.done >= self.allowed:
                self._news.clear()
                await self._news.wait()
            self.done += 1
        finally:
            self.running -= 1
        await connection.send(_answer(request, {"marked": True}))


def _answer(request: dict[str, Any], result: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result})


@asynccontextmanager
async def foreign() -> AsyncIterator[Foreign]:
    provider = Foreign()
    async with serve(provider.accept, "127.0.0.1", 0, compression=None) as server:
        provider.port = next(iter(server.sockets)).getsockname()[1]
        yield provider
