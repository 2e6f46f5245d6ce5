"""One request that came by HTTP, with all that is said until its answer: a connection of one frame in."""

import asyncio
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.jsonrpc import codec
from gleitzeit.jsonrpc.messages import ABSENT
from gleitzeit.jsonrpc.peer import CANCELLED
from gleitzeit.transport import Connection
from gleitzeit.transport.base import NORMAL, Methods, WireClosed


class Said(Struct, frozen=True):
    """The envelope of a message."""

    id: Raw = ABSENT
    method: str = ""
    params: Raw = ABSENT
    error: Raw = ABSENT

    @property
    def is_request(self) -> bool:
        return self.method != "" and len(self.id) > 0

    def members(self) -> dict[str, Any]:
        """Its params by name."""
        params = codec.decode_value(self.params) if len(self.params) else {}
        return params if isinstance(params, dict) else {}


_read_one = msgspec.json.Decoder(Said).decode
_read_all = msgspec.json.Decoder(list[Said]).decode


def read(frame: bytes) -> list[Said]:
    """The messages of a frame, one or an array (which the version of 2025-03-26 knows). Raises MsgspecError."""
    return _read_all(frame) if frame.lstrip()[:1] == b"[" else [_read_one(frame)]


class Exchange:
    """The connection's wire (`transport.base.Wire`), and its owner's way to what is said on it."""

    def __init__(self, frame: bytes, methods: Methods, peer_name: str) -> None:
        self.peer_name = peer_name
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._buffered = 0
        self._incoming.put_nowait(frame)
        self._connection = Connection(self, methods=methods)
        self._connection.start()

    async def next(self) -> tuple[bytes, bool]:
        """What is said next, and whether that is the answer."""
        frame = await self._outgoing.get()
        self._buffered -= len(frame)
        return frame, frame[:1] == b"[" or not _read_one(frame).method

    def cancel(self, request_id: bytes, reason: str) -> None:
        """Its answer is not wanted any more; it still comes."""
        params = b'{"requestId":%b,"reason":%b}' % (request_id, codec.encode(reason))
        self._incoming.put_nowait(codec.encode_notification(CANCELLED, params))

    async def end(self) -> None:
        await self._connection.close(NORMAL, "it is answered")

    # The wire

    @property
    def buffered_bytes(self) -> int:
        return self._buffered

    def write(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._buffered += len(frame)
            self._outgoing.put_nowait(frame)

    async def read(self) -> bytes:
        frame = await self._incoming.get()
        if frame is None:
            raise WireClosed(NORMAL, "it is answered")
        return frame

    async def drain(self) -> None:
        return

    async def close(self, code: int, reason: str) -> None:
        self._incoming.put_nowait(None)
