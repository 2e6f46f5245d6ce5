"""Small streams of which only the last event matters: what was registered, or drained."""

import logging

from gleitzeit.errors import JournalCorrupt
from gleitzeit.journal.base import Journal, Record

log = logging.getLogger("gz.coordinator")


class LastEvents:
    """A damaged stream is said once, in `warnings` too, and is as if it were not there."""

    def __init__(self, journal: Journal, warnings: list[str]) -> None:
        self._journal = journal
        self._warnings = warnings
        self._damaged: set[str] = set()

    async def of(self, stream: str) -> Record | None:
        try:
            records = await self._journal.read(stream)
        except JournalCorrupt as error:
            if stream not in self._damaged:
                self._damaged.add(stream)
                self._warnings.append(f"{error.message}: what it said is forgotten")
                log.error(self._warnings[-1])
            return None
        return records[-1] if records else None

    async def to_follow(self, stream: str) -> Record | None:
        """For who is about to append the next one: a damaged stream makes room."""
        found = await self.of(stream)
        if stream in self._damaged:
            await self._journal.delete([stream])
            self._damaged.discard(stream)
        return found
