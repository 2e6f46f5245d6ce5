"""HTTP/1.1 without TLS and without a proxy, as a transport of httpx: how a model server on this machine is asked.

A local model says its first word after a few milliseconds, and then one every quarter of one: an answer of 24 words
cost this process 10 ms of computing by httpx's own transport, and costs 5 by this one, which takes what the socket has
to give in one step. On a machine that the model needs itself, that is what an answer comes later.
"""

import asyncio
import logging
import selectors
from collections.abc import AsyncIterator
from typing import Final

import httpx

from gz_provider_llm.answers import Answer, Malformed

logger = logging.getLogger(__name__)

HIGH_WATER_BYTES: Final = 1 << 20
"""Of an answer that is not read as fast as it comes."""
_LOOPBACK: Final = ("127.0.0.1", "::1")


class PlainTransport(httpx.AsyncBaseTransport):
    """For `http://` addresses. Of the timeouts it heeds `connect` and `write`: silence is its user's business.

    A connection that was not used for `keepalive_seconds` is closed.
    """

    def __init__(self, keepalive_seconds: float) -> None:
        self._keepalive_seconds = keepalive_seconds
        self._idle: dict[tuple[str, int], list[_Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        message = _message(request, await request.aread())
        timeouts = request.extensions.get("timeout", {})
        connection = await self._connection(request.url, timeouts.get("connect"))
        try:
            await connection.send(message, timeouts.get("write"))
            answer = await connection.answered()
        except BaseException:
            connection.abort()
            raise
        head = answer.head
        assert head is not None
        if logger.isEnabledFor(logging.DEBUG):
            path = request.url.raw_path.partition(b"?")[0].decode()
            logger.debug("HTTP Request: %s %s:%d%s: %d", request.method, *connection.address, path, head.status)
        return httpx.Response(
            head.status,
            headers=head.headers,
            stream=_Body(self, connection),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": head.reason},
        )

    async def _connection(self, url: httpx.URL, seconds: float | None) -> "_Connection":
        address = url.host, url.port or 80
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if connection.open:
                connection.wake()
                return connection
        try:
            async with asyncio.timeout(seconds):
                return await _connect(*address)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {seconds} s") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error

    def release(self, connection: "_Connection") -> None:
        """A request is over: its connection is kept for another, or closed."""
        if connection.sleep(self._keepalive_seconds):
            idle = [other for other in self._idle.get(connection.address, ()) if not other.lost]
            self._idle[connection.address] = [*idle, connection]
        else:
            connection.abort()

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()


class _Body(httpx.AsyncByteStream):
    """What is still to come of an answer. Closing it before its end closes the connection."""

    def __init__(self, transport: PlainTransport, connection: "_Connection") -> None:
        self._transport = transport
        self._connection: _Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None and (piece := await self._connection.read()):
            yield piece

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport.release(connection)


class _Connection(asyncio.Protocol):
    """One request at a time. Whoever waits is woken by whatever happens, and looks what it is."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._answer: Answer | None = None
        self._broken: Exception | None = None
        self.lost = False
        self._unwritten = False
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    # What its transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done or self._broken is not None:  # nobody asked
            self.abort()
            return
        try:
            answer.feed(data)
        except Malformed as error:
            self._broken = httpx.RemoteProtocolError(str(error))
        if answer.waiting_bytes > HIGH_WATER_BYTES and not answer.done:
            self._paused = True
            self._transport.pause_reading()
        self._notify()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        answer = self._answer
        if answer is not None and not answer.done and self._broken is None:
            self._broken = _end(answer) if error is None else _read_error(error)
        self._notify()

    def pause_writing(self) -> None:
        self._unwritten = True

    def resume_writing(self) -> None:
        self._unwritten = False
        self._notify()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # What the transport above calls

    async def send(self, message: bytes, seconds: float | None) -> None:
        """Returns when little of it is left to be taken, or when the server has begun to answer before that."""
        self._answer = answer = Answer()
        self._transport.write(message)
        if not self._unwritten:
            return
        try:
            async with asyncio.timeout(seconds):
                while self._unwritten and not self.lost and self._broken is None and answer.head is None:
                    await self._wait()
        except TimeoutError as error:
            raise httpx.WriteTimeout(f"the server took nothing for {seconds} s") from error

    async def answered(self) -> Answer:
        """Wait for the head of the answer."""
        assert self._answer is not None
        while self._answer.head is None:
            if self._broken is not None:
                raise self._broken
            await self._wait()
        return self._answer

    async def read(self) -> bytes:
        """More of the body; nothing at its end."""
        answer = self._answer
        assert answer is not None
        while True:
            if piece := answer.take():
                if self._paused and not self.lost:
                    self._paused = False
                    self._transport.resume_reading()
                return piece
            if self._broken is not None:
                raise self._broken
            if answer.done:
                return b""
            await self._wait()

    def sleep(self, seconds: float) -> bool:
        """Wait for the next request, for so long. False if this connection cannot take another one."""
        answer, self._answer = self._answer, None
        if self.lost or self._unwritten or self._broken is not None or answer is None or not answer.reusable:
            return False
        self._expiry = self._loop.call_later(seconds, self.abort)
        return True

    def wake(self) -> None:
        """The next request has come."""
        if self._expiry is not None:
            self._expiry.cancel()

    @property
    def open(self) -> bool:
        """Also the end of it that has arrived and was not read yet counts."""
        if self.lost or self._transport.is_closing():
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._transport.get_extra_info("socket"), selectors.EVENT_READ)
            return not selector.select(0)

    def abort(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._transport.abort()


async def _connect(host: str, port: int) -> _Connection:
    """Raises OSError. `localhost` needs no one who knows names."""
    loop = asyncio.get_running_loop()
    hosts = _LOOPBACK if host == "localhost" else (host,)
    failed: list[OSError] = []
    for one in hosts:
        try:
            _, connection = await loop.create_connection(lambda: _Connection(host, port), one, port)
        except OSError as error:
            failed.append(error)
        else:
            return connection
    raise failed[0]


def _message(request: httpx.Request, body: bytes) -> bytes:
    """Raises LocalProtocolError for what would be more than the one request."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise httpx.LocalProtocolError("a header with a line break in it")
    return b"%b\r\n\r\n%b" % (head, body)


def _end(answer: Answer) -> httpx.RemoteProtocolError | None:
    try:
        answer.end()
    except Malformed as error:
        return httpx.RemoteProtocolError(str(error))
    return None


def _read_error(error: Exception) -> httpx.ReadError:
    failure = httpx.ReadError(str(error))
    failure.__cause__ = error
    return failure
