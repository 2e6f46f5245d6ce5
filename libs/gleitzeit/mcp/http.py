"""The wire that is streamable HTTP: every frame that leaves is a POST of its own, whose answer, one message or a stream
of them, comes in among all others. The only module of the library that knows httpx.

What an old server says unasked comes by a GET that stays open. Whatever becomes of a POST, the request in it has an
answer: if the server gives none, one is made here that says why.
"""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ConfigurationError, ConnectionLost, GleitzeitError, PayloadTooLarge, Unauthorized
from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.codes import failure_of
from gleitzeit.jsonrpc.messages import ABSENT, NULL
from gleitzeit.jsonrpc.peer import CANCELLED, MAX_FRAME_BYTES
from gleitzeit.mcp import eras
from gleitzeit.mcp.mirrors import NAME_OF
from gleitzeit.mcp.sse import Event, EventStream
from gleitzeit.spec.urls import shown
from gleitzeit.transport.base import GOING_AWAY, NORMAL, WireClosed
from gleitzeit.transport.websocket import LOOPBACK_HOSTS

CONNECT_SECONDS = 10.0
LISTEN_AGAIN_SECONDS = 1.0
RESUMES = 2
NOT_REACHED = "not_reached"
"""In the data of a ConnectionLost: the server never saw the request."""
HTTP_STATUS = "http_status"
"""In the same data: what was answered, where it was no JSON-RPC."""
_SESSION = "mcp-session-id"
_MARK = b'"x-mcp-header"'
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class Envelope(Struct, frozen=True):
    id: Raw = ABSENT
    method: str = ""
    params: Raw = Raw(b"{}")
    error: Raw = ABSENT


envelope_of = msgspec.json.Decoder(Envelope).decode


class HttpWire:
    """See `transport.base.Wire`."""

    def __init__(self, url: str, headers: Mapping[str, str], *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """Raises ConfigurationError for what is no URL."""
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigurationError(f"not the address of an MCP server: {shown(url)!r}")
        self.peer_name = shown(url)
        self.version = ""
        """Of the protocol, once an old server has said it."""
        self._url = url
        self._max = max_frame_bytes
        self._client = httpx.AsyncClient(
            headers=dict(headers),
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            trust_env=urlsplit(url).hostname not in LOOPBACK_HOSTS,
        )
        self._session = ""
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._closed: WireClosed | None = None
        self._ended = asyncio.Event()
        self._mirrored: dict[str, dict[str, tuple[str, ...]]] = {}
        self._exchanges: dict[bytes, asyncio.Task[None]] = {}
        """The POST that waits for the answer to a request, by the request's id."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def buffered_bytes(self) -> int:
        return 0

    def write(self, frames: list[bytes]) -> None:
        if self._closed is None:
            for frame in frames:
                self._send(frame, envelope_of(frame))

    async def read(self) -> bytes:
        while self._incoming.empty():
            if self._closed is not None:
                raise self._closed
            getting = asyncio.ensure_future(self._incoming.get())
            ended = asyncio.ensure_future(self._ended.wait())
            try:
                await asyncio.wait({getting, ended}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return getting.result()
            finally:
                getting.cancel()
                ended.cancel()
        return self._incoming.get_nowait()

    async def drain(self) -> None:
        return

    async def close(self, code: int, reason: str) -> None:
        self._end(code, reason)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session and code == NORMAL:
            with contextlib.suppress(httpx.HTTPError):
                await self._client.delete(self._url, headers=self._session_headers(), timeout=2.0)
        await self._client.aclose()

    def _end(self, code: int, reason: str) -> None:
        self._closed = self._closed or WireClosed(code, reason)
        self._ended.set()

    def learn_tools(self, tools: Mapping[str, Raw]) -> None:
        """Some tools want arguments in the headers of their calls as well."""
        self._mirrored = {name: found for name, raw in tools.items() if (found := mirrored_arguments(raw))}

    # One message that leaves

    def _send(self, frame: bytes, envelope: Envelope) -> None:
        stateless = eras.VERSION_KEY.encode() in bytes(envelope.params)
        if envelope.method == CANCELLED:
            cancelled = self._exchanges.pop(bytes(codec.decode_members(envelope.params).get("requestId", b"")), None)
            if cancelled is not None:
                cancelled.cancel()  # which is all that a stateless server wants to know
            if not self.version:
                return
        task = self._spawn(self._exchange(frame, envelope, stateless=stateless))
        if envelope.method and len(envelope.id):
            key = bytes(envelope.id)
            self._exchanges[key] = task
            task.add_done_callback(lambda _: self._exchanges.pop(key, None))
        if envelope.method == "notifications/initialized":
            self._spawn(self._listen())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _exchange(self, frame: bytes, envelope: Envelope, *, stateless: bool) -> None:
        try:
            if stateless:
                headers = stateless_headers(envelope.method, envelope.params, self._mirrored)
            else:
                headers = self._session_headers()
            await self._post(frame, envelope, headers)
        except GleitzeitError as error:
            self._fail(envelope, error)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            why = f"nobody answers at {self.peer_name} ({str(error) or type(error).__name__})"
            self._fail(envelope, ConnectionLost(why, {NOT_REACHED: True}))
        except httpx.HTTPError as error:
            why = f"the connection to {self.peer_name} broke ({str(error) or type(error).__name__})"
            self._fail(envelope, ConnectionLost(why))

    async def _post(self, frame: bytes, envelope: Envelope, headers: Mapping[str, str]) -> None:
        about = {"accept": "application/json, text/event-stream", "content-type": "application/json", **headers}
        async with self._client.stream("POST", self._url, content=frame, headers=about) as response:
            self._session = response.headers.get(_SESSION, self._session)
            if not len(envelope.id) or not envelope.method:
                return
            if response.headers.get("content-type", "").startswith("text/event-stream") and response.is_success:
                await self._take_stream(response, envelope)
                return
            body = await self._body(response)
            if _answers(body, envelope):
                self._incoming.put_nowait(body)
            elif (error := _error_of_nobody(body)) is not None:
                self._incoming.put_nowait(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(envelope.id), error))
            else:
                self._refused(response)

    def _refused(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (401, 403):
            raise Unauthorized(
                f"{self.peer_name} refused us: HTTP status {status}; its `headers` are to hold what it wants"
            )
        if status == 404 and self._session:
            self._end(GOING_AWAY, "the server has forgotten our session")
            raise ConnectionLost(f"{self.peer_name} has forgotten our session", {NOT_REACHED: True})
        raise ConnectionLost(
            f"{self.peer_name} answered HTTP status {status}, and no JSON-RPC",
            {NOT_REACHED: status >= 400, HTTP_STATUS: status},
        )

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._max:
                raise PayloadTooLarge(f"the answer is larger than {self._max} bytes", {"limit_bytes": self._max})
        return bytes(body)

    async def _take_stream(self, response: httpx.Response, envelope: Envelope) -> None:
        """Until the answer is there; what else is said on the way is passed on as well."""
        last = ""
        for _ in range(RESUMES + 1):
            async with aclosing(self._events(response)) as events:
                async for event in events:
                    last = event.id or last
                    if event.data:
                        self._incoming.put_nowait(event.data)
                    if _answers(event.data, envelope):
                        return
            if not last:
                break
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
            headers = {"accept": "text/event-stream", "last-event-id": last, **self._session_headers()}
            again = self._client.build_request("GET", self._url, headers=headers)
            response = await self._client.send(again, stream=True)
        raise ConnectionLost(f"the answer of {self.peer_name} broke off")

    async def _events(self, response: httpx.Response) -> AsyncGenerator[Event]:
        stream = EventStream(self._max)
        try:
            async for chunk in response.aiter_bytes():
                for event in stream.feed(chunk):
                    yield event
        finally:
            await response.aclose()

    def _fail(self, envelope: Envelope, error: GleitzeitError) -> None:
        if len(envelope.id) and envelope.method:
            self._incoming.put_nowait(codec.encode_failure(bytes(envelope.id), failure_of(error)))

    # What an old server says unasked

    async def _listen(self) -> None:
        last = ""
        while self._closed is None:
            headers = {"accept": "text/event-stream", **self._session_headers()}
            if last:
                headers["last-event-id"] = last
            try:
                async with self._client.stream("GET", self._url, headers=headers) as response:
                    if not response.headers.get("content-type", "").startswith("text/event-stream"):
                        return  # it has nothing to say unasked
                    async for event in self._events(response):
                        last = event.id or last
                        if event.data:
                            self._incoming.put_nowait(event.data)
            except (httpx.HTTPError, GleitzeitError):
                pass  # whether it is gone for good, the next request will tell
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    def _session_headers(self) -> dict[str, str]:
        headers = {_SESSION: self._session} if self._session else {}
        return headers | ({"mcp-protocol-version": self.version} if self.version else {})


def stateless_headers(
    method: str, params: Raw, mirrored: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None
) -> dict[str, str]:
    """What a stateless request says of itself once more, for those on its way who do not read bodies. `mirrored`: by
    tool, the headers that say an argument, and where that stands."""
    headers = {"mcp-protocol-version": eras.STATELESS, "mcp-method": method}
    key = NAME_OF.get(method)
    members = codec.decode_members(params) if key is not None else {}
    if key is None or key not in members:
        return headers
    name = str(codec.decode_value(members[key]))
    headers["mcp-name"] = header_value(name)
    wanted = (mirrored or {}).get(name) if method == "tools/call" else None
    if wanted:
        arguments = codec.decode_value(members["arguments"]) if "arguments" in members else {}
        values = ((header, _argument(arguments, path)) for header, path in wanted.items())
        headers |= {header: header_value(text) for header, text in values if text is not None}
    return headers


def mirrored_arguments(definition: Raw) -> dict[str, tuple[str, ...]]:
    """The arguments that a tool's schema marks by `x-mcp-header`: header -> the path of the argument."""
    if _MARK not in bytes(definition):
        return {}
    schema = codec.decode_value(definition).get("inputSchema")
    return dict(_marked(schema, ()))


def _marked(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not isinstance(schema, dict):
        return
    mark = schema.get("x-mcp-header")
    if path and isinstance(mark, str) and _TOKEN.fullmatch(mark):
        yield f"mcp-param-{mark}", path
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        yield from _marked(inner, (*path, name))


def _argument(arguments: Any, path: tuple[str, ...]) -> str | None:
    """As a header has it; None where there is none, or none that a header could hold."""
    value = arguments
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def header_value(text: str) -> str:
    """As it is, or in base64 where a header could not hold it."""
    if _PLAIN.fullmatch(text) and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def _answers(body: bytes, envelope: Envelope) -> bool:
    """Whether it is the response to that request."""
    try:
        found = envelope_of(body)
    except msgspec.MsgspecError:
        return False
    return not found.method and len(found.id) > 0 and bytes(found.id) == bytes(envelope.id)


def _error_of_nobody(body: bytes) -> bytes | None:
    """The error in a response without an id: who refuses to read a request does not know it."""
    try:
        found = envelope_of(body)
    except msgspec.MsgspecError:
        return None
    unnamed = not len(found.id) or bytes(found.id) == NULL
    return bytes(found.error) if unnamed and len(found.error) else None
