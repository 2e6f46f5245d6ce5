"""A journal in memory, for tests, simulations and throw-away runs. Nothing outlives the process.

A `MemoryStore` is what a disk or a server is to the others: it outlives the journals opened on it, so that a restart, a
second owner, several coordinators and a full disk can be played through.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

from msgspec import Struct, field

from gleitzeit.errors import GleitzeitError, JournalConflict, JournalError, JournalFenced, JournalFull, JournalLocked
from gleitzeit.journal import blobs
from gleitzeit.journal.base import LEASE_SECONDS, Append, Find, Lease, Record, Summary, Unfinished
from gleitzeit.journal.finding import first, matches, unfinished
from gleitzeit.journal.names import Names
from gleitzeit.model.shards import shard_of


class MemoryStore:
    """`capacity_bytes` bounds the sum of all events and blobs; None is no bound. It may be changed at any time.

    With one shard the store has one owner, until that lets go; with more they are held by leases on `clock` (seconds
    that never go back), as on a server.
    """

    def __init__(
        self, capacity_bytes: int | None = None, *, shards: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.size_bytes = 0
        self.shards = shards
        self.clock = clock
        self.epochs = dict.fromkeys(range(shards), 0)
        self.owners: dict[str, _Owner] = {}
        self.streams: dict[str, _Stream] = {}
        self.names = Names()
        """Of the streams."""
        self.blobs: dict[str, _Blob] = {}
        self.references: Counter[str] = Counter()
        """Blob -> how many streams refer to it."""

    def living(self) -> "dict[str, _Owner]":
        now = self.clock()
        return {name: owner for name, owner in self.owners.items() if owner.until is None or owner.until > now}

    def holder(self, shard: int) -> "_Owner | None":
        """Also one whose lease has run out, while nobody else has claimed the shard."""
        return next((owner for owner in self.owners.values() if shard in owner.shards), None)

    def take(self, size_bytes: int) -> None:
        """Raises JournalFull."""
        if self.capacity_bytes is not None and self.size_bytes + size_bytes > self.capacity_bytes:
            raise JournalFull(f"the journal is full: {self.size_bytes} of {self.capacity_bytes} bytes are used")
        self.size_bytes += size_bytes


class _Owner(Struct, eq=False):
    name: str
    url: str
    until: float | None
    """None: as long as it lives."""
    shards: dict[int, int]


class _Stream(Struct):
    events: list[bytes]
    summary: Summary
    blobs: set[str] = field(default_factory=set)


class _Blob(Struct):
    size_bytes: int
    content: bytearray
    used_at: int
    whole: bool = False


class MemoryJournal:
    """All ports. No method ever waits, so nothing else runs between a call and its return."""

    url = "memory:"

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()
        self._owner: _Owner | None = None

    # Shards

    @property
    def shards(self) -> int:
        return self._store.shards

    @property
    def warnings(self) -> Sequence[str]:
        return ("the journal is in memory: what is not finished is lost when this process ends",)

    async def claim(
        self, owner: str, shards: Collection[int] | None = None, *, url: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> dict[int, int]:
        store = self._store
        if self._owner is not None:
            self._check_fence(())
        wanted = range(store.shards) if shards is None else shards
        taken = {shard: o for o in store.living().values() if o is not self._owner for shard in o.shards}
        locked = [taken[shard] for shard in wanted if shard in taken]
        if shards is None and (locked or (self._owner is not None and store.shards == 1)):
            raise JournalLocked(f"the journal is in use by {locked[0].name if locked else owner}")
        me = self._owner = self._owner or _Owner(owner, url, None, {})
        store.owners[owner] = me
        me.url = url or me.url
        self._prolong(me, lease_seconds)
        for shard in wanted:
            if shard not in taken and shard not in me.shards:
                self._take(me, shard)
        return {shard: me.shards[shard] for shard in wanted if shard in me.shards}

    def _prolong(self, me: _Owner, lease_seconds: float) -> None:
        if self._store.shards > 1:
            me.until = self._store.clock() + lease_seconds

    def _take(self, me: _Owner, shard: int) -> None:
        former = self._store.holder(shard)
        if former is not None:
            del former.shards[shard]
            if former.until is not None:  # it was late, and has lost everything: a new owner starts afresh
                self._store.owners.pop(former.name, None)
        self._store.epochs[shard] += 1
        me.shards[shard] = self._store.epochs[shard]

    async def renew(self, lease_seconds: float = LEASE_SECONDS) -> None:
        me = self._owned()
        if self._store.owners.get(me.name) is not me:
            raise JournalFenced(f"another coordinator has taken over from {me.name}")
        self._prolong(me, lease_seconds)

    async def release(self, shards: Collection[int] | None = None) -> None:
        if shards is None:
            self._let_go()
        elif self._owner is not None:
            for shard in shards:
                self._owner.shards.pop(shard, None)

    async def close(self) -> None:
        self._let_go()

    async def owners(self) -> list[Lease]:
        living = sorted(self._store.living().values(), key=lambda owner: owner.name)
        return [Lease(owner.name, owner.url, dict(owner.shards)) for owner in living]

    def _let_go(self) -> None:
        me, self._owner = self._owner, None
        if me is not None and self._store.owners.get(me.name) is me:
            del self._store.owners[me.name]

    def abandon(self) -> None:
        """Be gone without a word: what a killed process does. The lock of a local file goes with it, a lease stays."""
        if self._store.shards == 1:
            self._let_go()
        self._owner = None

    def _owned(self) -> _Owner:
        if self._owner is None:
            raise JournalError("the journal is not claimed")
        return self._owner

    def _check_fence(self, streams: Iterable[str]) -> None:
        """Raises JournalFenced if another owner has any of the streams, ValueError if nobody claimed them here."""
        me, store = self._owned(), self._store
        for stream in streams:
            shard = shard_of(stream, store.shards)
            if shard is not None and shard not in me.shards and store.owners.get(me.name) is me:
                raise ValueError(f"the shard {shard} of the stream {stream!r} is not claimed")
        if store.owners.get(me.name) is not me:
            raise JournalFenced(f"another coordinator has taken over from {me.name}")

    # Journal

    async def append(self, commit: Sequence[Append]) -> None:
        self._check_fence(append.stream for append in commit)
        store = self._store
        _check(store, commit)
        store.take(sum(len(event) for append in commit for event in append.events))
        for append in commit:
            stream = store.streams.get(append.stream)
            if stream is None:
                stream = store.streams[append.stream] = _Stream([], append.summary)
                store.names.add(append.stream)
            stream.events.extend(append.events)
            stream.summary = append.summary
            new = set(append.blobs) - stream.blobs
            stream.blobs |= new
            store.references.update(new)

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        self._owned()
        found = self._store.streams.get(stream)
        events = found.events[after : after + limit] if found else ()
        return [Record(seq, event) for seq, event in enumerate(events, after + 1)]

    async def find(self, query: Find) -> list[Summary]:
        self._owned()
        streams = self._store.streams
        if not query.stream_prefix and query.after is None:
            return first(query, (s.summary for s in streams.values() if matches(s.summary, query)))
        names = self._store.names.beginning(query.stream_prefix, query.after)
        found = (summary for summary in (streams[name].summary for name in names) if matches(summary, query))
        return first(query, found) if query.after is None else list(islice(found, query.limit))

    async def unfinished(
        self, kind: str, wanted: Callable[[str], bool], before: tuple[int, str] | None = None, limit: int = 256
    ) -> list[Unfinished]:
        found = await self.find(Find(kind, active=True, before=before, limit=limit))
        return [unfinished(row, self._store.streams[row.stream].events if wanted(row.stream) else ()) for row in found]

    async def delete(self, streams: Sequence[str]) -> None:
        self._check_fence(streams)
        store = self._store
        for name in streams:
            gone = store.streams.pop(name, None)
            if gone is not None:
                store.names.remove(name)
                store.size_bytes -= sum(map(len, gone.events))
                store.references.subtract(gone.blobs)

    # Blobs

    async def put(self, name: str, size_bytes: int, offset: int, chunk: bytes, now: int) -> int:
        self._owned()
        blobs.check_put(name, size_bytes, offset, chunk)
        store = self._store
        blob = store.blobs.get(name) or _Blob(size_bytes, bytearray(), now)
        blobs.check_size(name, blob.size_bytes, size_bytes)
        if offset == len(blob.content) and not blob.whole:
            store.take(len(chunk))
            blob.content += chunk
        store.blobs[name] = blob
        blob.used_at = max(now, blob.used_at)
        if len(blob.content) == size_bytes and not blob.whole:
            try:
                blobs.check_content(name, hashlib.sha256(blob.content).hexdigest())
            except GleitzeitError:
                self._forget(name)
                raise
            blob.whole = True
        return len(blob.content)

    async def get(self, name: str, offset: int = 0, limit: int = blobs.MAX_CHUNK_BYTES) -> bytes:
        self._owned()
        blob = self._store.blobs.get(blobs.check_name(name))
        if blob is None or not blob.whole:
            raise blobs.not_found(name)
        return bytes(blob.content[offset : offset + min(limit, blobs.MAX_CHUNK_BYTES)])

    async def size(self, name: str) -> int | None:
        self._owned()
        blob = self._store.blobs.get(blobs.check_name(name))
        return blob.size_bytes if blob is not None and blob.whole else None

    async def sweep(self, unused_since: int) -> int:
        self._owned()
        store = self._store
        unused = [n for n, blob in store.blobs.items() if blob.used_at < unused_since and store.references[n] <= 0]
        for name in unused:
            self._forget(name)
        return len(unused)

    def _forget(self, name: str) -> None:
        self._store.size_bytes -= len(self._store.blobs.pop(name).content)


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
