"""The two ports of a journal: what is appended and read, and who may append.

A **stream** is the ordered events of one workflow (or, by a name starting with `$`, of something else that lasts).
A **commit** appends to any number of streams, all or nothing, and is durable when `append` returns. Beside each stream
stands a **summary** row, replaced in the same commit, for lists, look-ups and start-up.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Raw, Struct


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


class Record(Struct, frozen=True):
    seq: int
    event: bytes


class Find(Struct, frozen=True):
    """All given conditions hold. Newest `created_at` first; `before` continues after the last row of a page."""

    kind: str
    keys: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    stream_prefix: str = ""
    active: bool | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


class Journal(Protocol):
    """Raises JournalError and its children only; the caller must not act on events before `append` has returned.

    Calls that overlap have no order among each other: await one before a call that builds on it. Everything but `close`
    needs a claim first (see Shards).
    """

    async def append(self, commit: Sequence[Append]) -> None:
        """Make the commit durable, or change nothing.

        Raises JournalConflict if a stream does not end where `seq` says, JournalFull if there is no space (try the
        same commit again later), JournalError if it is unknown whether it is durable: exit, and read at restart.
        ValueError if an event holds a newline or a summary is another stream's. A cancelled append may still happen.
        """

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        """Events numbered above `after`, in order; [] at the end. Raises JournalCorrupt if a checksum is wrong.

        A page may be shorter than `limit` though more follows, where events are large.
        """

    async def find(self, query: Find) -> list[Summary]: ...

    async def delete(self, streams: Sequence[str]) -> None:
        """Forget the streams and their summaries, all or nothing. An unknown one is no error."""

    async def close(self) -> None:
        """Wait for the append under way, then let go; releases too. Idempotent."""


class Shards(Protocol):
    """Who may write. One owner at a time for the whole journal where it is a local file."""

    async def claim(self, owner: str) -> int:
        """Become the owner; the epoch returned is above every earlier one, durably. Raises JournalLocked if another
        lives, ConfigurationError if the place cannot hold a journal or holds one of a newer format."""

    async def release(self) -> None:
        """Wait for the append under way, then let another claim. Idempotent; `claim` may follow."""


class OwnedJournal(Journal, Shards, Protocol):
    """Both ports in one object: what `open_journal` returns."""
