"""For who copies the file of the journal beside us: it stays as it is meanwhile."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from gleitzeit import errors
from gleitzeit.journal.base import OwnedJournal
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.transport import Connection
from gz_coordinator.errands import Errands

LONGEST_SECONDS = 600.0
"""The log beside the file grows all the while."""


class Copies:
    def __init__(self, journal: OwnedJournal) -> None:
        self._journal = journal
        self._copying: dict[Connection, asyncio.TimerHandle] = {}
        self._errands = Errands()

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"journal.keep": self.keep, "journal.release": self.release}

    async def keep(self, request: Request, /) -> dict[str, Any]:
        journal = self._file()
        self._stop_waiting(request.connection)
        loop = asyncio.get_running_loop()
        self._copying[request.connection] = loop.call_later(LONGEST_SECONDS, self.forget, request.connection)
        await journal.keep(self._wanted)
        return {"file": str(journal.path), "log": f"{journal.path}-wal"}

    async def release(self, request: Request, /) -> dict[str, Any]:
        kept = self._stop_waiting(request.connection)
        await self._file().keep(self._wanted)
        return {"kept": kept}

    def forget(self, connection: Connection) -> None:
        """It has left, or takes too long."""
        if self._stop_waiting(connection):
            self._errands.start(self._go_on())

    async def _go_on(self) -> None:
        with contextlib.suppress(errors.JournalError):  # it is closed, or has failed, which the loop will say
            await self._file().keep(self._wanted)

    def _stop_waiting(self, connection: Connection) -> bool:
        timer = self._copying.pop(connection, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _wanted(self) -> bool:
        return bool(self._copying)

    def _file(self) -> SqliteJournal:
        if not isinstance(self._journal, SqliteJournal):
            raise errors.InvalidState("this journal is no file: it need not be kept for who wants to read it")
        return self._journal

    async def close(self) -> None:
        await self._errands.close()
