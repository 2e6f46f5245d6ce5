"""The time of a coordinator: it never goes back, not even from one process to the next."""

import logging
from collections.abc import Callable

from gleitzeit.spec.durations import in_words

TELLING_MS = 60_000
log = logging.getLogger("gz.coordinator")


class Clock:
    """UTC milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """`clock` gives UTC milliseconds that never go back while this process lives."""
        self._clock = clock
        self._ahead_ms = 0
        self.on_moved: Callable[[int], None] = lambda by_ms: None
        """Hears by how much it has moved: time that did not pass."""

    def __call__(self) -> int:
        return self._clock() + self._ahead_ms

    @property
    def warnings(self) -> list[str]:
        """For who wonders when a schedule is due."""
        if self._ahead_ms < TELLING_MS:
            return []
        ahead = in_words(self._ahead_ms // 1000)
        return [
            f"the clock of this machine is {ahead} behind the journal: schedules and timers go by the journal's time"
        ]

    def not_before(self, at: int) -> None:
        """Go on from there if it is later: what is recorded has happened, whatever the machine's clock says now."""
        behind_ms = at - self()
        if behind_ms > 0:
            self._ahead_ms += behind_ms
            self.on_moved(behind_ms)
            log.warning("the clock of this machine is %.1f s behind the journal: going on from there", behind_ms / 1000)
