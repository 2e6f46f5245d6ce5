"""Large values beside the messages: taken and given in pieces, and read whole where a reference looks into one."""

import asyncio
import base64
import binascii
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from gleitzeit import errors
from gleitzeit.journal.base import Blobs
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.blobs import CHUNK_BYTES
from gleitzeit.schemas import builtin
from gz_coordinator.keeping.space import FULL_RETRY_SECONDS

T = TypeVar("T")
log = logging.getLogger("gz.coordinator.blobs")

READ_BYTES = 1 << 20
KEPT_MS = 24 * 3600 * 1000
"""How long a blob is kept that nothing refers to: somebody may be about to."""
SWEEP_SECONDS = 3600.0


class BlobMethods:
    """For clients, and for providers by a connection of their own."""

    def __init__(self, blobs: Blobs, clock: Callable[[], int]) -> None:
        self._blobs = blobs
        self._clock = clock

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"blob.put": self.put, "blob.get": self.get}

    def methods(self) -> Methods:
        """These alone, for providers: what they bring waits for space."""
        methods = Methods()
        for name, function in (self.table() | {"blob.put": self.put_in_the_end}).items():
            methods.add(name, function, params_schema=builtin().methods[name].take_params)
        return methods

    async def put_in_the_end(
        self, request: Request, /, blob: str, size_bytes: int, data: str, offset: int = 0
    ) -> dict[str, Any]:
        return await in_the_end(partial(self.put, request, blob, size_bytes, data, offset))

    async def put(self, request: Request, /, blob: str, size_bytes: int, data: str, offset: int = 0) -> dict[str, Any]:
        try:
            chunk = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise errors.InvalidParams("data is no base64") from None
        received = await self._blobs.put(blob, size_bytes, offset, chunk, self._clock())
        return {"blob": blob, "received_bytes": received}

    async def get(self, request: Request, /, blob: str, offset: int = 0, limit: int = CHUNK_BYTES) -> dict[str, Any]:
        size_bytes = await self._blobs.size(blob)
        if size_bytes is None:
            raise errors.BlobNotFound(f"no blob {blob}")
        chunk = await self._blobs.get(blob, offset, limit) if offset < size_bytes else b""
        return {
            "blob": blob,
            "size_bytes": size_bytes,
            "offset": offset,
            "data": base64.b64encode(chunk).decode(),
        }


async def load(blobs: Blobs, name: str) -> bytes:
    """The whole content. Raises BlobNotFound and JournalError."""
    size_bytes = await blobs.size(name)
    if size_bytes is None:
        raise errors.BlobNotFound(f"no blob {name}")
    content = bytearray()
    while len(content) < size_bytes:
        content += await blobs.get(name, len(content), READ_BYTES)
    return bytes(content)


async def in_the_end(write: Callable[[], Awaitable[T]]) -> T:
    """Once there is space for it: what has been worked out, and paid for, is not lost for want of it."""
    while True:
        try:
            return await write()
        except errors.JournalFull as error:
            log.debug("a large value waits for space: %s", error)
            await asyncio.sleep(FULL_RETRY_SECONDS)


async def keep_in_the_end(blobs: Blobs, clock: Callable[[], int], contents: Mapping[str, bytes]) -> None:
    """Store them, when there is space. Raises PayloadTooLarge and JournalError."""
    await in_the_end(partial(keep, blobs, clock, contents))


async def keep(blobs: Blobs, clock: Callable[[], int], contents: Mapping[str, bytes]) -> None:
    """Store them. Raises PayloadTooLarge, JournalFull and JournalError."""
    for name, content in contents.items():
        offset = 0
        while offset < len(content):
            chunk = content[offset : offset + READ_BYTES]
            offset = await blobs.put(name, len(content), offset, chunk, clock())


async def sweep_for_ever(blobs: Blobs, clock: Callable[[], int]) -> None:
    """Forget, now and every hour, what nothing refers to any more."""
    while True:
        with contextlib.suppress(errors.JournalError):  # the next time
            count = await blobs.sweep(clock() - KEPT_MS)
            if count:
                log.info("%d blobs that nothing refers to are forgotten", count)
        await asyncio.sleep(SWEEP_SECONDS)
