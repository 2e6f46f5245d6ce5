"""Large values in pieces, several at a time, at a coordinator that takes and gives them as it likes."""

import asyncio
import base64
import random
from typing import Any

import pytest

from gleitzeit.errors import BlobNotFound
from gleitzeit.model.blobs import CHUNK_BYTES, name_of
from gleitzeit.transport.blobs import AT_ONCE, bring, fetch


class Shelf:
    """Calls side by side are answered in an order of `chance`, or as they came."""

    def __init__(self, chance: random.Random | None = None, *, most_bytes: int = CHUNK_BYTES) -> None:
        self.content = bytearray()
        self.size_bytes = 0
        self.calls = self.under_way = self.most_under_way = 0
        self._chance, self._most_bytes = chance, most_bytes

    async def call(self, method: str, params: Any = None, *, timeout_seconds: float | None = None) -> Any:
        self.calls += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        for _ in range(self._chance.randrange(20) if self._chance is not None else 1):
            await asyncio.sleep(0)
        self.under_way -= 1
        if method == "blob.put":
            self.size_bytes = params["size_bytes"]
            if params["offset"] == len(self.content):
                self.content += base64.b64decode(params["data"])
            return {"received_bytes": len(self.content)}
        end = params["offset"] + min(params["limit"], self._most_bytes)
        data = base64.b64encode(self.content[params["offset"] : end]).decode()
        return {"size_bytes": self.size_bytes, "data": data}


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK_BYTES, 20 * CHUNK_BYTES + 1])
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_the_order_the_content_is_the_same(size_bytes: int, seed: int) -> None:
    content = random.Random(seed).randbytes(size_bytes)
    shelf = Shelf(random.Random(seed), most_bytes=CHUNK_BYTES - seed)
    name = await bring(shelf, content)
    assert name == name_of(content)
    assert shelf.content == content
    assert await fetch(shelf, {"$blob": name}) == content


async def test_many_pieces_take_few_rounds() -> None:
    content, shelf = bytes(16 * CHUNK_BYTES), Shelf()
    name = await bring(shelf, content)
    assert (shelf.calls, shelf.most_under_way) == (16, AT_ONCE)
    await fetch(shelf, {"$blob": name})
    assert (shelf.calls, shelf.most_under_way) == (32, AT_ONCE)
    await bring(shelf, content)  # it is there
    assert shelf.calls == 33


async def test_a_blob_that_ends_early() -> None:
    shelf = Shelf()
    shelf.content, shelf.size_bytes = bytearray(3 * CHUNK_BYTES), 4 * CHUNK_BYTES
    with pytest.raises(BlobNotFound, match="ends after 786432 of 1048576 bytes"):
        await fetch(shelf, {"$blob": "sha256:x"})
