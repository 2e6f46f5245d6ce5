"""The inbox of one watcher: bounded, and it knows when it has missed something."""

import asyncio
from collections import deque

from gleitzeit.client.watch import QUEUE_ITEMS, Received
from gleitzeit.errors import ConnectionLost


class Overflow(Exception):
    """The consumer was slower than the coordinator: something was dropped here and must be asked for again."""


class Subscription:
    """`put`, `overflow` and `lose` come from the connection, `get` is the watcher's."""

    def __init__(self, limit: int = QUEUE_ITEMS) -> None:
        self._items: deque[Received] = deque()
        self._limit = limit
        self._filled = asyncio.Event()
        self._end: Exception | None = None

    def put(self, item: Received) -> None:
        if self._end is not None:
            return
        if len(self._items) >= self._limit:
            self._finish(Overflow())
            return
        self._items.append(item)
        self._filled.set()

    def lose(self, reason: str) -> None:
        """The connection is gone."""
        if self._end is None:
            self._finish(ConnectionLost(reason))

    async def get(self) -> Received:
        """The next item. After the last one raises Overflow or ConnectionLost, if that is why it is the last."""
        while not self._items:
            if self._end is not None:
                raise self._end
            self._filled.clear()
            await self._filled.wait()
        return self._items.popleft()

    def _finish(self, end: Exception) -> None:
        self._end = end
        self._filled.set()
