"""A pair of connections without a network: the same Connection and the same frames, over two queues. For tests and for
one process.
"""

import asyncio
from collections import deque

from gleitzeit.jsonrpc.peer import MAX_FRAME_BYTES
from gleitzeit.transport.base import HIGH_WATER_BYTES, MESSAGE_TOO_BIG, Methods, WireClosed
from gleitzeit.transport.connection import Connection, OnNotification


class MemoryWire:
    """See `base.Wire`. What was written stays buffered until the other end reads it."""

    def __init__(self, peer_name: str, max_frame_bytes: int) -> None:
        self.peer_name = peer_name
        self.other: MemoryWire
        self._max_frame_bytes = max_frame_bytes
        self._incoming: deque[bytes] = deque()
        self._incoming_bytes = 0
        self._closed: WireClosed | None = None
        self._changed = asyncio.Event()

    @property
    def buffered_bytes(self) -> int:
        return self.other._incoming_bytes

    def write(self, frames: list[bytes]) -> None:
        if self._closed is None:
            self.other._arrived(frames)

    def _arrived(self, frames: list[bytes]) -> None:
        self._incoming.extend(frames)
        self._incoming_bytes += sum(map(len, frames))
        self._changed.set()

    async def read(self) -> bytes:
        while not self._incoming:
            if self._closed is not None:
                raise self._closed
            self._changed.clear()
            await self._changed.wait()
        frame = self._incoming.popleft()
        self._incoming_bytes -= len(frame)
        self.other._changed.set()
        if len(frame) > self._max_frame_bytes:
            self._incoming.clear()
            reason = f"frame with {len(frame)} bytes exceeds limit of {self._max_frame_bytes} bytes"
            await self.close(MESSAGE_TOO_BIG, reason)
            raise WireClosed(MESSAGE_TOO_BIG, reason)
        return frame

    async def drain(self) -> None:
        while self._closed is None and self.buffered_bytes > HIGH_WATER_BYTES:
            self._changed.clear()
            await self._changed.wait()

    async def close(self, code: int, reason: str) -> None:
        for end in (self, self.other):
            end._closed = end._closed or WireClosed(code, reason)
            end._changed.set()


async def connect_memory(
    *,
    methods: Methods | None = None,
    on_notification: OnNotification | None = None,
    server_methods: Methods | None = None,
    server_on_notification: OnNotification | None = None,
    max_frame_bytes: int = MAX_FRAME_BYTES,
) -> tuple[Connection, Connection]:
    """The client's and the server's end, both reading."""
    client_wire = MemoryWire("memory server", max_frame_bytes)
    server_wire = MemoryWire("memory client", max_frame_bytes)
    client_wire.other, server_wire.other = server_wire, client_wire
    client = Connection(client_wire, methods=methods, on_notification=on_notification, max_frame_bytes=max_frame_bytes)
    server = Connection(
        server_wire, methods=server_methods, on_notification=server_on_notification, max_frame_bytes=max_frame_bytes
    )
    client.start()
    server.start()
    return client, server
