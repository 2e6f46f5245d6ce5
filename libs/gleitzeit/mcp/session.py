"""A conversation with an MCP server, of whichever era: which one is found out at the beginning, by asking.

Requests and results pass through as they are; only what the era wants around them is added.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ConnectionLost, GleitzeitError, MethodNotFound, RemoteError
from gleitzeit.jsonrpc import codec
from gleitzeit.mcp import eras
from gleitzeit.transport import Connection

PROBE_SECONDS: Final = 8.0
"""An old server that says nothing to a method that it does not know is not waited for longer."""
HANDSHAKE_SECONDS: Final = 60.0
"""For one that is still being downloaded, for example."""
LIST_SECONDS: Final = 30.0
MAX_PAGES: Final = 100

Era = Literal["stateless", "handshake"]
OnProgress = Callable[[dict[str, Any]], None]


class ServerInfo(Struct, frozen=True):
    """What a server said of itself. `version` is the protocol's."""

    era: Era
    version: str
    name: str = ""
    server_version: str = ""
    instructions: str = ""
    capabilities: dict[str, Any] = {}


class _Implementation(Struct, frozen=True):
    name: str = ""
    version: str = ""


class _Initialized(Struct, frozen=True, rename="camel"):
    protocol_version: str = ""
    capabilities: dict[str, Any] = {}
    server_info: _Implementation = _Implementation()
    instructions: str | None = None


class _Discovered(Struct, frozen=True, rename="camel"):
    supported_versions: list[str]
    capabilities: dict[str, Any] = {}
    instructions: str | None = None
    meta: dict[str, Any] = msgspec.field(default_factory=dict, name="_meta")


class Session:
    """Made by `open_session`. Give it every notification of the connection that the owner does not want himself."""

    def __init__(self, connection: Connection, info: ServerInfo) -> None:
        self.connection = connection
        self.info = info
        self._tokens = itertools.count(1)
        self._progress: dict[int, OnProgress] = {}

    def offers(self, capability: str) -> bool:
        """`tools`, `resources`, `prompts`, …"""
        return capability in self.info.capabilities

    async def request(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,
    ) -> Raw:
        """The result as it came. Raises what the server answered, ConnectionLost, TimeoutError. When the waiting task
        is cancelled the server is told."""
        token = next(self._tokens) if on_progress is not None else None
        meta: dict[str, Any] = {} if token is None else {"progressToken": token}
        if self.info.era == "stateless":
            meta = eras.stateless_meta(meta)
        full = {**(params or {}), "_meta": meta} if meta else dict(params or {})
        if token is not None and on_progress is not None:
            self._progress[token] = on_progress
        try:
            return await self.connection.call_raw(method, full, timeout_seconds=timeout_seconds)
        finally:
            if token is not None:
                del self._progress[token]

    def progressed(self, params: Raw | None) -> bool:
        """`notifications/progress` came. False if it belongs to nothing that is asked."""
        if params is None:
            return False
        try:
            said = msgspec.json.decode(params, type=dict[str, Any])
        except msgspec.MsgspecError:
            return False
        told = self._progress.get(said.pop("progressToken", None))
        if told is None:
            return False
        told(said)
        return True

    async def pages(self, method: str, key: str) -> AsyncIterator[Raw]:
        """Every item of a list method, page by page. Raises as `request`; RemoteError for a list that never ends."""
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = {} if cursor is None else {"cursor": cursor}
            page = codec.decode_members(await self.request(method, params, timeout_seconds=LIST_SECONDS))
            if key in page:
                if not bytes(page[key]).startswith(b"["):
                    raise RemoteError(-32603, f"{method} answers '{key}' that is no list")
                for item in msgspec.json.decode(page[key], type=list[Raw]):
                    yield item
            cursor = msgspec.json.decode(page["nextCursor"]) if "nextCursor" in page else None
            if not isinstance(cursor, str):
                return
        raise RemoteError(-32603, f"{method} has more than {MAX_PAGES} pages")

    async def ping(self) -> None:
        """The stateless era knows no ping: there it is asked who it is. Who says that he knows none is there, too."""
        method = "ping" if self.info.era == "handshake" else "server/discover"
        with suppress(MethodNotFound):
            await self.request(method, timeout_seconds=LIST_SECONDS)


async def open_session(
    connection: Connection,
    *,
    probe: bool = True,
    on_version: Callable[[str], None] = lambda version: None,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> Session:
    """Find out which era the other side is of, and shake hands if that is the custom there.

    Without `probe` it is taken for an old one. `on_version` hears the protocol's version when it is known, before
    anything else is sent. Raises ConnectionLost, TimeoutError, and what the server answered to the handshake.
    """
    if probe:
        info = await _discover(connection, min(PROBE_SECONDS, handshake_seconds))
        if info is not None:
            on_version(info.version)
            return Session(connection, info)
    try:
        info = await _initialize(connection, handshake_seconds, on_version)
    except GleitzeitError as error:
        # A slow one took the probe after all, and is stateless from then on.
        info = await _discover(connection, PROBE_SECONDS) if error.code == eras.UNSUPPORTED_VERSION else None
        if info is None:
            raise
        on_version(info.version)
    return Session(connection, info)


async def _discover(connection: Connection, seconds: float) -> ServerInfo | None:
    """None for whatever is no sign of the stateless era."""
    params = {"_meta": eras.stateless_meta({})}
    try:
        raw = await connection.call_raw("server/discover", params, timeout_seconds=seconds)
        found = msgspec.json.decode(raw, type=_Discovered)
    except ConnectionLost:
        raise
    except (GleitzeitError, TimeoutError, msgspec.MsgspecError):
        return None
    if eras.STATELESS not in found.supported_versions:
        return None
    server = found.meta.get(eras.SERVER_KEY)
    about = msgspec.convert(server, _Implementation) if isinstance(server, dict) else _Implementation()
    return ServerInfo(
        "stateless", eras.STATELESS, about.name, about.version, found.instructions or "", found.capabilities
    )


async def _initialize(connection: Connection, seconds: float, on_version: Callable[[str], None]) -> ServerInfo:
    params = {
        "protocolVersion": eras.NEWEST_HANDSHAKE,
        "capabilities": eras.CLIENT_CAPABILITIES,
        "clientInfo": eras.CLIENT_INFO,
    }
    raw = await connection.call_raw("initialize", params, timeout_seconds=seconds)
    try:
        found = msgspec.json.decode(raw, type=_Initialized)
    except msgspec.MsgspecError as error:
        raise RemoteError(-32603, f"the server answered `initialize` with something else: {error}") from None
    if found.protocol_version not in eras.HANDSHAKE:
        raise RemoteError(-32603, f"the server speaks version {found.protocol_version!r} of MCP, which we do not")
    on_version(found.protocol_version)
    connection.notify("notifications/initialized", {})
    about = found.server_info
    return ServerInfo(
        "handshake", found.protocol_version, about.name, about.version, found.instructions or "", found.capabilities
    )


async def listen(session: Session) -> None:
    """Stateless era: have the server tell when its lists change, for as long as this runs."""
    wanted = {
        f"{kind}ListChanged": True
        for kind in ("tools", "prompts", "resources")
        if dict(session.info.capabilities.get(kind) or {}).get("listChanged")
    }
    if session.info.era == "handshake" or not wanted:
        return
    while not session.connection.closed:
        try:
            await session.request("subscriptions/listen", {"notifications": wanted})
        except ConnectionLost:
            return
        except GleitzeitError:
            return  # it said that it would, and does not
        await asyncio.sleep(1.0)  # it has ended the subscription, for a restart of its own perhaps
