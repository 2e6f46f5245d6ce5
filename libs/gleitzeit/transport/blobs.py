"""To fetch and bring large values in pieces, by whatever can call `blob.get` and `blob.put` of a coordinator.

Several pieces are on their way at a time: each takes a turn of its loop there and a commit of its journal, and those of
pieces that wait side by side are one.
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from gleitzeit.errors import BlobNotFound, PayloadTooLarge, ResultInvalid
from gleitzeit.model.blobs import CHUNK_BYTES, KEY, MAX_BLOB_BYTES, Reference, name_of

T = TypeVar("T")

AT_ONCE = 8
"""Pieces. The first goes alone: it says how many there are, or that none is needed."""


class Caller(Protocol):
    async def call(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any: ...


async def fetch(caller: Caller, blob: Reference) -> bytes:
    """The content. Raises BlobNotFound, ResultInvalid if it is not what the name says, and what calls raise."""
    name, content = str(blob[KEY]), bytearray()

    async def piece(offset: int) -> tuple[int, bytes]:
        answer = await caller.call("blob.get", {"blob": name, "offset": offset, "limit": CHUNK_BYTES})
        return int(answer["size_bytes"]), base64.b64decode(answer["data"])

    size_bytes, chunk = await piece(0)
    content += chunk
    while len(content) < size_bytes:
        before = len(content)
        for offset, (_, chunk) in (await _each(piece, before, size_bytes)).items():
            if offset == len(content):  # else the one before was shorter than asked for
                content += chunk
        if len(content) == before:
            raise BlobNotFound(f"the blob {name} ends after {before} of {size_bytes} bytes")
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
        raise ResultInvalid(f"the content of {name} is not what its name says")
    return bytes(content)


async def bring(caller: Caller, content: bytes, name: str = "") -> str:
    """Its name. What is there already is not sent again. Raises PayloadTooLarge, and what calls raise."""
    size_bytes = len(content)
    if size_bytes > MAX_BLOB_BYTES:
        raise PayloadTooLarge(f"a value of {size_bytes} bytes; at most {MAX_BLOB_BYTES} are taken")
    name = name or name_of(content)

    async def piece(offset: int) -> int:
        data = base64.b64encode(content[offset : offset + CHUNK_BYTES]).decode()
        piece = {"blob": name, "size_bytes": size_bytes, "offset": offset, "data": data}
        return int((await caller.call("blob.put", piece))["received_bytes"])

    offset = await piece(0)
    while offset < size_bytes:
        # One that has come before its turn changes nothing; where the others end, it goes on.
        offset = max((await _each(piece, offset, size_bytes)).values())
    return name


async def _each(piece: Callable[[int], Awaitable[T]], begin: int, end: int) -> dict[int, T]:
    """What came of the next pieces, by offset."""
    offsets = range(begin, end, CHUNK_BYTES)[:AT_ONCE]
    return dict(zip(offsets, await asyncio.gather(*map(piece, offsets)), strict=True))
