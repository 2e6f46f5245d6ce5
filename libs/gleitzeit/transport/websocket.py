"""The wire that is a WebSocket, and `connect`. Uncompressed text frames; binary ones are taken as UTF-8 text."""

import asyncio
import contextlib
import os
import ssl
from urllib.parse import urlsplit

from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus, WebSocketException
from websockets.protocol import OPEN

from gleitzeit.errors import ConfigurationError, ConnectionLost, GleitzeitError, Unauthorized
from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.spec.urls import not_understood, shown
from gleitzeit.transport.base import ABNORMAL, HIGH_WATER_BYTES, Methods, WireClosed
from gleitzeit.transport.connection import Connection, OnNotification
from gleitzeit.transport.eager import EagerClient, EagerConnection

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

# A peer on the same machine or network answers a close at once; one that does not is not waited for.
CLOSE_TIMEOUT_SECONDS = 2.0
# One that is slow to read gets this long to take what was sent before the close.
GIVE_UP_SECONDS = 5.0


class WebSocketWire:
    """See `base.Wire`."""

    def __init__(self, websocket: EagerConnection, peer_name: str) -> None:
        self.peer_name = peer_name
        self._websocket = websocket

    @property
    def buffered_bytes(self) -> int:
        return self._websocket.transport.get_write_buffer_size()

    def write(self, frames: list[bytes]) -> None:
        """All frames of a turn in one system call: `send` of websockets would cost a coroutine and a system call for
        each.
        """
        protocol = self._websocket.protocol
        if protocol.state is not OPEN:
            return
        for frame in frames:
            protocol.send_text(frame)
        self._websocket.transport.write(b"".join(protocol.data_to_send()))

    async def read(self) -> bytes:
        self._websocket.waits = True
        try:
            return await self._websocket.recv(decode=False)
        except ConnectionClosed as closed:
            by_us = closed.rcvd is None or closed.rcvd_then_sent is False
            close = closed.sent if by_us and closed.sent is not None else closed.rcvd
            if close is None:
                raise WireClosed(ABNORMAL, "the connection broke") from None
            raise WireClosed(close.code, close.reason) from None
        finally:
            self._websocket.waits = False

    async def drain(self) -> None:
        with contextlib.suppress(OSError):
            await self._websocket.drain()

    async def close(self, code: int, reason: str) -> None:
        try:
            # websockets' own timeout begins only when all that was written has been taken by the other side.
            async with asyncio.timeout(GIVE_UP_SECONDS):
                # It fails so if the other side has closed with 1009 already: asyncio's transport is no more.
                with contextlib.suppress(AttributeError):
                    await self._websocket.close(code, reason)
        except TimeoutError:
            self._websocket.transport.abort()
            await self._websocket.wait_closed()


async def connect(
    url: str,
    *,
    methods: Methods | None = None,
    on_notification: OnNotification | None = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    open_timeout_seconds: float = 5.0,
    max_frame_bytes: int = MAX_FRAME_BYTES,
) -> Connection:
    """A connection to `ws://…` or `wss://…`, already reading. `tls` says whom to trust (see tls.py) if it is the
    latter; by default whom the system trusts.

    Raises ConfigurationError for an address that is none and for a certificate that is not trusted, Unauthorized if the
    server refuses us, and ConnectionLost if it cannot be reached or does not answer in time.
    """
    try:
        websocket = await open_websocket(
            url,
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            compression=None,
            create_connection=EagerClient,
            max_size=max_frame_bytes,
            open_timeout=open_timeout_seconds,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            write_limit=HIGH_WATER_BYTES,
            proxy=None if urlsplit(url).hostname in LOOPBACK_HOSTS else True,
            ssl=(tls or True) if urlsplit(url).scheme == "wss" else None,
        )
    except (WebSocketException, OSError, ValueError) as error:
        raise _refused(url, error, open_timeout_seconds) from error
    assert isinstance(websocket, EagerClient)
    connection = Connection(
        WebSocketWire(websocket, shown(url)),
        methods=methods,
        on_notification=on_notification,
        max_frame_bytes=max_frame_bytes,
    )
    websocket.take = connection.take
    connection.start()
    return connection


def _refused(url: str, error: Exception, open_timeout_seconds: float) -> GleitzeitError:
    unfit, url = not_understood("the WebSocket", url, ValueError(str(error))), shown(url)
    about = {"url": url}
    match error:
        case InvalidProxy():
            return ConfigurationError(f"{url} is to be reached by way of a proxy whose URL is none", about)
        case InvalidStatus() if error.response.status_code in (401, 403):
            body = bytes(error.response.body or b"").decode(errors="replace").strip()
            return Unauthorized(f"{url} refused the connection: {body or error.response.status_code}", about)
        case ssl.SSLCertVerificationError():
            return ConfigurationError(f"the certificate of {url} is not trusted: {error.verify_message}", about)
        case TimeoutError():
            return ConnectionLost(f"{url} did not answer within {open_timeout_seconds:g} s", about)
        case ConnectionError() if error.errno:
            return ConnectionLost(f"cannot connect to {url}: {os.strerror(error.errno).lower()}", about)
        case ConnectionError() if not str(error):
            speaks = "TLS" if urlsplit(url).scheme == "wss" else "WebSocket"
            said = f"what is there closes the connection; does it speak {speaks}?"
            return ConnectionLost(f"cannot connect to {url}: {said}", about)
        case OSError() | InvalidHandshake():
            return ConnectionLost(f"cannot connect to {url}: {error}", about)
    return ConfigurationError(unfit, about)
