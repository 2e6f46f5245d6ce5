"""To fetch and bring large values in pieces, by whatever can call `blob.get` and `blob.put` of a coordinator."""

import base64
import hashlib
from typing import Any, Protocol

from gleitzeit.errors import BlobNotFound, PayloadTooLarge, ResultInvalid
from gleitzeit.model.blobs import CHUNK_BYTES, KEY, MAX_BLOB_BYTES, Reference, name_of


class Caller(Protocol):
    async def call(self, method: str, params: object = None, *, timeout_seconds: float | None = None) -> Any: ...


async def fetch(caller: Caller, blob: Reference) -> bytes:
    """The content. Raises BlobNotFound, ResultInvalid if it is not what the name says, and what calls raise."""
    name, content = str(blob[KEY]), bytearray()
    size_bytes = int(blob.get("size_bytes", 0))
    while True:
        piece = await caller.call("blob.get", {"blob": name, "offset": len(content), "limit": CHUNK_BYTES})
        size_bytes = int(piece["size_bytes"])
        chunk = base64.b64decode(piece["data"])
        content += chunk
        if len(content) >= size_bytes:
            break
        if not chunk:
            raise BlobNotFound(f"the blob {name} ends after {len(content)} of {size_bytes} bytes")
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
        raise ResultInvalid(f"the content of {name} is not what its name says")
    return bytes(content)


async def bring(caller: Caller, content: bytes, name: str = "") -> str:
    """Its name. What is there already is not sent again. Raises PayloadTooLarge, and what calls raise."""
    size_bytes = len(content)
    if size_bytes > MAX_BLOB_BYTES:
        raise PayloadTooLarge(f"a value of {size_bytes} bytes; at most {MAX_BLOB_BYTES} are taken")
    name, offset = name or name_of(content), 0
    while True:
        data = base64.b64encode(content[offset : offset + CHUNK_BYTES]).decode()
        piece = {"blob": name, "size_bytes": size_bytes, "offset": offset, "data": data}
        offset = int((await caller.call("blob.put", piece))["received_bytes"])
        if offset >= size_bytes:
            return name
