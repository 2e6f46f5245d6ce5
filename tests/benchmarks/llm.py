"""What the whole path adds to a model call: a real llama-server asked directly, and through gz, in turn, in one run.

    python tests/benchmarks/llm.py

The model has random weights and answers in milliseconds, so what is measured is the way, not the thinking: a short
prompt shows what is added, a long one (which no server has seen before) what that is in proportion.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from msgspec import Raw

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "services" / "gz_provider_llm")]
import tiny_model
from llama import LlamaServer
from whole import row

from gleitzeit.stack import Stack, StackConfig
from gleitzeit.transport import Connection, connect

ROUNDS = 60
SHORT = "Write about the sea."
LONG = SHORT + " It was a long day, and the wind had turned before anybody noticed." * 60


def asking(prompt: str, number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{number}: {prompt}"}]
    return {"model": "tiny", "messages": messages, "temperature": 0, "seed": 1, "max_tokens": 24}


async def directly(client: httpx.AsyncClient, url: str, ask: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first piece of text, and to the end."""
    started, first = time.perf_counter(), 0.0
    async with client.stream("POST", f"{url}/v1/chat/completions", json={**ask, "stream": True}) as answer:
        async for line in answer.aiter_lines():
            if not first and '"content":"' in line:
                first = time.perf_counter() - started
    return first, time.perf_counter() - started


class Through:
    """The same by a workflow of one task, watched."""

    def __init__(self) -> None:
        self.first = 0.0
        self.ended = asyncio.Event()

    def notified(self, _connection: Connection, method: str, params: Raw | None) -> None:
        if method == "notifications/stream" and not self.first:
            self.first = time.perf_counter()
        elif method == "notifications/event" and params is not None and b'"WorkflowCompleted"' in bytes(params):
            self.ended.set()

    async def ask(self, connection: Connection, ask: dict[str, Any]) -> tuple[float, float]:
        self.first = 0.0
        self.ended.clear()
        started = time.perf_counter()
        definition = {"name": "ask", "tasks": [{"id": "a", "method": "llm/chat", "params": ask}]}
        submitted = await connection.call("workflow.submit", {"definition": definition})
        await connection.call("workflow.watch", {"workflow_id": submitted["workflow_id"]})
        await asyncio.wait_for(self.ended.wait(), 30)
        return self.first - started, time.perf_counter() - started

    async def echo(self, connection: Connection) -> float:
        """Seconds to the end of a workflow of one task that does nothing: the floor, of which one commit is a part."""
        self.ended.clear()
        started = time.perf_counter()
        task = {"id": "a", "method": "echo/echo", "params": {"message": "x"}}
        submitted = await connection.call("workflow.submit", {"definition": {"name": "echo", "tasks": [task]}})
        await connection.call("workflow.watch", {"workflow_id": submitted["workflow_id"]})
        await asyncio.wait_for(self.ended.wait(), 30)
        return time.perf_counter() - started


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = LlamaServer(tiny_model.write_model(folder / "tiny.gguf"), "--parallel", "2", "--context", "16384")
        environ = {**os.environ, "OPENAI_BASE_URL": f"{server.url}/v1"}
        config = StackConfig(state=folder / "state", providers=("openai", "echo"), log_files=True, log_level="warning")
        stack = Stack(config, environ=environ)
        try:
            address = await stack.start()
            through = Through()
            connection = await connect(address.url, on_notification=through.notified)
            while [p["status"] for p in (await connection.call("provider.list"))["providers"]] != ["ready"] * 2:
                await asyncio.sleep(0.02)
            floor = [await through.echo(connection) for _ in range(ROUNDS)]
            async with httpx.AsyncClient() as client:
                for name, prompt in (("short prompt", SHORT), ("long prompt", LONG)):
                    pairs = []
                    for number in range(ROUNDS):
                        direct = await directly(client, server.url, asking(prompt, 2 * number))
                        pairs.append((direct, await through.ask(connection, asking(prompt, 2 * number + 1))))
                    show(name, pairs[2:])
            row(
                "a workflow of one echo task, to the end: the floor", f"{statistics.median(floor[2:]) * 1e3:.2f} ms", ""
            )
            await connection.close()
        finally:
            await stack.stop()
            server.stop()


def show(name: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    row(f"a model call, {name}, medians", "measured", "ratio", "wanted")
    for at, what in enumerate(("first token", "end")):
        direct = statistics.median(pair[0][at] for pair in pairs)
        whole = statistics.median(pair[1][at] for pair in pairs)
        added = statistics.median(pair[1][at] - pair[0][at] for pair in pairs)
        row(f"to the {what}: asked directly", f"{direct * 1e3:.2f} ms", "1")
        row(f"to the {what}: through gz", f"{whole * 1e3:.2f} ms", f"{whole / direct:.2f}", "" if at else "<= 1.2")
        row(f"to the {what}: what the path adds", f"{added * 1e3:.2f} ms", "", "<= 5 ms" if at else "")


if __name__ == "__main__":
    asyncio.run(main())
