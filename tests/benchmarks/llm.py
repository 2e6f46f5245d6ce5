"""What the whole path adds to a model call: a real llama-server asked directly, and through gz, in turn, in one run.

    python tests/benchmarks/llm.py

The model has random weights and answers in milliseconds, so what is measured is the way, not the thinking: a short
prompt shows what is added, a long one (which no server has seen before) what that is in proportion. Through gz is first
a client on a WebSocket; then a person at a terminal, who types into `gz chat`. What the machine takes for the durable
writes and the ways between processes in it, nothing could do without that loses nothing.
"""

import asyncio
import json
import os
import pty
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tty
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
TURNS = 8
"""Of a conversation: each is asked with all that was said before."""
SHORT = "Write about the sea."
SENTENCE = " It was a long day, and the wind had turned before anybody noticed."
LONG = SHORT + SENTENCE * 60
LINE = SHORT + SENTENCE * 15
PAUSE_SECONDS = 0.01
"""About as long as the processes of the path sleep between messages: what they need is in no cache then."""
ECHO = """
import socket
end = socket.create_connection(("127.0.0.1", %d))
while data := end.recv(4096):
    end.sendall(data)
"""


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


class Chat:
    """`gz chat`, with what it shows on a terminal."""

    def __init__(self, url: str, ask: dict[str, Any]) -> None:
        self._terminal, shown = pty.openpty()
        tty.setraw(shown)
        params = [f"--param={name}={ask[name]}" for name in ("temperature", "seed", "max_tokens")]
        command = [sys.executable, "-m", "gz_cli", "chat", "--url", url, "--model", ask["model"], *params]
        environ = {**os.environ, "TERM": "xterm"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=shown, env=environ)
        os.close(shown)

    def say(self, line: str) -> float:
        """Seconds until something of the answer is shown."""
        assert self._process.stdin is not None
        started = time.perf_counter()
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        os.read(self._terminal, 1 << 16)
        return time.perf_counter() - started

    def skip(self) -> None:
        """What else is shown of the answer."""
        os.set_blocking(self._terminal, False)
        try:
            while os.read(self._terminal, 1 << 16):
                pass
        except BlockingIOError:
            os.set_blocking(self._terminal, True)

    def end(self) -> None:
        self._process.communicate()
        os.close(self._terminal)


async def said_directly(client: httpx.AsyncClient, url: str, ask: dict[str, Any]) -> tuple[float, str]:
    """Seconds to the first piece of text, and the whole."""
    started, first, text = time.perf_counter(), 0.0, ""
    async with client.stream("POST", f"{url}/v1/chat/completions", json={**ask, "stream": True}) as answer:
        async for line in answer.aiter_lines():
            if '"content":"' in line:
                first = first or time.perf_counter() - started
                text += json.loads(line.removeprefix("data: "))["choices"][0]["delta"]["content"]
    return first, text


async def converse(client: httpx.AsyncClient, server_url: str, connection: Connection, url: str) -> None:
    ask = asking("", 0)
    chat = Chat(url, ask)
    messages: list[dict[str, str]] = []
    pairs = []
    for turn in range(TURNS):
        messages.append({"role": "user", "content": f"{2 * turn}: {LINE}"})
        direct, text = await said_directly(client, server_url, {**ask, "messages": messages})
        messages.append({"role": "assistant", "content": text})
        typed = await asyncio.to_thread(chat.say, f"{2 * turn + 1}: {LINE}")
        while (await connection.call("workflow.list", {"limit": 1}))["workflows"][0]["status"] != "completed":
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        chat.skip()
        pairs.append((direct, typed))
    chat.end()
    direct, typed = (statistics.median(pair[at] for pair in pairs[1:]) for at in (0, 1))
    row("a conversation, medians", "measured", "ratio", "wanted")
    row("to the first token: asked directly", f"{direct * 1e3:.2f} ms", "1")
    row("to the first token: typed into gz chat", f"{typed * 1e3:.2f} ms", f"{typed / direct:.2f}", "<= 1.2")


def durable_write(folder: Path) -> float:
    """Seconds for one of 32 KiB, which is what a commit has."""
    took = []
    with (folder / "written").open("wb", buffering=0) as file:
        file.write(bytes(8 << 20))
        os.fsync(file.fileno())
        file.seek(0)
        for _ in range(ROUNDS):
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            file.write(bytes(32 << 10))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def way() -> float:
    """Seconds from one process to another by TCP, there and back through as little as possible, halved."""
    took = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = subprocess.Popen([sys.executable, "-c", ECHO % server.getsockname()[1]])
        end, _ = server.accept()
    with end:
        for _ in range(ROUNDS):
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            end.sendall(bytes(300))
            end.recv(4096)
            took.append((time.perf_counter() - began) / 2)
    other.wait()
    return statistics.median(took)


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write, one_way = durable_write(folder), way()
        server = LlamaServer(tiny_model.write_model(folder / "tiny.gguf"), "--parallel", "2", "--context", "65536")
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
            async with httpx.AsyncClient(timeout=60) as client:
                for name, prompt in (("short prompt", SHORT), ("long prompt", LONG)):
                    pairs = []
                    for number in range(ROUNDS):
                        direct = await directly(client, server.url, asking(prompt, 2 * number))
                        pairs.append((direct, await through.ask(connection, asking(prompt, 2 * number + 1))))
                    show(name, pairs[2:])
                await converse(client, server.url, connection, address.url)
            row("what is in it", "measured")
            row("a workflow of one echo task, to the end", f"{statistics.median(floor[2:]) * 1e3:.2f} ms")
            row("a durable write: one before the call, one at its end", f"{write * 1e3:.2f} ms")
            row("a way from process to process: four more than directly", f"{one_way * 1e3:.2f} ms")
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
