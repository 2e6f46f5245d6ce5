"""The wire of 2024-11-05's HTTP: a stream of events that stays open says where to POST, and brings all answers."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from gleitzeit.errors import ConnectionLost, GleitzeitError, Unauthorized
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.mcp.http import CONNECT_SECONDS, NOT_REACHED, envelope_of
from gleitzeit.mcp.sse import EventStream
from gleitzeit.spec.urls import shown
from gleitzeit.transport.base import ABNORMAL, WireClosed
from gleitzeit.transport.websocket import LOOPBACK_HOSTS

OPEN_SECONDS = 10.0


class OldHttpWire:
    """See `transport.base.Wire`. Made by `open_old_http`."""

    def __init__(self, url: str, client: httpx.AsyncClient, response: httpx.Response) -> None:
        self.peer_name = shown(url)
        self._url = url
        self.endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._client = client
        self._response = response
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed: WireClosed | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read_events(), name=f"events of {shown(url)}")

    @property
    def buffered_bytes(self) -> int:
        return 0

    def write(self, frames: list[bytes]) -> None:
        if self._closed is None:
            task = asyncio.create_task(self._post(frames))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def read(self) -> bytes:
        frame = await self._incoming.get() if self._closed is None or not self._incoming.empty() else None
        if frame is None:
            raise self._closed or WireClosed(ABNORMAL, "the stream of events has ended")
        return frame

    async def drain(self) -> None:
        return

    async def close(self, code: int, reason: str) -> None:
        self._end(code, reason)
        for task in (self._reading, *self._tasks):
            task.cancel()
        await asyncio.gather(self._reading, *self._tasks, return_exceptions=True)
        await self._response.aclose()
        await self._client.aclose()

    def _end(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = WireClosed(code, reason)
            self._incoming.put_nowait(None)

    async def _read_events(self) -> None:
        stream, why = EventStream(MAX_FRAME_BYTES), "the stream of events has ended"
        try:
            async for chunk in self._response.aiter_bytes():
                for event in stream.feed(chunk):
                    self._take(event.kind, event.data)
        except (httpx.HTTPError, GleitzeitError) as error:
            why = str(error) or type(error).__name__
        self._end(ABNORMAL, why)
        if not self.endpoint.done():
            self.endpoint.set_exception(ConnectionLost(f"{self.peer_name}: {why}"))

    def _take(self, kind: str, data: bytes) -> None:
        if kind != "endpoint":
            self._incoming.put_nowait(data)
        elif not self.endpoint.done():
            self.endpoint.set_result(urljoin(self._url, data.decode(errors="replace")))

    async def _post(self, frames: list[bytes]) -> None:
        """In their order."""
        url = await self.endpoint
        for frame in frames:
            error: GleitzeitError | None = None
            try:
                response = await self._client.post(url, content=frame, headers={"content-type": "application/json"})
                if not response.is_success:
                    error = ConnectionLost(
                        f"{shown(url)} answered HTTP status {response.status_code}", {NOT_REACHED: True}
                    )
            except httpx.HTTPError as failed:
                error = ConnectionLost(f"{shown(url)} cannot be reached ({str(failed) or type(failed).__name__})")
            if error is not None:
                self._fail(frame, error)

    def _fail(self, frame: bytes, error: GleitzeitError) -> None:
        with suppress(msgspec.MsgspecError):
            asked = envelope_of(frame)
            if len(asked.id) and asked.method:
                self._incoming.put_nowait(codec.encode_failure(bytes(asked.id), failure_of(error)))


async def open_old_http(url: str, headers: Mapping[str, str]) -> OldHttpWire:
    """Raises ConnectionLost, Unauthorized; ConnectionLost too for an endpoint at another host than that of `url`."""
    client = httpx.AsyncClient(
        headers=dict(headers),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        trust_env=urlsplit(url).hostname not in LOOPBACK_HOSTS,
    )
    wire: OldHttpWire | None = None
    try:
        request = client.build_request("GET", url, headers={"accept": "text/event-stream"})
        response = await client.send(request, stream=True)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            await response.aclose()
            refused = response.status_code in (401, 403)
            why = f"{shown(url)} answered HTTP status {response.status_code}, and no stream of events"
            raise Unauthorized(why) if refused else ConnectionLost(why)
        wire = OldHttpWire(url, client, response)
        async with asyncio.timeout(OPEN_SECONDS):
            endpoint = await asyncio.shield(wire.endpoint)
        if urlsplit(endpoint).netloc != urlsplit(url).netloc:
            raise ConnectionLost(f"{shown(url)} wants its messages to be sent to another host, {shown(endpoint)}")
        return wire
    except (httpx.HTTPError, TimeoutError) as error:
        await _give_up(client, wire)
        raise ConnectionLost(f"nobody answers at {shown(url)} ({str(error) or type(error).__name__})") from None
    except GleitzeitError:
        await _give_up(client, wire)
        raise


async def _give_up(client: httpx.AsyncClient, wire: OldHttpWire | None) -> None:
    if wire is not None:
        await wire.close(ABNORMAL, "given up")
    await client.aclose()
