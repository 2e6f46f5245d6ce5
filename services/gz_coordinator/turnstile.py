"""So many at once, the others in the order in which they came."""

import asyncio
from collections import OrderedDict


class Turnstile:
    """`async with` it. As asyncio.Semaphore, where who gives up waiting costs as much as there are who wait: of 65,000
    whose connection had closed the loop was busy for a minute."""

    def __init__(self, places: int) -> None:
        self._free = places
        """While there is one nobody waits."""
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if not turn.cancelled():  # it was its turn already
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.cancelled():  # else who has given up waiting does not know it yet
                turn.set_result(None)
                return
        self._free += 1
