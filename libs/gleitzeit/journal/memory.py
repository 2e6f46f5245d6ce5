"""A journal in memory, for tests, simulations and throw-away runs. Nothing outlives the process.

A `MemoryStore` is what a disk is to the others: it outlives the journals opened on it, so that a restart, a second
owner and a full disk can be played through.
"""

import heapq
from collections.abc import Sequence

from msgspec import Struct

from gleitzeit.errors import JournalConflict, JournalError, JournalFull, JournalLocked
from gleitzeit.journal.base import Append, Find, Record, Summary


class MemoryStore:
    """`capacity_bytes` bounds the sum of all events; None is no bound. It may be changed at any time."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.size_bytes = 0
        self.epoch = 0
        self.owner: tuple[MemoryJournal, str] | None = None
        self.streams: dict[str, _Stream] = {}


class _Stream(Struct):
    events: list[bytes]
    summary: Summary


class MemoryJournal:
    """Both ports. No method ever waits, so nothing else runs between a call and its return."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()

    async def claim(self, owner: str) -> int:
        store = self._store
        if store.owner is not None:
            raise JournalLocked(f"the journal is in use by {store.owner[1]}")
        store.owner = (self, owner)
        store.epoch += 1
        return store.epoch

    async def release(self) -> None:
        self.abandon()

    async def close(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Let go at once: what a killed process does."""
        if self._store.owner is not None and self._store.owner[0] is self:
            self._store.owner = None

    async def append(self, commit: Sequence[Append]) -> None:
        store = self._owned()
        _check(store, commit)
        size_bytes = sum(len(event) for append in commit for event in append.events)
        if store.capacity_bytes is not None and store.size_bytes + size_bytes > store.capacity_bytes:
            raise JournalFull(f"the journal is full: {store.size_bytes} of {store.capacity_bytes} bytes are used")
        store.size_bytes += size_bytes
        for append in commit:
            stream = store.streams.setdefault(append.stream, _Stream([], append.summary))
            stream.events.extend(append.events)
            stream.summary = append.summary

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        found = self._owned().streams.get(stream)
        events = found.events[after : after + limit] if found else ()
        return [Record(seq, event) for seq, event in enumerate(events, after + 1)]

    async def find(self, query: Find) -> list[Summary]:
        matching = (s.summary for s in self._owned().streams.values() if _matches(s.summary, query))
        return heapq.nlargest(query.limit, matching, key=_position)

    async def delete(self, streams: Sequence[str]) -> None:
        store = self._owned()
        for name in streams:
            gone = store.streams.pop(name, None)
            store.size_bytes -= sum(map(len, gone.events)) if gone else 0

    def _owned(self) -> MemoryStore:
        if self._store.owner is None or self._store.owner[0] is not self:
            raise JournalError("the journal is not claimed")
        return self._store


def _check(store: MemoryStore, commit: Sequence[Append]) -> None:
    ends: dict[str, int] = {}
    for append in commit:
        if append.stream != append.summary.stream or any(b"\n" in event for event in append.events):
            raise ValueError(f"an event for {append.stream!r} holds a newline, or the summary is another stream's")
        known = store.streams.get(append.stream)
        end = ends.get(append.stream, len(known.events) if known else 0)
        if append.seq != end + 1:
            raise JournalConflict(f"{append.stream} ends at {end}: cannot append {append.seq}")
        ends[append.stream] = end + len(append.events)


def _matches(summary: Summary, query: Find) -> bool:
    return (
        summary.kind == query.kind
        and (not query.keys or summary.key in query.keys)
        and (not query.statuses or summary.status in query.statuses)
        and summary.stream.startswith(query.stream_prefix)
        and (query.active is None or summary.active == query.active)
        and (query.before is None or _position(summary) < query.before)
    )


def _position(summary: Summary) -> tuple[int, str]:
    return summary.created_at, summary.stream
