"""calls/v1: which calls a provider runs, which results it keeps, who may ask for them. Pure: `now` is passed in.

The promise behind it: a call is executed at most once while this process lives, however often it is sent.

    send ──> running ──finish──> kept ──ack──> gone (a tombstone)
               │  ^                 │
               └──┘ send, attach    └ send, attach: the kept result
               join the running call

A send for which there is no place is refused, once and for all: who sends the same id again, or whose message comes a
second time, gets the same answer. By then the caller may have gone on to the next attempt, which has an id of its own.

A *connection* is the number that `opened` gave it. A *waiter* is opaque: `finish` hands it back to be answered.
`now` is in seconds of a clock that never goes back.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from gleitzeit.errors import (
    CallGone,
    CallUnknown,
    ConnectionLost,
    Fenced,
    ProviderBusy,
    ResourceExhausted,
    WrongInstance,
)
from gleitzeit.jsonrpc.codes import exception_of, failure_of
from gleitzeit.jsonrpc.messages import Failure

KEEP_SECONDS = 24 * 3600.0
KEPT_BYTES_LIMIT = 256 * 1024 * 1024
TOMBSTONE_LIMIT = 65_536
REFUSED_LIMIT = 16_384
"""So many refusals are remembered."""
FENCE_LIMIT = 4_096
BUSY_RETRY_SECONDS = 1.0

# What a kept result costs beside its bytes. It also bounds how many empty ones there can be.
ENTRY_OVERHEAD_BYTES = 512
_SUPERSEDED = "a newer connection of the same owner took over"


class Fence(Struct, frozen=True):
    """Who calls: the owner of a shard of a cluster, in the epoch in which it became the owner."""

    cluster: str
    shard: int | str
    epoch: int
    owner: str


Outcome = bytes | Failure
"""How a call ended: its result, encoded as JSON, or its JSON-RPC error."""


class Entry(Struct, eq=False, kw_only=True):
    """One call. `outcome` is None while it runs. `work` belongs to the caller of the table, which never looks at it."""

    key: str | int
    """The callId; a number for a plain call, which has none."""
    connection: int | None
    """The one that last sent or attached the call; None once that is lost."""
    waiters: list[tuple[int, Any]]
    lease_seconds: float
    expires_at: float | None = None
    outcome: Outcome | None = None
    finished_at: float = 0.0
    size_bytes: int = 0
    work: Any = None
    said: Any = None
    """With the outcome: what was streamed, which is the caller's matter, too."""
    veil: Any = None
    """Over what the call says; the caller's matter, too."""

    @property
    def plain(self) -> bool:
        return type(self.key) is int


class _Holder(Struct):
    """The highest epoch seen for a shard, whose it is, and the connection that it came by."""

    epoch: int
    owner: str
    connection: int | None


class CallTable:
    """Every method either changes the table and returns, or raises and changes nothing.

    What it returns must be acted on at once: an entry from `send` with `start` true has to be started, and `finish`
    called for it exactly once, whatever happens; an entry from `lost`, `cancel` or `expire` has to be told to stop.
    """

    def __init__(
        self,
        instance: str,
        capacity: int,
        *,
        kept_bytes_limit: int = KEPT_BYTES_LIMIT,
        tombstone_limit: int = TOMBSTONE_LIMIT,
        refused_limit: int = REFUSED_LIMIT,
    ) -> None:
        self.instance = instance
        self.capacity = capacity
        self.draining = False
        self.kept_bytes = 0
        self._kept_bytes_limit = kept_bytes_limit
        self._tombstone_limit = tombstone_limit
        self._refused_limit = refused_limit
        self._running: dict[str | int, Entry] = {}
        self._kept: dict[str | int, Entry] = {}
        self._gone: set[str | int] = set()
        self._gone_in_order: deque[str | int] = deque()
        self._refused: dict[str | int, Failure] = {}
        """What was said of calls that were not taken, the oldest first."""
        self._holders: dict[tuple[str, int | str], _Holder] = {}
        self._open: set[int] = set()
        self._connections = 0
        self._plain_calls = 0

    @property
    def running(self) -> int:
        return len(self._running)

    def entries_running(self) -> list[Entry]:
        return list(self._running.values())

    @property
    def kept(self) -> int:
        return len(self._kept)

    @property
    def owed(self) -> int:
        """How many kept results belong to a connection that is open, so that their acknowledgement can be expected."""
        return sum(1 for entry in self._kept.values() if entry.connection in self._open)

    def opened(self) -> int:
        """A connection is there. Returns its number."""
        self._connections += 1
        self._open.add(self._connections)
        return self._connections

    def _check_open(self, connection: int) -> None:
        if connection not in self._open:
            raise ConnectionLost(_SUPERSEDED)

    def bind(self, connection: int, fence: Fence) -> int | None:
        """Check the fence of whatever came by `connection`. Returns an older connection of the same owner, or None.

        Report the older one as `lost`, and close it, before you look at the message any further: nothing that is still
        buffered there can start then, for what comes by a lost connection is refused with ConnectionLost.
        Raises Fenced for an epoch below the highest seen, and for an equal one of another owner.
        """
        self._check_open(connection)
        holder = self._holders.get((fence.cluster, fence.shard))
        if holder is None:
            self._hold(connection, fence)
            return None
        if fence.epoch < holder.epoch or (fence.epoch == holder.epoch and fence.owner != holder.owner):
            raise Fenced(
                f"shard {fence.shard} of cluster {fence.cluster} belongs to another owner",
                {"cluster": fence.cluster, "shard": fence.shard, "epoch": holder.epoch},
            )
        older = holder.connection if holder.owner == fence.owner and holder.connection != connection else None
        if older is not None and older > connection and older in self._open:
            raise ConnectionLost(_SUPERSEDED)  # the first word by one that was given up, late: the newer one stays
        holder.epoch, holder.owner, holder.connection = fence.epoch, fence.owner, connection
        return older

    def _hold(self, connection: int, fence: Fence) -> None:
        # An evicted fence would let a deposed owner back in: a table that is full refuses newcomers instead.
        if len(self._holders) >= FENCE_LIMIT:
            raise ResourceExhausted(f"this provider serves at most {FENCE_LIMIT} shards")
        self._holders[fence.cluster, fence.shard] = _Holder(fence.epoch, fence.owner, connection)

    def send(
        self, call_id: str, connection: int, waiter: Any, *, lease_seconds: float, instance: str = ""
    ) -> tuple[Entry, bool]:
        """A call arrived (its fence is checked). Returns its entry, and whether it must be started now.

        With start false it is running (the waiter waits with the others) or has an outcome (answer the waiter with it).
        Raises WrongInstance, CallGone and ProviderBusy; of these only *gone* says that the call ever ran here. Whoever
        was told *busy* must use another id for the next attempt.
        """
        self._check_open(connection)
        if instance and instance != self.instance:
            raise WrongInstance("the provider was started anew", {"instance": self.instance})
        entry = self._find(call_id)
        if entry is not None:
            self._join(entry, connection, waiter, lease_seconds)
            return entry, False
        self._admit_once(call_id)
        entry = Entry(key=call_id, connection=connection, waiters=[(connection, waiter)], lease_seconds=lease_seconds)
        self._running[call_id] = entry
        return entry, True

    def send_plain(self, connection: int, waiter: Any) -> Entry:
        """A request without a callId: to be started now. It ends with its connection, and nothing is kept."""
        self._check_open(connection)
        self._admit()
        self._plain_calls += 1
        entry = Entry(key=self._plain_calls, connection=connection, waiters=[(connection, waiter)], lease_seconds=0.0)
        self._running[entry.key] = entry
        return entry

    def attach(self, call_id: str, connection: int, waiter: Any, *, lease_seconds: float | None = None) -> Entry:
        """Ask for a call that was sent before. Its entry runs (the waiter waits) or has an outcome (answer with it).

        Raises CallUnknown, whose data names this instance: with the same instance the call never arrived; and CallGone.
        """
        self._check_open(connection)
        entry = self._find(call_id)
        if entry is None:
            raise CallUnknown("no such call here", {"instance": self.instance})
        self._join(entry, connection, waiter, lease_seconds)
        return entry

    def awaited(self, connection: int) -> set[str]:
        """The running calls whose outcome will be answered by this connection."""
        entries = (entry for entry in self._running.values() if not entry.plain)
        return {str(entry.key) for entry in entries if any(number == connection for number, _ in entry.waiters)}

    def _find(self, call_id: str) -> Entry | None:
        entry = self._running.get(call_id) or self._kept.get(call_id)
        if entry is None and call_id in self._gone:
            raise CallGone("the call was acknowledged before", {"instance": self.instance})
        return entry

    def _admit_once(self, call_id: str) -> None:
        if (refusal := self._refused.get(call_id)) is not None:
            raise exception_of(refusal)
        try:
            self._admit()
        except ProviderBusy as error:
            self._refuse(call_id, failure_of(error))
            raise

    def _refuse(self, call_id: str | int, refusal: Failure) -> None:
        self._refused[call_id] = refusal
        if len(self._refused) > self._refused_limit:
            del self._refused[next(iter(self._refused))]

    def _admit(self) -> None:
        if self.draining:
            reason = "the provider is stopping"
        elif len(self._running) >= self.capacity:
            reason = f"all {self.capacity} places are taken"
        elif self.kept_bytes >= self._kept_bytes_limit:
            reason = "too many results wait to be acknowledged"
        else:
            return
        raise ProviderBusy(reason, {"retryAfterSeconds": BUSY_RETRY_SECONDS})

    def _join(self, entry: Entry, connection: int, waiter: Any, lease_seconds: float | None) -> None:
        entry.connection = connection
        entry.expires_at = None
        if lease_seconds is not None:
            entry.lease_seconds = lease_seconds
        if entry.outcome is None:
            entry.waiters.append((connection, waiter))

    def finish(self, entry: Entry, outcome: Outcome, now: float, *, said: Any = None, said_bytes: int = 0) -> list[Any]:
        """The call ended. Returns the waiters to answer. The outcome is kept until `ack`, with what was `said`; a plain
        call's is not, and that of a method which found itself busy before it had done anything is a refusal."""
        del self._running[entry.key]
        waiters = [waiter for _, waiter in entry.waiters]
        entry.waiters = []
        entry.work = None
        entry.expires_at = None
        entry.outcome = outcome
        if entry.plain:
            return waiters
        if isinstance(outcome, Failure) and outcome.code == ProviderBusy.code:
            self._refuse(entry.key, outcome)
        else:
            entry.finished_at = now
            entry.said = said
            entry.size_bytes = _size_bytes(outcome) + said_bytes
            self.kept_bytes += entry.size_bytes
            self._kept[entry.key] = entry
        return waiters

    def ack(self, call_ids: Iterable[str]) -> None:
        """The outcomes are durable elsewhere: forget them. Calls that run or are unknown are passed over."""
        for call_id in call_ids:
            entry = self._kept.get(call_id)
            if entry is not None:
                self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        del self._kept[entry.key]
        self.kept_bytes -= entry.size_bytes
        self._gone.add(entry.key)
        self._gone_in_order.append(entry.key)
        if len(self._gone_in_order) > self._tombstone_limit:
            self._gone.discard(self._gone_in_order.popleft())

    def cancel(self, call_id: str, connection: int) -> Entry | None:
        """Returns the running call to stop, if `connection` may say so: it owns the call, or nobody does any more."""
        entry = self._running.get(call_id)
        if entry is None or entry.connection not in (None, connection):
            return None
        return entry

    def leave(self, entry: Entry, waiter: Any) -> None:
        """One of those who wait for a running call waits no more; the call goes on."""
        entry.waiters = [pair for pair in entry.waiters if pair[1] is not waiter]

    def lost(self, connection: int, now: float) -> list[Entry]:
        """A connection is gone: nobody waits there, its leases begin to run out. Returns plain calls, to be stopped.

        It may be reported twice: the second time finds nothing.
        """
        self._open.discard(connection)
        for holder in self._holders.values():
            if holder.connection == connection:
                holder.connection = None
        stopped = []
        for entry in self._running.values():
            entry.waiters = [pair for pair in entry.waiters if pair[0] != connection]
            if entry.connection == connection:
                entry.connection = None
                if entry.plain:
                    stopped.append(entry)
                else:
                    entry.expires_at = now + entry.lease_seconds
        return stopped

    def expire(self, now: float) -> list[Entry]:
        """Forget results that nobody fetched for long. Returns the calls whose lease ran out, each once: stop them."""
        while self._kept:
            oldest = next(iter(self._kept.values()))  # a dict keeps the order in which they finished
            if oldest.finished_at + KEEP_SECONDS > now:
                break
            self._forget(oldest)
        expired = [e for e in self._running.values() if e.expires_at is not None and e.expires_at <= now]
        for entry in expired:
            entry.expires_at = None
        return expired

    def next_expiry(self) -> float | None:
        """When the next lease runs out; None if no call has lost its connection."""
        return min((e.expires_at for e in self._running.values() if e.expires_at is not None), default=None)


def _size_bytes(outcome: Outcome) -> int:
    if isinstance(outcome, bytes):
        return ENTRY_OVERHEAD_BYTES + len(outcome)
    return ENTRY_OVERHEAD_BYTES + len(outcome.message) + len(outcome.data or b"")
