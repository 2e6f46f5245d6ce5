"""An HTTP server that misbehaves on purpose: each request gets the next answer of a script, the last one for ever."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

AT_ONCE_SECONDS = 1.0
"""Milliseconds, on a machine that has nothing else to do; whatever else ends a request ends it after many seconds."""


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeServer:
    """`gone` is put the time of the loop at which a client left while its answer was not complete.

    What is asked of the paths in `beside` is no part of the script, nor of `asked`: what llama.cpp tells about itself.
    """

    script: list[Answer]
    beside: dict[str, Answer] = field(default_factory=dict)
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    gone: "asyncio.Queue[float]" = field(default_factory=asyncio.Queue)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.tasks.discard(task)

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path in ABOUT_ITSELF:
            answer = self.beside.get(path, NO_SUCH_PATH)
        else:
            self.asked.append(Asked(method, path, headers, json.loads(body) if body else None))
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        answering = asyncio.create_task(answer(writer))
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not answering.done():
                self.gone.put_nowait(asyncio.get_running_loop().time())
                return False
            return False if answering.result() == CLOSE else await self._next(reader, leaving)
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    @staticmethod
    async def _next(reader: asyncio.StreamReader, leaving: "asyncio.Task[bytes]") -> bool:
        """The first byte of the next request is put back."""
        first = await leaving
        reader._buffer[:0] = first  # type: ignore[attr-defined]
        return bool(first)


CLOSE = "close"


@asynccontextmanager
async def fake_server(*script: Answer) -> AsyncIterator[FakeServer]:
    fake = FakeServer(list(script))
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        for task in fake.tasks:
            task.cancel()
        await asyncio.gather(*fake.tasks, return_exceptions=True)
        await server.wait_closed()


def answer(status: int, body: object, **headers: str) -> Answer:
    """A whole answer. `retry_after="3"` becomes a header `retry-after: 3`."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    async def send(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()

    return send


def stream(*pieces: str | bytes, then: str = "end", server: str = "fake") -> Answer:
    """A chunked answer. `then`: `end` it properly, `cut` the connection, or `hang` for ever."""

    async def send(writer: asyncio.StreamWriter) -> str | None:
        head = f"server: {server}\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        for piece in pieces:
            content = piece.encode() if isinstance(piece, str) else piece
            writer.write(b"%x\r\n%s\r\n" % (len(content), content))
            await writer.drain()
        if then == "cut":
            writer.write(b"ff\r\nhalf of it")
            await writer.drain()
            return CLOSE
        if then == "hang":
            await asyncio.Event().wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return None

    return send


ABOUT_ITSELF = ("/props", "/slots")
NO_SUCH_PATH = answer(404, {"error": {"message": "File Not Found"}})


async def hang(writer: asyncio.StreamWriter) -> None:
    """Says nothing at all."""
    await asyncio.Event().wait()


async def slam(writer: asyncio.StreamWriter) -> str:
    """Closes the connection without a word."""
    return CLOSE


def sse(*data: object, name: str = "") -> str:
    """Server-sent events; Anthropic's have the name of their `type`."""
    text = ""
    for one in data:
        kind = name or (one.get("type", "") if isinstance(one, dict) else "")
        text += f"event: {kind}\n" if kind else ""
        text += f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n"
    return text
