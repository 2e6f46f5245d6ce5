"""From a configured server to a session with it, over whichever wire; and what becomes of it when it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from msgspec import Raw
from msgspec.structs import replace

from gleitzeit.errors import ConnectionLost, GleitzeitError
from gleitzeit.mcp.http import HTTP_STATUS, HttpWire
from gleitzeit.mcp.inquiries import Inquiries
from gleitzeit.mcp.old_http import open_old_http
from gleitzeit.mcp.servers import McpServer
from gleitzeit.mcp.session import HANDSHAKE_SECONDS, Session, listen, open_session
from gleitzeit.mcp.stderr import Complaints
from gleitzeit.mcp.stdio import StdioWire
from gleitzeit.mcp.websocket import open_websocket
from gleitzeit.process.children import Child, describe_exit, filtered_environment, start_child
from gleitzeit.process.pipes import Pipes, open_pipes
from gleitzeit.transport import Connection
from gleitzeit.transport.base import Wire
from gleitzeit.transport.connection import OnNotification

STOP_SECONDS = 2.0
_TAKES_NO_POST = (404, 405)
SHOWN_NOISE = 5
logger = logging.getLogger(__name__)


class LinkFailed(GleitzeitError):
    """The server cannot be had: it does not start, does not answer, or does not speak MCP. The message says why."""

    code = -30004
    name = "MCP_SERVER_FAILED"
    retryable = True


class Link:
    """`session` until the connection closes. `pid` is 0 for a server that is not ours to start."""

    def __init__(self, session: Session, child: Child | None, wire: Wire) -> None:
        self._wire = wire
        self.session = session
        self.pid = child.pid if child is not None else 0
        self.closed = asyncio.Event()
        session.connection.add_close_callback(lambda _: self.closed.set())
        self._child = child

    def learn_tools(self, tools: Mapping[str, Raw]) -> None:
        """The definitions of its tools by name: over HTTP, some want more than the call itself."""
        if isinstance(self._wire, HttpWire):
            self._wire.learn_tools(tools)

    async def death(self) -> str:
        """After `closed`: how it ended, in words."""
        if self._child is None:
            return self.session.connection.close_reason or "the connection closed"
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                return f"it {describe_exit(await self._child.wait())}"
        return "it closed its output"


@asynccontextmanager
async def opened(
    server: McpServer,
    *,
    environ: Mapping[str, str],
    inquiries: Inquiries | None = None,
    on_notification: OnNotification | None = None,
    log: Path | None = None,
    probe: bool = True,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> AsyncIterator[Link]:
    """A running server, with hands shaken. It is stopped, or left, at the end of the block, whatever happens.

    `log` is where its stderr goes. Without `probe` it is taken for one of the old era: some of these die of a question
    that they do not know. A URL that takes no POST is tried by the HTTP of 2024-11-05, as the specification asks of
    clients. Raises LinkFailed.
    """

    def linked(one: McpServer) -> AbstractAsyncContextManager[Link]:
        return _linked(one, environ, inquiries, on_notification, log, probe, handshake_seconds)

    async with AsyncExitStack() as stack:
        try:
            link = await stack.enter_async_context(linked(server))
        except LinkFailed as error:
            if server.kind != "http" or (error.data or {}).get(HTTP_STATUS) not in _TAKES_NO_POST:
                raise
            try:
                link = await stack.enter_async_context(linked(replace(server, kind="sse")))
            except LinkFailed:
                raise error from None
        yield link


@asynccontextmanager
async def _linked(
    server: McpServer,
    environ: Mapping[str, str],
    inquiries: Inquiries | None,
    on_notification: OnNotification | None,
    log: Path | None,
    probe: bool,
    handshake_seconds: float,
) -> AsyncIterator[Link]:
    methods = inquiries or Inquiries(server.roots)
    async with _wire(server, environ, log) as (wire, child, complaints):
        connection = Connection(wire, methods=methods, on_notification=on_notification)
        connection.start()
        try:
            session = await _shake_hands(server, connection, wire, probe, handshake_seconds, child, complaints)
            listening = asyncio.create_task(listen(session), name=f"listen to {server.name}")
            try:
                yield Link(session, child, wire)
            finally:
                listening.cancel()
        finally:
            await connection.close()


async def _shake_hands(
    server: McpServer,
    connection: Connection,
    wire: Wire,
    probe: bool,
    seconds: float,
    child: Child | None,
    complaints: Complaints | None,
) -> Session:
    def on_version(version: str) -> None:
        if isinstance(wire, HttpWire):
            wire.version = version

    try:
        return await open_session(connection, probe=probe, on_version=on_version, handshake_seconds=seconds)
    except TimeoutError:
        raise LinkFailed(f"it did not answer within {seconds:g} s{_words(complaints)}") from None
    except ConnectionLost as error:
        if child is None:
            raise LinkFailed(error.message, error.data) from None
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                code = await child.wait()
            raise LinkFailed(f"it {describe_exit(code)} at its start{_words(complaints)}") from None
        raise LinkFailed(f"it closed its output at its start{_words(complaints)}") from None
    except GleitzeitError as error:
        raise LinkFailed(f"it refused the handshake: {error.message}", error.data) from None


def _words(complaints: Complaints | None) -> str:
    last = complaints.last_words() if complaints is not None else ""
    return f":\n{last}" if last else ""


@asynccontextmanager
async def _wire(
    server: McpServer, environ: Mapping[str, str], log: Path | None
) -> AsyncIterator[tuple[Wire, Child | None, Complaints | None]]:
    if server.kind == "http":
        yield HttpWire(server.url, server.headers), None, None
        return
    if server.kind in ("websocket", "sse"):
        open_wire = open_websocket if server.kind == "websocket" else open_old_http
        try:
            wire: Wire = await open_wire(server.url, server.headers)
        except GleitzeitError as error:
            raise LinkFailed(error.message, error.data) from None
        yield wire, None, None
        return
    async with _program(server, environ, log) as program:
        yield program


@asynccontextmanager
async def _program(
    server: McpServer, environ: Mapping[str, str], log: Path | None
) -> AsyncIterator[tuple[Wire, Child | None, Complaints | None]]:
    """Its own process group, no shell, and only what it needs of our environment."""
    pipes = await open_pipes()
    complaints = Complaints(pipes.stderr, log)
    try:
        child = await _started(server, environ, pipes)
        pipes.started()
        try:
            yield StdioWire(pipes.stdout, pipes.stdin, server.name, on_noise=_noise(server.name)), child, complaints
        finally:
            await _stop(child)
    finally:
        pipes.close()
        await complaints.close()


async def _started(server: McpServer, environ: Mapping[str, str], pipes: Pipes) -> Child:
    try:
        return await start_child(
            f"mcp-{server.name}",
            server.command,
            environ=filtered_environment(environ, add=server.env),
            announces=False,
            dies_with_us=True,
            pipes=pipes,
            cwd=server.cwd,
        )
    except OSError as error:
        raise LinkFailed(f"it cannot be started: {error.strerror or error}: {server.shown}") from None


async def _stop(child: Child) -> None:
    """A server ends when its input does; one that does not is asked, and then made to."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await child.wait()
    await asyncio.shield(child.stop(STOP_SECONDS))


def _noise(name: str) -> Callable[[bytes], None]:
    heard = 0

    def hear(line: bytes) -> None:
        nonlocal heard
        heard += 1
        if heard <= SHOWN_NOISE:
            more = " (no more is told of it)" if heard == SHOWN_NOISE else ""
            logger.warning(
                "MCP server %s prints what is no message: %r%s", name, line[:200].decode(errors="replace"), more
            )

    return hear
