"""To serve MCP over streamable HTTP, for hosts of both eras. The only module that knows aiohttp's server.

A POST brings a message, and takes the answer along: as JSON, or as a stream of events if something is said before that
and the host takes one. Unasked we say nothing, so that a GET finds no stream. Hosts of the old era have a session,
within which one POST may cancel what another one waits for; in the stateless era the host hangs up.
"""

import asyncio
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web
from websockets.datastructures import Headers, MultipleValuesError

from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.codes import INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.jsonrpc.peer import CANCELLED, MAX_FRAME_BYTES
from gleitzeit.mcp import eras, mirrors
from gleitzeit.mcp.exchange import Exchange, Said, read
from gleitzeit.transport.admission import Admission, check_address
from gleitzeit.transport.base import Methods

PATH: Final = "/mcp"
SESSION: Final = "Mcp-Session-Id"
MAX_SESSIONS: Final = 1_000
"""Of more the one is forgotten that has said nothing for longest: it begins anew."""
QUIET_SECONDS: Final = 15.0
"""So often a stream says something, if only that it is there: what is between us and the host may hang up otherwise."""
_STATUS: Final = {PARSE_ERROR: 400, INVALID_REQUEST: 400, -32602: 400, METHOD_NOT_FOUND: 404}
"""Of errors in the stateless era, with those of `eras`; all others are answers like any."""

Session = dict[bytes, Exchange]
"""What is under way in one, by the id of the request."""


class HttpServing:
    """Serves the methods at http://HOST:PORT/mcp; 0 is a free port. Who may: see `transport.admission`. Raises
    ConfigurationError for an address that others reach, without a token and TLS."""

    def __init__(
        self,
        methods: Methods,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        check_address(host, token, tls)
        self._methods = methods
        self._host, self._port, self._tls = host, port, tls
        self._admission = Admission(host, token)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._late: set[asyncio.Task[None]] = set()
        """They wait for answers that nobody takes along any more."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the address cannot be had."""
        app = web.Application(client_max_size=MAX_FRAME_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    @property
    def url(self) -> str:
        """The real one, after `start`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self._port}{PATH}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            refusal = self._admission.refusal(Headers(list(request.headers.items())))
        except (MultipleValuesError, ValueError) as error:
            return _plain(400, f"a header that makes no sense: {error}")
        if refusal is not None:
            headers = {"WWW-Authenticate": "Bearer"} if refusal[0] == 401 else {}
            return _plain(refusal[0], refusal[1], headers)
        if request.path.rstrip("/") != PATH:
            return _plain(404, f"MCP is spoken at {self.url}")
        name = request.headers.get(SESSION, "")
        if name and name not in self._sessions:
            return _failed(404, INVALID_REQUEST, "this session is over: begin another one")
        match request.method:
            case "POST":
                return await self._post(request, self._session(name))
            case "DELETE" if name:
                del self._sessions[name]
                return web.Response(status=204)
        return _plain(405, f"MCP is spoken here by POST, not by {request.method}", {"Allow": "POST, DELETE"})

    def _session(self, name: str) -> Session:
        if not name:
            return {}
        self._sessions.move_to_end(name)
        return self._sessions[name]

    def _new_session(self) -> dict[str, str]:
        name = secrets.token_urlsafe(18)
        self._sessions[name] = {}
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return {SESSION: name}

    async def _post(self, request: web.Request, session: Session) -> web.StreamResponse:
        if request.content_type != "application/json":
            return _plain(415, "expected a JSON-RPC message, as Content-Type: application/json")
        accepted = request.headers.get("Accept", "*/*")
        streams = "text/event-stream" in accepted
        if not streams and not any(kind in accepted for kind in ("application/json", "application/*", "*/*")):
            return _plain(406, "what is answered here is application/json or text/event-stream")
        frame = await request.read()
        try:
            said = read(frame)
        except msgspec.MsgspecError:
            return _failed(400, PARSE_ERROR, "Parse error: no JSON-RPC message")
        if (mismatch := _mismatch(request.headers, said)) is not None:
            return _failed(400, mismatch.code, mismatch.message, said[0].id)
        asked = [one for one in said if one.is_request]
        if not asked:
            _cancel(said, session)
            return web.Response(status=202)
        headers = self._new_session() if asked[0].method == "initialize" else {}
        return await self._answer(request, frame, asked, session, headers, streams=streams)

    async def _answer(
        self,
        request: web.Request,
        frame: bytes,
        asked: list[Said],
        session: Session,
        headers: Mapping[str, str],
        *,
        streams: bool,
    ) -> web.StreamResponse:
        exchange = Exchange(frame, self._methods, str(request.remote))
        session |= {bytes(one.id): exchange for one in asked}
        stateless = any(mirrors.version_of(one) is not None for one in asked)
        try:
            response = await _told(request, exchange, headers, streams=streams, stateless=stateless)
        except BaseException:  # the host has hung up, or we end
            if stateless:
                for one in asked:
                    exchange.cancel(bytes(one.id), "the host has hung up")
            self._wait_for(exchange)
            raise
        finally:
            for one in asked:
                session.pop(bytes(one.id), None)
        await exchange.end()
        return response

    def _wait_for(self, exchange: Exchange) -> None:
        """It is answered all the same: what it has begun is not left half done."""

        async def until_answered() -> None:
            while not (await exchange.next())[1]:
                pass
            await exchange.end()

        task = asyncio.create_task(until_answered())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


async def _told(
    request: web.Request, exchange: Exchange, headers: Mapping[str, str], *, streams: bool, stateless: bool
) -> web.StreamResponse:
    """All that is said, until the answer."""
    stream: web.StreamResponse | None = None
    while True:
        try:
            async with asyncio.timeout(QUIET_SECONDS if streams else None):
                frame, is_answer = await exchange.next()
            event = b"event: message\ndata: %b\n\n" % frame
        except TimeoutError:
            event, is_answer = b": still there\n\n", False
        if is_answer and stream is None:
            return web.Response(
                status=_status(frame) if stateless else 200, body=frame, content_type="application/json",
                headers=headers,
            )  # fmt: skip
        if streams:
            stream = stream or await _begun(request, headers)
            await stream.write(event)
            if is_answer:
                await stream.write_eof()
                return stream


async def _begun(request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
    about = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    stream = web.StreamResponse(headers={**about, **headers})
    await stream.prepare(request)
    return stream


def _mismatch(headers: Mapping[str, str], said: list[Said]) -> Failure | None:
    """What is wrong with the headers of a request that says in them what it is."""
    version = headers.get(mirrors.VERSION)
    if version is not None and version not in (eras.STATELESS, *eras.HANDSHAKE):
        return Failure(eras.UNSUPPORTED_VERSION, f"version {version!r} of MCP is not spoken here")
    for one in said:
        stateless = one.is_request and (version == eras.STATELESS or mirrors.version_of(one) is not None)
        if stateless and (wrong := mirrors.differing(headers, one)):
            return Failure(eras.HEADER_MISMATCH, f"the header {wrong} is missing, or not what the body says")
    return None


def _cancel(said: list[Said], session: Session) -> None:
    for one in said:
        if one.method == CANCELLED:
            request_id = bytes(codec.decode_members(one.params).get("requestId", b""))
            if (exchange := session.get(request_id)) is not None:
                exchange.cancel(request_id, str(one.members().get("reason", "")))


def _status(answer: bytes) -> int:
    error = b"" if answer[:1] == b"[" else bytes(read(answer)[0].error)
    code = msgspec.json.decode(error)["code"] if error else 0
    return 400 if code in (eras.UNSUPPORTED_VERSION, eras.HEADER_MISMATCH) else _STATUS.get(code, 200)


def _failed(status: int, code: int, message: str, request_id: bytes | msgspec.Raw = b"") -> web.Response:
    body = codec.encode_failure(bytes(request_id) or b"null", Failure(code, message))
    return web.Response(status=status, body=body, content_type="application/json")


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)
