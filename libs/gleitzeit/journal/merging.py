"""A commit, as a server takes it: one entry a stream, which many appends may have come to."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from gleitzeit.errors import JournalConflict, JournalCorrupt
from gleitzeit.journal.base import Append, Record, Summary
from gleitzeit.journal.records import SQUEEZED_BYTES, packed, size_of, unpack
from gleitzeit.model.shards import shard_of

T = TypeVar("T")
PAGE_BYTES = 8 << 20
"""A page ends with the record that reaches this: what is compressed may hold very much more than it shows."""


class Entry(Struct):
    """What a commit does to one stream. `records` are `(first seq, last seq, number of events, checksum, body)`."""

    stream: str
    seq: int
    last: int
    shard: int | None
    records: list[tuple[int, int, int, int, bytes]]
    summary: Summary
    blobs: list[str]


def merged(commit: Sequence[Append], shards: int) -> list[Entry]:
    """Raises ValueError for what no journal takes, and JournalConflict for appends that do not follow each other."""
    entries: dict[str, Entry] = {}
    for append, one in zip(commit, packed(commit), strict=True):
        if "\0" in append.stream + append.summary.kind + append.summary.key + append.summary.status:
            raise ValueError(f"a name in the summary of {append.stream!r} holds a NUL")
        records = [(last - count + 1, last, count, crc, body) for last, count, crc, body in one.records]
        entry = entries.get(append.stream)
        if entry is None:
            shard = shard_of(append.stream, shards)
            entries[append.stream] = Entry(
                append.stream, one.seq, one.last, shard, records, append.summary, list(append.blobs)
            )
        elif one.seq != entry.last + 1:
            raise JournalConflict(f"{append.stream} ends at {entry.last}: cannot append {one.seq}")
        else:
            entry.records += records
            entry.last, entry.summary = one.last, append.summary
            entry.blobs += append.blobs
    return list(entries.values())


async def all_merged(commit: Sequence[Append], shards: int) -> list[Entry]:
    """As `merged`; a large commit keeps nobody waiting."""
    return await _beside(size_of(commit), lambda: merged(commit, shards))


async def all_events(stream: str, rows: Sequence[tuple[int, int, int, bytes]], after: int, limit: int) -> list[Record]:
    """As `events_of`; many of them keep nobody waiting."""
    return await _beside(sum(len(row[3]) for row in rows), lambda: events_of(stream, rows, after, limit))


async def _beside(size_bytes: int, work: Callable[[], T]) -> T:
    """What checks, compresses and cuts bytes gives up the interpreter meanwhile, or most of it."""
    return await asyncio.to_thread(work) if size_bytes >= SQUEEZED_BYTES else work()


def fences(streams: Sequence[str], shards: int, held: dict[int, int]) -> tuple[dict[int, int], bool]:
    """Shard -> epoch for all that the streams belong to, and whether any of them belongs to none.

    Raises ValueError if a shard was never claimed here.
    """
    needed: dict[int, int] = {}
    anybodys = False
    for stream in streams:
        shard = shard_of(stream, shards)
        if shard is None:
            anybodys = True
        elif shard in held:
            needed[shard] = held[shard]
        else:
            raise ValueError(f"the shard {shard} of the stream {stream!r} is not claimed")
    return needed, anybodys


def events_of(stream: str, rows: Sequence[tuple[int, int, int, bytes]], after: int, limit: int) -> list[Record]:
    """The first events after `after` out of records `(last, count, crc, body)`, in order. Raises JournalCorrupt for a
    wrong checksum and for a gap."""
    records: list[Record] = []
    end, size_bytes = after, 0
    for row in rows:
        page = unpack(stream, *row)
        if page[0].seq > end + 1:
            raise JournalCorrupt(f"the stream {stream} lacks its events {end + 1} to {page[0].seq - 1}")
        records += page if page[0].seq > after else page[after - page[0].seq + 1 :]
        end = page[-1].seq
        size_bytes += sum(len(record.event) for record in page)
        if size_bytes >= PAGE_BYTES or len(records) >= limit:
            break
    return records[:limit]
