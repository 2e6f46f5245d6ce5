"""The listening side: WebSockets for JSON-RPC, and a few plain HTTP pages on the same port."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias

from msgspec import Struct
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers, MultipleValuesError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.transport.admission import TOKEN_SUBPROTOCOL, Admission, check_address
from gleitzeit.transport.base import GOING_AWAY, HIGH_WATER_BYTES, Methods
from gleitzeit.transport.bodies import BodyConnection
from gleitzeit.transport.connection import Connection, OnClose, OnNotification
from gleitzeit.transport.websocket import CLOSE_TIMEOUT_SECONDS, WebSocketWire

# What a supervisor asks without having a token; it learns nothing but whether we live.
OPEN_PAGES = frozenset({"/healthz", "/readyz"})

OnConnect: TypeAlias = Callable[[Connection], object]


class HttpReply(Struct, frozen=True):
    """What a page answers. `policy` is its Content-Security-Policy."""

    status: int
    content_type: str
    body: bytes
    policy: str = ""


class Door(Struct, frozen=True):
    """What stands open below a path, without the token of the server: a page, and methods of its own, which must ask
    for a secret themselves."""

    page: Callable[[], HttpReply]
    methods: Methods
    max_frame_bytes: int = 64 << 10


class Server:
    """Serves the same methods to every connection.

    `on_connect` is called before anything is read from a new connection, `on_close` after its last reply was delivered.
    `http` maps a path to the function that makes the page for a plain GET, `doors` the beginning of a path, with the
    slash at its end, to what stands open there.

    Who may connect: see `admission`. An address that is not on this machine needs a token and `tls`:
    ConfigurationError.
    """

    def __init__(
        self,
        methods: Methods,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        on_connect: OnConnect | None = None,
        on_close: OnClose | None = None,
        on_notification: OnNotification | None = None,
        http: Mapping[str, Callable[[], HttpReply]] | None = None,
        doors: Mapping[str, Door] | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        origins: Collection[str] = (),
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        check_address(host, token, tls)
        self.connections: set[Connection] = set()
        self._methods = methods
        self._host = host
        self._port = port
        self._on_connect = on_connect
        self._on_close = on_close
        self._on_notification = on_notification
        self._http = dict(http or {})
        self._doors = dict(doors or {})
        self._tls = tls
        self._admission = Admission(host, token, frozenset(origins))
        self._max_frame_bytes = max_frame_bytes
        self._server: WebSocketServer | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the address cannot be had."""
        self._server = await serve(
            self._serve,
            self._host,
            self._port,
            process_request=self._process_request,
            select_subprotocol=_select_subprotocol,
            ssl=self._tls,
            compression=None,
            max_size=self._max_frame_bytes,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            write_limit=HIGH_WATER_BYTES,
            server_header=None,
            create_connection=BodyConnection,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        """The real one, after `start`."""
        return self._port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'ws' if self._tls is None else 'wss'}://{host}:{self._port}/"

    async def close(self, code: int = GOING_AWAY, reason: str = "") -> None:
        """Stop listening, close all connections, and wait until they are closed. What was answered before is sent."""
        if self._server is None:
            return
        self._server.close(close_connections=False)
        await asyncio.gather(*(connection.close(code, reason) for connection in self.connections))
        # Who has connected but never sent a request is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._server.wait_closed()

    async def _serve(self, websocket: ServerConnection) -> None:
        assert isinstance(websocket, BodyConnection)
        host, port = websocket.remote_address[:2]
        door = self._door(websocket.request.path.partition("?")[0]) if websocket.request is not None else None
        connection = Connection(
            WebSocketWire(websocket, f"{host}:{port}"),
            methods=self._methods if door is None else door.methods,
            on_notification=self._on_notification,
            max_frame_bytes=self._max_frame_bytes if door is None else door.max_frame_bytes,
        )
        websocket.take = connection.take
        self.connections.add(connection)
        if self._on_close is not None:
            connection.add_close_callback(self._on_close)
        try:
            if self._on_connect is not None:
                self._on_connect(connection)
            await connection.run()
        finally:
            self.connections.discard(connection)

    # HTTP

    def _process_request(self, websocket: ServerConnection, request: Request) -> Response | None:
        """The answer to what is no WebSocket handshake, or not one of those we want; None lets the handshake go on."""
        path = request.path.partition("?")[0]
        try:
            is_open = path in OPEN_PAGES or self._door(path) is not None
            refusal = self._admission.refusal(request.headers, is_open=is_open)
        except (MultipleValuesError, ValueError) as error:
            refusal = HTTPStatus.BAD_REQUEST, f"a header that makes no sense: {error}"
        if refusal is not None:
            return websocket.respond(refusal[0], refusal[1] + "\n")
        has_body = isinstance(websocket, BodyConnection) and websocket.has_body
        if has_body or request.method not in ("GET", "HEAD"):
            return self._no_such_request(websocket, f"{request.method[:20]}{' with a body' * has_body}")
        upgrades = "upgrade" in request.headers.get("Connection", "").lower()
        door = self._door(path)
        if path in self._http or (door is not None and not upgrades):
            reply = self._http[path]() if door is None else door.page()
            return _response(reply, with_body=request.method == "GET")
        if not upgrades:
            status = HTTPStatus.UPGRADE_REQUIRED if path == "/" else HTTPStatus.NOT_FOUND
            response = websocket.respond(status, f"{self._spoken()}\n")
            response.headers["Upgrade"] = "websocket"
            return response
        return None

    def _no_such_request(self, websocket: ServerConnection, what: str) -> Response:
        response = websocket.respond(HTTPStatus.METHOD_NOT_ALLOWED, f"{self._spoken(f', not over {what}')}\n")
        response.headers["Allow"] = "GET, HEAD"
        return response

    def _spoken(self, only: str = "") -> str:
        return f"JSON-RPC 2.0 over WebSocket at {self.url}{only}; pages here: {' '.join(sorted(self._http))}"

    def _door(self, path: str) -> Door | None:
        return next((door for prefix, door in self._doors.items() if path.startswith(prefix)), None)


def _select_subprotocol(_websocket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """A browser closes the connection if none of those that it offered is chosen; which one, says nothing here."""
    plain = [name for name in offered if not name.startswith(TOKEN_SUBPROTOCOL)]
    return next(iter(plain or offered), None)


def _response(reply: HttpReply, with_body: bool) -> Response:
    headers = Headers()
    headers["Content-Type"] = reply.content_type
    headers["Content-Length"] = str(len(reply.body))
    headers["Cache-Control"] = "no-store"
    headers["Connection"] = "close"
    if reply.policy:
        headers["Content-Security-Policy"] = reply.policy
        headers["Referrer-Policy"] = "no-referrer"
        headers["X-Content-Type-Options"] = "nosniff"
    return Response(reply.status, HTTPStatus(reply.status).phrase, headers, reply.body if with_body else b"")
