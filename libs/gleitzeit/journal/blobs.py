"""What all adapters do alike with blobs: names, bounds, and whether the content is what the name says."""

import re
import zlib

from gleitzeit.errors import BlobNotFound, InvalidParams, JournalCorrupt, PayloadTooLarge
from gleitzeit.model.blobs import MAX_BLOB_BYTES

MAX_CHUNK_BYTES = 1 << 20
Piece = tuple[str, int, int, bytes, int]
"""What `Blobs.put` takes."""
_NAME = re.compile(r"sha256:[0-9a-f]{64}")


def check_name(name: str) -> str:
    """Raises InvalidParams for what cannot be a blob's name."""
    if _NAME.fullmatch(name) is None:
        raise InvalidParams(f"{name!r} is no blob: a name is sha256: and 64 hex digits")
    return name


def check_put(name: str, size_bytes: int, offset: int, chunk: bytes) -> None:
    """Raises PayloadTooLarge or InvalidParams."""
    check_name(name)
    if size_bytes > MAX_BLOB_BYTES:
        raise PayloadTooLarge(f"a blob of {size_bytes} bytes: at most {MAX_BLOB_BYTES} are taken")
    if len(chunk) > MAX_CHUNK_BYTES:
        raise PayloadTooLarge(f"a piece of {len(chunk)} bytes: send at most {MAX_CHUNK_BYTES} at a time")
    if size_bytes < 0 or offset < 0 or offset + len(chunk) > size_bytes or (not chunk and size_bytes):
        raise InvalidParams(f"{len(chunk)} bytes at {offset} do not fit into a blob of {size_bytes}")


def check_size(name: str, known: int, said: int) -> None:
    """Raises InvalidParams if a blob is said to have two sizes."""
    if known != said:
        raise InvalidParams(f"the blob {name} has {known} bytes, not {said}")


def check_content(name: str, digest: str) -> None:
    """Raises InvalidParams, after which the adapter forgets the blob."""
    if name != f"sha256:{digest}":
        raise wrong_content(name, digest)


def wrong_content(name: str, digest: str) -> InvalidParams:
    return InvalidParams(f"the content of {name} has the digest {digest}: send it again")


def checksum(name: str, offset: int, chunk: bytes) -> int:
    """Of one piece, kept beside it: where it belongs counts, so that pieces cannot change places."""
    return zlib.crc32(chunk, zlib.crc32(f"{offset} {name}".encode()))


def check_chunk(name: str, offset: int, crc: int, chunk: bytes) -> None:
    """Raises JournalCorrupt."""
    if crc != checksum(name, offset, chunk):
        raise JournalCorrupt(f"the blob {name} is damaged from byte {offset} on")


def not_found(name: str) -> BlobNotFound:
    return BlobNotFound(f"no blob {name}")
