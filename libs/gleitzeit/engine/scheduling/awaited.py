"""Models that nobody lists, while who has them may be on the way: where a stack starts, or a provider starts again.

Whoever is there would refuse such a task for good.
"""

import heapq
from collections.abc import Collection

JOIN_MS = 1_000
"""After a provider has come, where nobody has said which are started: those that were started with it are there by
then, and have said what they have."""
RETURN_MS, SHORT_RETURN_MS = 60_000, 3_000
"""For one that had the model and has left to come back; the shorter, where the task names something else, too."""
START_MS = 10_000
"""For those that were said to be started; or for any, after a start that found work to go on with."""


class Awaited:
    def __init__(self) -> None:
        self._joins: dict[str, int] = {}
        """Until when others may follow, by method."""
        self._left: dict[str, int] = {}
        """When who had it has left, by model."""
        self._expected: set[str] | None = None
        """Names of those that are started with us and have not come yet; None where nobody has said so."""
        self._began = -START_MS
        self._ends: list[int] = []
        """When a wait may be over."""

    def expect(self, names: Collection[str], now: int) -> None:
        """These are being started."""
        self._expected = set(names)
        self.begin(now)

    def begin(self, now: int) -> None:
        """There is work from before, and nobody yet to do it."""
        self._began = now
        heapq.heappush(self._ends, now + SHORT_RETURN_MS)
        heapq.heappush(self._ends, now + START_MS)

    def came(self, name: str, methods: Collection[str], now: int) -> None:
        if self._expected is not None:
            self._expected.discard(name)
            return
        for method in methods:
            self._joins[method] = now + JOIN_MS
        heapq.heappush(self._ends, now + JOIN_MS)

    def left(self, models: Collection[str], now: int) -> None:
        self._left = {model: at for model, at in self._left.items() if at + RETURN_MS > now} | dict.fromkeys(
            models, now
        )
        if models:
            heapq.heappush(self._ends, now + SHORT_RETURN_MS)
            heapq.heappush(self._ends, now + RETURN_MS)

    def who_left(self, models: Collection[str], *, names_more: bool) -> int:
        """When to give up waiting for the return of one that had one of these models; it may be past."""
        patience = SHORT_RETURN_MS if names_more else RETURN_MS
        return max((self._left[model] + patience for model in models if model in self._left), default=0)

    def who_starts(self, method: str, *, names_more: bool) -> int:
        """When to give up waiting for others than those that are there; it may be past."""
        if self._expected is not None:
            return self._began + (SHORT_RETURN_MS if names_more else START_MS) if self._expected else 0
        return max(self._joins.get(method, 0), 0 if names_more else self._began + START_MS)

    def is_over(self, now: int) -> bool:
        """Whether some wait has ended since that was asked last."""
        over = bool(self._ends) and self._ends[0] <= now
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return over

    @property
    def next_end(self) -> int | None:
        return self._ends[0] if self._ends else None
