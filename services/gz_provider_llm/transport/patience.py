"""How long a server may be silent."""

import asyncio
from collections.abc import Awaitable, Callable


class Patience:
    """Ends a request, by `limit`, when nothing of its answer has come for so long, unless the server is known to work.

    Duties of the caller: `begin` within `limit`, `heard` for whatever comes, `answered` for the answer itself, `end` in
    any case.
    """

    def __init__(self, first_seconds: float, seconds: float, works: Callable[[], Awaitable[bool]]) -> None:
        """`first_seconds` count until there is something of the answer."""
        self.limit = asyncio.timeout(None)
        self.seconds = first_seconds
        """That count now."""
        self._then_seconds = seconds
        self._works = works
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._timer = self._loop.call_at(self._heard_at + self.seconds, self._look)

    def heard(self) -> None:
        self._heard_at = self._loop.time()

    def answered(self) -> None:
        self.heard()
        if self.seconds != self._then_seconds:
            self.seconds = self._then_seconds
            if self._timer is not None:
                self._timer.cancel()
            self.begin()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _look(self) -> None:
        due = self._heard_at + self.seconds
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._asking = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        silent_since = self._heard_at
        if await self._works():
            self.heard()
        if self._heard_at == silent_since:
            self.limit.reschedule(self._loop.time())
        else:
            self._look()
