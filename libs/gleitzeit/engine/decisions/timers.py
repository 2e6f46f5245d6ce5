"""What happens at a time: calls of the engine's own, in order."""

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call

SPARE_TIMERS = 10_000
"""So many timers may wait in vain before they are looked through."""
Callback = Callable[..., None]


class Timers:
    """Times are UTC milliseconds. A timer is in vain when what its call is about, the first argument, has ended."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callback, tuple[Any, ...]]] = []
        self._count = 0
        self._prune_at = SPARE_TIMERS

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: int, callback: Callback, arguments: tuple[Any, ...]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, callback, arguments))
        if len(self._heap) > self._prune_at:
            self.prune()

    def take(self, now: int) -> Iterator[tuple[Callback, tuple[Any, ...]]]:
        """Those that are due; also what is added meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            _, _, callback, arguments = heapq.heappop(self._heap)
            yield callback, arguments

    def first(self) -> int | None:
        """When the next is due that is not in vain: those would wake us for nothing."""
        while self._heap and not _awaited(self._heap[0][3][0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def prune(self) -> None:
        """A timer keeps its workflow in memory, perhaps for hours: let those go that are in vain."""
        self._heap = [timer for timer in self._heap if _awaited(timer[3][0])]
        heapq.heapify(self._heap)
        self._prune_at = 2 * len(self._heap) + SPARE_TIMERS


def _awaited(subject: Call | Workflow | Schedule | None) -> bool:
    if subject is None:
        return True
    if isinstance(subject, Call):
        return subject.current
    return not subject.final and not (isinstance(subject, Workflow) and subject.disowned)
