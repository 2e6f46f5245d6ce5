"""The time of a coordinator: it never goes back, not even from one process to the next."""

import logging
from collections.abc import Callable

from gleitzeit.spec.durations import in_words

TELLING_MS = 60_000
SLOWER = 4
"""Of each second by which it is behind the journal, the machine's clock makes up for one in so many."""
log = logging.getLogger("gz.coordinator")


class Clock:
    """UTC milliseconds."""

    def __init__(self, clock: Callable[[], int], wall: Callable[[], int] | None = None) -> None:
        """`clock` gives UTC milliseconds that never go back while this process lives, whatever is done to the machine's
        clock, which `wall` reads."""
        self._clock = clock
        self._wall = wall or clock
        self._ahead_ms = self._since = 0
        """What the journal was ahead of it, and when, by the machine's clock."""
        self.on_moved: Callable[[int], None] = lambda by_ms: None
        """Hears by how much it has moved: time that did not pass."""

    def __call__(self) -> int:
        """While the journal is ahead time goes on a little slower, else a clock that once was hours ahead would leave
        every schedule that much too early for ever: each restart begins where the last one was."""
        now = self._clock()
        return now + self._ahead(now)

    @property
    def forward_ms(self) -> int:
        """By how much the machine's clock has been set forward since the start; `self()` does not follow that."""
        now = self()
        return max(0, self._wall() - now)

    def wall(self) -> int:
        """By which is due what somebody has named a time for."""
        return self() + self.forward_ms

    def _ahead(self, now: int) -> int:
        return max(0, self._ahead_ms - (now - self._since) // SLOWER) if self._ahead_ms else 0

    @property
    def warnings(self) -> list[str]:
        """For who wonders when a schedule is due."""
        ahead_ms, forward = self._ahead(self._clock()), in_words(self.forward_ms // 1000)
        if self.forward_ms >= TELLING_MS:
            return [
                f"the clock of this machine was set forward by {forward} while this coordinator ran: schedules go by"
                " it, and until the next start what happens is recorded with the times from before"
            ]
        if ahead_ms < TELLING_MS:
            return []
        ahead, until = in_words(ahead_ms // 1000), in_words(ahead_ms * SLOWER // 1000)
        return [
            f"the clock of this machine is {ahead} behind the journal: schedules and timers go by the journal's time,"
            f" which goes a quarter slower until they are one again, in {until}"
        ]

    def not_before(self, at: int) -> None:
        """Go on from there if it is later: what is recorded has happened, whatever the machine's clock says now."""
        now = self._clock()
        behind_ms = at - now - self._ahead(now)
        if behind_ms > 0:
            self._ahead_ms, self._since = self._ahead(now) + behind_ms, now
            self.on_moved(behind_ms)
            log.warning("the clock of this machine is %.1f s behind the journal: going on from there", behind_ms / 1000)
