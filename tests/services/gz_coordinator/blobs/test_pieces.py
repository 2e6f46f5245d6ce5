"""Large values: in pieces, and where there is no space for them."""

import asyncio
import base64
from typing import Any

import pytest

from gleitzeit.errors import BlobNotFound, InvalidParams, JournalFull
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.model.blobs import name_of
from gleitzeit.transport.memory import connect_memory
from gz_coordinator.blobs import pieces as blobs
from gz_coordinator.blobs.pieces import BlobMethods, keep, keep_in_the_end, load

CONTENT = b"paid for" * 100


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    monkeypatch.setattr(blobs, "FULL_RETRY_SECONDS", 0.001)
    return MemoryStore(capacity_bytes=0)


async def journal_on(store: MemoryStore) -> MemoryJournal:
    journal = MemoryJournal(store)
    await journal.claim("me")
    return journal


async def until_there_is_space(store: MemoryStore, waiting: "asyncio.Task[Any]") -> None:
    done, _ = await asyncio.wait({waiting}, timeout=0.05)  # some fifty attempts
    assert not done
    store.capacity_bytes = None


async def test_what_a_provider_brings_to_a_full_disk_waits_for_space(store: MemoryStore) -> None:
    journal = await journal_on(store)
    provider, _ = await connect_memory(server_methods=BlobMethods(journal, lambda: 1).methods())
    name = name_of(CONTENT)
    piece = {"blob": name, "size_bytes": len(CONTENT), "offset": 0, "data": base64.b64encode(CONTENT).decode()}
    answer = asyncio.create_task(provider.call("blob.put", piece))
    await until_there_is_space(store, answer)
    assert (await asyncio.wait_for(answer, 30))["received_bytes"] == len(CONTENT)
    assert await journal.get(name) == CONTENT
    await provider.close()


async def test_what_the_coordinator_itself_keeps_waits_too_and_a_client_is_told(store: MemoryStore) -> None:
    journal = await journal_on(store)
    name = name_of(CONTENT)
    with pytest.raises(JournalFull):
        await keep(journal, lambda: 1, {name: CONTENT})
    keeping = asyncio.create_task(keep_in_the_end(journal, lambda: 1, {name: CONTENT}))
    await until_there_is_space(store, keeping)
    await asyncio.wait_for(keeping, 30)
    assert await journal.get(name) == CONTENT


async def test_what_is_no_base64_is_refused_and_what_is_there_is_given_in_pieces() -> None:
    journal = await journal_on(MemoryStore())
    client, _ = await connect_memory(server_methods=BlobMethods(journal, lambda: 1).methods())
    name = name_of(CONTENT)
    with pytest.raises(InvalidParams, match="data is no base64"):
        await client.call("blob.put", {"blob": name, "size_bytes": 3, "data": "a*b="})
    with pytest.raises(BlobNotFound):
        await client.call("blob.get", {"blob": name})
    await keep(journal, lambda: 1, {name: CONTENT})
    pieces = []
    for offset, limit in ((0, 300), (300, 1_000), (len(CONTENT), 1)):
        answer = await client.call("blob.get", {"blob": name, "offset": offset, "limit": limit})
        assert answer["size_bytes"] == len(CONTENT)
        pieces.append(base64.b64decode(answer["data"]))
    assert pieces == [CONTENT[:300], CONTENT[300:], b""]
    await client.close()


async def test_a_large_value_is_read_and_kept_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "READ_BYTES", 70)
    journal = await journal_on(MemoryStore())
    await keep(journal, lambda: 1, {name_of(CONTENT): CONTENT})
    assert await load(journal, name_of(CONTENT)) == CONTENT
    with pytest.raises(BlobNotFound):
        await load(journal, name_of(b"another"))
