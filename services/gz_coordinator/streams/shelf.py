"""The cache of results: entries in the journal, each a stream of its own (`$cache/<sha256>`), and questions to them.

What is kept is a convenience and no fact: an entry is written after the result that it copies is durable, and one that
cannot be read or written is as if it were not there. One thing happens at a time, in the order in which it was asked,
so that a question finds what was kept before it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.underway import Lookup
from gleitzeit.journal.base import Append, Find, Journal, Summary
from gleitzeit.model.blobs import names_in

log = logging.getLogger("gz.coordinator.cache")

KIND = "cache"
MAX_ENTRIES = 100_000
"""Beyond it the oldest are forgotten."""
MAX_ENTRY_BYTES = 1 << 20
"""A larger result is not kept."""
MAX_WRITES = 200
"""Entries in one commit."""
SWEEP_SECONDS = 600.0


class Entry(Struct, frozen=True):
    """The one event of an entry's stream. Times are UTC milliseconds."""

    method: str
    stored_at: int
    expires_at: int
    result: Raw


def stream_of(key: str) -> str:
    return f"$cache/{key}"


class CacheShelf:
    def __init__(self, journal: Journal, clock: Callable[[], int], post: Callable[[inp.Input], None]) -> None:
        """`post` takes the answers (LookedUp)."""
        self._journal = journal
        self._clock = clock
        self._post = post
        self._waiting: deque[fx.LookUp | fx.KeepResult] = deque()
        self._working: asyncio.Task[None] | None = None
        self._sweep_at = 0.0

    def ask(self, effect: fx.LookUp | fx.KeepResult) -> None:
        if isinstance(effect, fx.KeepResult) and len(bytes(effect.result)) > MAX_ENTRY_BYTES:
            return
        self._waiting.append(effect)
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work(), name="the cache")

    async def close(self) -> None:
        """When the journal is to be closed; what was to be kept is."""
        working = self._working
        if working is not None:
            await asyncio.wait({working}, timeout=1.0)
            working.cancel()

    async def _work(self) -> None:
        """Until nothing is asked any more."""
        try:
            while self._waiting:
                await self._serve()
                await self._sweep_if_due()
        finally:
            self._working = None

    async def _serve(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, fx.LookUp):
                self._waiting.popleft()
                await self._look_up(first.lookup)
            else:
                await self._write()

    async def _look_up(self, lookup: Lookup) -> None:
        entry = None
        try:
            entry = await self._read(lookup.key)
        except (errors.JournalError, msgspec.MsgspecError) as error:
            log.warning("a cache entry cannot be read, and does not count: %s", error)
        now = self._clock()
        if entry is None or entry.expires_at <= now or entry.stored_at + lookup.ttl_seconds * 1000 <= now:
            self._post(inp.LookedUp(lookup))
        else:
            self._post(inp.LookedUp(lookup, entry.result, entry.stored_at))

    async def _read(self, key: str) -> Entry | None:
        records = await self._journal.read(stream_of(key))
        return msgspec.json.decode(records[-1].event, type=Entry) if records else None

    async def _write(self) -> None:
        """All that is to be kept up to the next question, in one commit; a newer result replaces an older one."""
        entries: dict[str, fx.KeepResult] = {}
        while self._waiting and isinstance(keep := self._waiting[0], fx.KeepResult) and len(entries) < MAX_WRITES:
            self._waiting.popleft()
            entries[keep.key] = keep
        try:
            await self._journal.delete([stream_of(key) for key in entries])
            await self._journal.append([_append(keep) for keep in entries.values()])
        except (errors.JournalError, ValueError) as error:
            log.warning("%d results were not put into the cache: %s", len(entries), error)

    async def _sweep_if_due(self) -> None:
        """Forget what has expired, and the oldest beyond MAX_ENTRIES. Who asks meanwhile is answered between pages."""
        moment = asyncio.get_running_loop().time()
        if moment < self._sweep_at:
            return
        self._sweep_at = moment + SWEEP_SECONDS
        now, seen, before = self._clock(), 0, None
        try:
            while page := await self._journal.find(Find(kind=KIND, before=before, limit=500)):
                room = max(0, MAX_ENTRIES - seen)
                old = [row.stream for row in page[room:]]
                expired = [row.stream for row in page[:room] if (row.expires_at or 0) <= now]
                if old or expired:
                    await self._journal.delete([*expired, *old])
                seen += len(page)
                before = (page[-1].created_at, page[-1].stream)
                await self._serve()
        except errors.JournalError as error:
            log.warning("the cache was not swept: %s", error)


def _append(keep: fx.KeepResult) -> Append:
    expires_at = keep.at + round(keep.ttl_seconds * 1000)
    event = msgspec.json.encode(Entry(keep.method, keep.at, expires_at, keep.result))
    summary = Summary(
        stream=stream_of(keep.key),
        kind=KIND,
        key=keep.method,
        status="kept",
        active=False,
        created_at=keep.at,
        updated_at=keep.at,
        expires_at=expires_at,
    )
    return Append(summary.stream, 1, (event,), summary, tuple(dict.fromkeys(names_in(event))))
