"""An MCP server behind a WebSocket: JSON-RPC in text frames, as everywhere in this house."""

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from gleitzeit.errors import ConnectionLost, Unauthorized
from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.spec.urls import shown
from gleitzeit.transport.base import HIGH_WATER_BYTES
from gleitzeit.transport.eager import EagerClient
from gleitzeit.transport.websocket import CLOSE_TIMEOUT_SECONDS, LOOPBACK_HOSTS, WebSocketWire

OPEN_SECONDS = 10.0


async def open_websocket(url: str, headers: Mapping[str, str]) -> WebSocketWire:
    """Raises ConnectionLost, Unauthorized."""
    parts = urlsplit(url)
    try:
        websocket = await connect(
            url,
            additional_headers=dict(headers) or None,
            subprotocols=[Subprotocol("mcp")],
            compression=None,
            create_connection=EagerClient,
            max_size=MAX_FRAME_BYTES,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            write_limit=HIGH_WATER_BYTES,
            proxy=None if parts.hostname in LOOPBACK_HOSTS else True,
            ssl=ssl.create_default_context() if parts.scheme == "wss" else None,
        )
    except InvalidStatus as error:
        if error.response.status_code in (401, 403):
            raise Unauthorized(
                f"{shown(url)} refused the connection: HTTP status {error.response.status_code}"
            ) from None
        raise ConnectionLost(f"{shown(url)} is no WebSocket: HTTP status {error.response.status_code}") from None
    except (WebSocketException, OSError, ValueError) as error:
        raise ConnectionLost(f"cannot connect to {shown(url)}: {error}") from None
    assert isinstance(websocket, EagerClient)
    return WebSocketWire(websocket, shown(url))
