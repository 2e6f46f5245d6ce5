"""Limits by key in a journal that several coordinators share: a row each, without events, that says who holds what."""

import contextlib
import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.journal.base import Append, Find, Journal, Summary
from gleitzeit.model.permits import Held, stream_of

log = logging.getLogger("gz.coordinator")

KIND = "limit"
MOST_FREE = 200
"""Rows of keys of which nobody holds a permit any more, until they are deleted."""
_encode = msgspec.json.Encoder().encode


def limit_append(held: Held, now: int) -> Append:
    stream = stream_of(held.limit)
    status, active = ("held", True) if held.grants else ("free", False)
    return Append(stream, 1, (), Summary(stream, KIND, "", status, active, 0, now, counts=Raw(_encode(held))))


async def load_limits(journal: Journal, wanted: Callable[[str], bool], warnings: list[str]) -> list[Held]:
    """Of the streams that are wanted. One that cannot be read is a warning."""
    found: list[Held] = []
    before = None
    while page := await journal.find(Find(kind=KIND, active=True, before=before, limit=500)):
        for row in page:
            if wanted(row.stream):
                try:
                    found.append(msgspec.json.decode(row.counts, type=Held))
                except msgspec.MsgspecError as error:
                    warnings.append(f"who holds permits of {row.stream} cannot be read: {error}")
                    log.error(warnings[-1])
        before = (page[-1].created_at, page[-1].stream)
    return found


class FreeLimits:
    """Streams of limits of which nobody holds a permit."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._streams: dict[str, None] = {}

    async def sweep(self, changed: Sequence[Held], owns: Callable[[str], bool]) -> None:
        """Forget keys that nobody uses, between two turns: nothing else writes their rows."""
        for held in changed:
            if held.grants:
                self._streams.pop(stream_of(held.limit), None)
            else:
                self._streams[stream_of(held.limit)] = None
        if len(self._streams) > MOST_FREE:
            ours = [stream for stream in self._streams if owns(stream)]
            self._streams.clear()
            with contextlib.suppress(errors.JournalFull):
                await self._journal.delete(ours)
