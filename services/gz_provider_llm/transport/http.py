"""Requests over pooled connections, answers at once or line by line, and what failures of the HTTP client mean.

Cancelling the task that waits here closes the socket of its request at once.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from ssl import SSLCertVerificationError
from typing import Any, NoReturn

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.account import charge, give_back
from gz_provider_llm.errors import ServerError, StreamCut, costs_nothing
from gz_provider_llm.transport.lines import Event, EventReader, Splitter
from gz_provider_llm.transport.patience import Patience
from gz_provider_llm.transport.sending import CLOSE_AFTER_STREAMS, Sessions, checked_url, headers_for, without_user
from gz_provider_llm.transport.server import Server

logger = logging.getLogger(__name__)

KEY_IN_QUERY = 16
"""From so many characters on, what stands in the query of a URL is taken for a key."""
NOT_ACCEPTED = 401
IDLE_TIMEOUT_SECONDS = 60.0
LONG_SILENCE_SECONDS = 600.0
"""For an answer that comes all at once, or is thought about first: OpenAI's server says nothing meanwhile."""
FIRST_SIGN_SECONDS = 120.0
"""For something of an answer to come: before that a model may have to be loaded, or others to be waited for."""
REDIRECTIONS = 3
"""One after the other."""
LEFTOVER_SECONDS = 0.1  # for a stream to end after its last event
BODY_LIMIT_BYTES = 64 * 1024 * 1024
ERROR_LIMIT_BYTES = 64 * 1024
_PROXY = "the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names"
_NOT_THE_SERVER = (aiohttp.ClientSSLError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)
_NEVER_ARRIVED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


class Key(Struct, frozen=True):
    """With the headers in which it stands."""

    secret: str = ""
    headers: dict[str, str] = {}


class Http:
    """A pool of connections to one server; what it answers is judged by `server`.

    `headers` go with every request; `secrets` are texts in them that nobody must read in an error. For `busy_statuses`,
    `hint` and `key_hint` see Server. `renewed` is asked for the key as it is now when that is not accepted: with
    another one the request is sent again. `long_silence_seconds` end answers of which nothing may come for long, unless
    the idle timeout is longer; and `first_sign_seconds` those of which nothing comes at all.
    A connection takes one request after the other, but is not used again when its server may be about to close it: then
    a request could be lost, and nobody could tell whether it had begun. Many servers close idle ones after 5 s, and
    llama-server closes one after each stream, without announcing it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Collection[str] = (),
        idle_timeout_seconds: float = IDLE_TIMEOUT_SECONDS,
        long_silence_seconds: float = 0.0,
        first_sign_seconds: float = 0.0,
        busy_statuses: Collection[int] = (429,),
        hint: str = "",
        key_hint: str = "",
        renewed: Callable[[], "Key | None"] | None = None,
    ) -> None:
        parsed = checked_url(base_url)
        self.url = str(parsed.with_query(None).with_fragment(None)).rstrip("/")
        """Without a trailing slash, and without its query, which follows the path of each request."""
        self._query = parsed.query
        self.server = Server(
            str(parsed.with_user(None).with_query(None).with_fragment(None)).rstrip("/"),
            (*secrets, parsed.password or "", *_keys_in(parsed)),
            busy_statuses=busy_statuses,
            hint=hint,
            key_hint=key_hint,
        )
        self._idle_timeout_seconds = idle_timeout_seconds
        self._long_silence_seconds = max(idle_timeout_seconds, long_silence_seconds)
        self._first_sign_seconds = first_sign_seconds
        self._renewed = renewed
        self._key = (renewed() if renewed is not None else None) or Key()
        self.works_on: Callable[[], Awaitable[bool]] = _nobody_knows
        """Asked when the server has said nothing for the idle timeout: whether it is known to work nevertheless."""
        self._sessions = Sessions(parsed, headers_for(parsed, headers or {}))
        self._closes_after_streams = parsed.scheme == "http"
        """Until it is heard what server it is."""

    async def get_json(self, path: str, *, base: str = "") -> Any:
        """`base` is where the path begins, if not at `url`. Raises what `errors.py` names."""
        return await self._json("GET", path, None, base)

    async def post_json(self, path: str, body: object, *, paid: bool = True) -> Any:
        """Raises what `errors.py` names; if it is `paid` for, also BudgetExceeded."""
        return await self._json("POST", path, body, paid=paid)

    async def _json(self, method: str, path: str, body: object, base: str = "", *, paid: bool = False) -> Any:
        async with self._opened(method, path, body, base, patient=body is not None, paid=paid) as reply:
            content = await reply.read(BODY_LIMIT_BYTES)
            if len(content) > BODY_LIMIT_BYTES:
                raise ServerError(f"the answer of {self.server.shown_url} is larger than {BODY_LIMIT_BYTES >> 20} MiB")
            return self.server.decode(content)

    @asynccontextmanager
    async def lines(self, path: str, body: object, *, paid: bool = True) -> AsyncIterator[AsyncIterator[bytes]]:
        """POST, and the answer line by line (NDJSON), without empty lines. Decode them with `server.decode`.

        The end of the lines is the end of the answer, or a connection that was closed in a way that HTTP cannot tell
        from it: raise StreamCut if what should come last has not come.
        """
        async with (
            self._opened("POST", path, body, streams=True, paid=paid) as reply,
            aclosing(self._lines(reply)) as lines,
        ):
            yield lines
            await _use_up(reply, lines)

    @asynccontextmanager
    async def events(self, path: str, body: object, *, patient: bool = False) -> AsyncIterator[AsyncIterator[Event]]:
        """POST, and the answer as server-sent events. For its end see `lines`. `patient`: it may be silent for long."""
        async with (
            self._opened("POST", path, body, streams=True, patient=patient, paid=True) as reply,
            aclosing(self._events(reply)) as events,
        ):
            yield events
            await _use_up(reply, events)

    async def close(self) -> None:
        await self._sessions.close()

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        path: str,
        body: object,
        base: str = "",
        *,
        streams: bool = False,
        patient: bool = False,
        paid: bool = False,
    ) -> AsyncIterator["_Reply"]:
        seconds = self._long_silence_seconds if patient else self._idle_timeout_seconds
        patience = Patience(max(seconds, self._first_sign_seconds), seconds, self.works_on)
        session = self._sessions.once() if streams and self._closes_after_streams else self._sessions.again()
        url = without_user((base or self.url) + path)
        if self._query:
            url = url.extend_query(self._query)
        begun = False
        if paid:
            charge()
        try:
            async with patience.limit, self._sent(session, method, url, body, patience) as reply:
                begun = True
                yield reply
        except GleitzeitError as error:
            if paid and not begun and costs_nothing(error):
                give_back()
            raise
        except TimeoutError:
            if not patience.limit.expired():
                raise
            raise self.server.silent(patience.seconds) from None
        finally:
            patience.end()

    @asynccontextmanager
    async def _sent(
        self, session: aiohttp.ClientSession, method: str, url: URL, body: object, patience: Patience
    ) -> AsyncIterator["_Reply"]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        patience.begin()
        for _ in range(2):  # the loop hears now of connections that the server has closed: none of them is used again
            await asyncio.sleep(0)
        response = await self._response(session, method, url, content, headers)
        if response.status == NOT_ACCEPTED and self._has_new_key():
            response.close()
            response = await self._response(session, method, url, content, headers)
        for _ in range(REDIRECTIONS):
            if (moved := _moved(response, url)) is None:
                break
            response.close()
            url = moved
            response = await self._response(session, method, url, content, headers)
        logger.debug("HTTP Request: %s %s: %d", method, url.with_query(None), response.status)
        patience.heard()
        self._closes_after_streams = response.headers.get("server") in CLOSE_AFTER_STREAMS
        reply = _Reply(response, patience)
        try:
            if not 200 <= response.status < 300:
                await self._refuse(reply)
            yield reply
        except aiohttp.ClientError as error:
            raise self._failed(error, begun=True) from None
        finally:
            response.close()

    async def _response(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        own = {**headers, **self._key.headers}
        try:
            return await session.request(method, url, data=content, headers=own, allow_redirects=False)
        except aiohttp.ClientError as error:
            raise self._failed(error, begun=False) from None

    def _has_new_key(self) -> bool:
        key = self._renewed() if self._renewed is not None else None
        if key is None or key == self._key:
            return False
        self._key = key
        self.server.hide(key.secret)
        return True

    async def _refuse(self, reply: "_Reply") -> NoReturn:
        content = await reply.read(ERROR_LIMIT_BYTES)
        try:
            answer = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            answer = content.decode(errors="replace")
        if 300 <= reply.response.status < 400 and (where := reply.response.headers.get("location")):
            answer = f"what is asked for is at {where.partition('?')[0]}: is the URL right?"
        raise self.server.error(reply.response.status, answer, reply.response.headers)

    async def _lines(self, reply: "_Reply") -> AsyncGenerator[bytes]:
        splitter = Splitter(self.server.shown_url)
        async for chunk in reply.chunks():
            for line in splitter.feed(chunk):
                if line:
                    yield line
        if line := splitter.rest():
            if line.startswith(b"{"):
                self._check_whole(line)
            yield line

    async def _events(self, reply: "_Reply") -> AsyncGenerator[Event]:
        splitter, reader = Splitter(self.server.shown_url, returns=True), EventReader()
        async for chunk in reply.chunks():
            for line in splitter.feed(chunk):
                if (event := reader.take(line)) is not None:
                    yield event
        rest = splitter.rest()
        if (event := reader.end(rest)) is not None:
            if rest.startswith(b"data:") and event.data.startswith("{"):
                self._check_whole(event.data)
            yield event

    def _check_whole(self, last: bytes | str) -> None:
        """What no line feed ended is whole nevertheless, if it is JSON. Raises StreamCut for what is not."""
        try:
            self.server.decode(last)
        except ServerError:
            raise self.server.cut() from None

    def _failed(self, error: aiohttp.ClientError, *, begun: bool) -> GleitzeitError:
        if isinstance(error, _NEVER_ARRIVED):
            return self.server.unreachable(_reason(error), is_there=isinstance(error, _NOT_THE_SERVER))
        if begun:
            return self.server.cut()
        if isinstance(error, aiohttp.ClientResponseError):
            return ServerError(f"{self.server.shown_url} did not answer as HTTP has it: is it a model server?")
        return StreamCut(f"{self.server.shown_url} closed the connection before it answered")


class _Reply(Struct, frozen=True):
    """An answer whose body has yet to be read."""

    response: aiohttp.ClientResponse
    patience: Patience

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self.response.content.iter_any():
            self.patience.answered()
            yield chunk

    async def read(self, limit_bytes: int) -> bytes:
        """All of it, or a little more than the limit."""
        content = bytearray()
        async for chunk in self.chunks():
            content += chunk
            if len(content) > limit_bytes:
                break
        return bytes(content)


async def _use_up(reply: _Reply, rest: AsyncIterator[object]) -> None:
    """What follows the last event has to be read before the connection can be used again. It should be there."""
    if reply.response.headers.get("server") in CLOSE_AFTER_STREAMS:
        return
    with suppress(TimeoutError, aiohttp.ClientError, GleitzeitError):
        async with asyncio.timeout(LEFTOVER_SECONDS):
            async for _ in rest:
                pass


def _moved(response: aiohttp.ClientResponse, url: URL) -> URL | None:
    """Where the same server wants to be asked the same: by a slash more, or by TLS. Others get neither the key nor what
    is asked."""
    where = response.headers.get("location")
    if response.status not in (307, 308) or not where:
        return None
    try:
        moved = url.join(URL(where))
    except ValueError:
        return None
    is_safer = (url.scheme, moved.scheme) == ("http", "https")
    return moved if moved.host == url.host and (is_safer or moved.origin() == url.origin()) else None


async def _nobody_knows() -> bool:
    return False


def _keys_in(url: URL) -> list[str]:
    """What a URL has in its query may be a key."""
    return [value for value in url.query.values() if len(value) >= KEY_IN_QUERY]


def _reason(error: aiohttp.ClientError) -> str:
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"{_PROXY} says: {error.status} {error.message}"
        case aiohttp.ClientProxyConnectionError():
            return f"{_PROXY}: {_of_system(error)}"
        case aiohttp.ClientConnectorCertificateError(certificate_error=SSLCertVerificationError() as why):
            return f"its certificate is not trusted: {why.verify_message}; SSL_CERT_FILE names those that are"
        case aiohttp.ClientConnectorSSLError():
            return "it speaks no TLS, or another: is https right?"
    return _of_system(error)


def _of_system(error: aiohttp.ClientError) -> str:
    """What the operating system said, which stands below the library's own words."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error.strerror).lower() if isinstance(error, OSError) and error.strerror else str(error)
