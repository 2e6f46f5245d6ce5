"""The three ports of a journal: what is appended and read, who may append, and large values beside the streams.

A **stream** is the ordered events of one workflow (or, by a name starting with `$`, of something else that lasts).
A **commit** appends to any number of streams, all or nothing, and is durable when `append` returns. Beside each stream
stands a **summary** row, replaced in the same commit, for lists, look-ups and start-up.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Raw, Struct

LEASE_SECONDS = 20.0
"""How long an owner that does not renew stays one, where several coordinators share a journal."""


SHORT_BYTES = 512 << 10
"""So much of a stream is one page."""


class Summary(Struct, frozen=True):
    """One row a stream. `key` is what people look for besides the id: a workflow's name. Times are UTC milliseconds."""

    stream: str
    kind: str
    key: str
    status: str
    active: bool
    """Must be read at start-up: the stream has not ended."""
    created_at: int
    updated_at: int
    due_at: int | None = None
    expires_at: int | None = None
    counts: Raw = Raw(b"{}")
    """A JSON object of the kind's own; a workflow has `{status: number of tasks}`."""


class Append(Struct, frozen=True):
    """Events for one stream. `seq` is the number the first of them gets; the stream must end at `seq - 1` (0 if new).

    An event is one JSON value without a raw newline (encoders escape them). Without events only the summary is
    replaced. One commit may name a stream several times, in order.
    """

    stream: str
    seq: int
    events: tuple[bytes, ...]
    summary: Summary
    blobs: tuple[str, ...] = ()
    """Names of blobs that the events refer to: they live as long as the stream. The caller has seen that they exist."""


class Record(Struct, frozen=True):
    """One event as it was appended; `seq` counts from 1 within its stream."""

    seq: int
    event: bytes


class Unfinished(Struct, frozen=True):
    """An active stream. `events` are all of them, or none if it is long, damaged or not wanted: `read` tells."""

    stream: str
    created_at: int
    updated_at: int
    events: list[bytes]


class Find(Struct, frozen=True):
    """All given conditions hold. Newest `created_at` first; `before` continues after the last row of a page.

    With `after` in the order of names instead, above this one: so a page of what begins with a name costs no more than
    that page, however many there are.
    """

    kind: str
    keys: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    stream_prefix: str = ""
    active: bool | None = None
    before: tuple[int, str] | None = None
    after: str | None = None
    limit: int = 100


class Lease(Struct, frozen=True):
    """Who holds what: one for every living owner, also for one that holds no shard at the moment."""

    owner: str
    url: str
    """Where the coordinator answers; empty if it did not say."""
    shards: dict[int, int]
    """Shard -> epoch."""


class Journal(Protocol):
    """Raises JournalError and its children only; the caller must not act on events before `append` has returned.

    Calls that overlap have no order among each other: await one before a call that builds on it. Everything but `close`
    needs a claim first (see Shards).
    """

    async def append(self, commit: Sequence[Append]) -> None:
        """Make the commit durable, or change nothing.

        Raises JournalConflict if a stream does not end where `seq` says, JournalFull if there is no space (try the
        same commit again later), JournalFenced if a shard it touches has another owner, JournalError if it is unknown
        whether it is durable: exit, and read at restart. ValueError if an event holds a newline, a summary is another
        stream's, or the shard of a stream was never claimed. A cancelled append may still happen.
        """

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        """Events numbered above `after`, in order; [] at the end. Raises JournalCorrupt if a checksum is wrong.

        A page may be shorter than `limit` though more follows, where events are large: the first page of a stream is
        all of it if it has fewer events than `limit`, and they have less than SHORT_BYTES together.
        """

    async def find(self, query: Find) -> list[Summary]: ...

    async def unfinished(
        self, kind: str, wanted: Callable[[str], bool], before: tuple[int, str] | None = None, limit: int = 256
    ) -> list[Unfinished]:
        """The active streams of a kind, newest first, for who goes on with all of them that are wanted. `before`
        continues after the last one of a page, given by its `(created_at, stream)`."""

    async def delete(self, streams: Sequence[str]) -> None:
        """Forget the streams and their summaries, all or nothing. An unknown one is no error. Raises as `append`."""

    async def close(self) -> None:
        """Wait for the append under way, then let go; releases too. Idempotent."""


class Shards(Protocol):
    """Who may write. A local journal has one shard and one owner, for as long as the process lives; a shared one has
    64, held by leases. A stream's shard is `shard_of(stream, shards)`."""

    @property
    def shards(self) -> int:
        """How many there are: 1 where there can be only one owner."""

    async def claim(
        self, owner: str, shards: Collection[int] | None = None, *, url: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> dict[int, int]:
        """Become the owner of those of the shards that no other living owner holds. Returns their epochs, each above
        every earlier one of its shard, durably. May be called again, for more.

        `shards` None claims all of them, or raises JournalLocked if another owner has any. Raises ConfigurationError
        if the place cannot hold a journal or holds one of a newer format. An owner is known to others by its `url`,
        which a later claim without one leaves as it is.
        """

    async def renew(self, lease_seconds: float = LEASE_SECONDS) -> None:
        """Go on being the owner. Raises JournalFenced if another has taken over anything meanwhile."""

    async def release(self, shards: Collection[int] | None = None) -> None:
        """Wait for the append under way, then let others claim these shards, or with None everything, after which only
        `claim` works. Idempotent."""

    async def owners(self) -> list[Lease]:
        """Those whose lease has not run out, by owner."""


class Blobs(Protocol):
    """Large values, by what they contain: `sha256:` and 64 hex digits. At most 64 MiB each.

    A blob lives as long as a stream refers to it (`Append.blobs`), and some time beyond its last `put`.
    """

    async def put(self, name: str, size_bytes: int, offset: int, chunk: bytes, now: int) -> int:
        """Take a piece; returns how many bytes are there, durably: that is where the next piece begins. With
        `size_bytes` of them the blob is whole and its content is what its name says.

        A piece that begins elsewhere changes nothing, as when several put the same blob, or one goes on after a
        restart. `now` (UTC milliseconds) is remembered as the time of its last use. Raises PayloadTooLarge,
        InvalidParams for another size than before or content of another name (it is forgotten), and JournalFull.
        """

    async def get(self, name: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Up to `limit` bytes (never more than 1 MiB) of a whole blob. Raises BlobNotFound, and JournalCorrupt if a
        piece is damaged."""

    async def size(self, name: str) -> int | None:
        """None if it is not there, or not whole."""

    async def sweep(self, unused_since: int) -> int:
        """Delete the blobs that no stream refers to and that were put before `unused_since`. Returns how many."""


class JournalView(Protocol):
    """What is in a journal at one moment, for who only looks. Methods as in Journal and Blobs; `read` may raise
    JournalConflict for a stream that has been deleted since."""

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]: ...

    async def find(self, query: Find) -> list[Summary]: ...

    async def get(self, name: str, offset: int = 0, limit: int = 1 << 20) -> bytes: ...

    async def size(self, name: str) -> int | None: ...

    async def close(self) -> None: ...


class OwnedJournal(Journal, Shards, Blobs, Protocol):
    """All ports in one object: what `open_journal` returns."""

    url: str
    """It may hold a password: see places.shown."""

    @property
    def warnings(self) -> Sequence[str]:
        """After the first claim: how something that was acknowledged could be lost, for those who keep it."""
