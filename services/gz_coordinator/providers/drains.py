"""Providers that get no new calls because an operator says so: kept in the journal, told to the engine.

A drain of a name holds for every instance of it, also for one that starts later, until it is undone: otherwise whatever
starts a provider anew would end it. A drain of an instance ends with that instance.
"""

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.journal.base import Append, Find, Journal, Summary
from gz_coordinator.streams.last_events import LastEvents

STREAM = "$drain/"
KIND = "drain"
MOST_INSTANCES = 100
"""Of one name, the latest: those of long ago have ended."""
_MEETINGS = 5
"""So often other coordinators may be quicker."""


class Drain(Struct, frozen=True):
    """What is drained of the providers of one name: all, or some instances."""

    name: str
    whole: bool = False
    instances: tuple[str, ...] = ()


class Drains:
    def __init__(
        self, journal: Journal, clock: Callable[[], int], post: Callable[[inp.Input], None], events: LastEvents
    ) -> None:
        self.journal = journal
        self._events = events
        self._clock = clock
        self._post = post
        self._known: dict[str, Drain] = {}
        self._changing = asyncio.Lock()

    def of(self, name: str) -> Drain:
        return self._known.get(name, Drain(name))

    @property
    def names(self) -> list[str]:
        """Those that are drained as a whole."""
        return sorted(name for name, drain in self._known.items() if drain.whole)

    def holds(self, name: str, instance: str) -> bool:
        drain = self.of(name)
        return drain.whole or instance in drain.instances

    async def restore(self) -> None:
        """Take up what the journal says; where others work on it, what they have changed. Raises JournalError."""
        async with self._changing:
            await self._read()

    async def drain(self, name: str, instance: str | None) -> None:
        """Durable when it returns. Raises JournalError."""

        def more(drain: Drain) -> Drain:
            if instance is None:
                return replace(drain, whole=True)
            others = tuple(one for one in drain.instances if one != instance)
            return replace(drain, instances=(*others, instance)[-MOST_INSTANCES:])

        await self._change(name, more)

    async def undo(self, name: str, instance: str | None) -> None:
        """Without an instance, of all that has the name. Raises InvalidState for one instance of a name that is drained
        as a whole, JournalError."""

        def less(drain: Drain) -> Drain:
            if instance is None:
                return Drain(name)
            if drain.whole:
                raise errors.InvalidState(f"all of {name} is drained, not {instance} alone: undo it for {name}")
            return replace(drain, instances=tuple(one for one in drain.instances if one != instance))

        await self._change(name, less)

    async def _change(self, name: str, change: Callable[[Drain], Drain]) -> None:
        async with self._changing:
            for left in reversed(range(_MEETINGS)):
                last = await self._events.to_follow(STREAM + name)
                before = msgspec.json.decode(last.event, type=Drain) if last is not None else Drain(name)
                after = change(before)
                if after == before:
                    break
                try:
                    await self._keep(after, last.seq + 1 if last is not None else 1)
                    break
                except errors.JournalConflict:
                    if not left:
                        raise
            await self._read()

    async def _keep(self, drain: Drain, seq: int) -> None:
        stream, now = STREAM + drain.name, self._clock()
        status = "draining" if drain.whole or drain.instances else "over"
        summary = Summary(stream, KIND, drain.name, status, True, now, now)
        await self.journal.append([Append(stream, seq, (msgspec.json.encode(drain),), summary)])

    async def _read(self) -> None:
        known: dict[str, Drain] = {}
        for row in await self.journal.find(Find(kind=KIND, statuses=("draining",), limit=1_000)):
            last = await self._events.of(row.stream)
            if last is not None:
                known[row.key] = msgspec.json.decode(last.event, type=Drain)
        if known != self._known:
            self._known = known
            names = frozenset(name for name, drain in known.items() if drain.whole)
            instances = frozenset(one for drain in known.values() for one in drain.instances)
            self._post(inp.ProvidersDrained(names, instances))
