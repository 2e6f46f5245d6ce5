"""What keeps a sick provider from being stormed: a circuit for each of its methods, and a budget for repetitions.

Pure, and never journaled: both begin anew with the coordinator, and with each connection of a provider. They only ever
delay. A circuit that is open is tried again after a while, and a budget fills with time, so that everything still ends.

    closed ── failure_threshold failures in a row ──> open ── reset_timeout ──> half open ── successes ──> closed
                                                        ^──────── a failure ─────────┘

Each time in a row that a probe fails, an open circuit waits twice as long, up to MAX_FACTOR times `reset_timeout`.
"""

from typing import Literal

from msgspec import Struct

from gleitzeit import errors
from gleitzeit.model.definition import BreakerPolicy
from gleitzeit.model.events import Failure

DEFAULT = BreakerPolicy()
MAX_FACTOR = 4
RETRY_SHARE = 0.2
"""Of its first attempts, so many may be repeated at a provider that is not well ..."""
RETRIES_PER_SECOND = 1.0
"""... and so many besides, so that those few go on whose first attempts are all made ..."""
MAX_RETRIES = 20.0
"""... saved up to this many, which is also what a provider begins with."""

State = Literal["closed", "open", "half_open"]
_AUTHORS = frozenset({errors.TaskError.code, errors.ParameterError.code, errors.ResultInvalid.code})
"""Codes by which a method speaks of what it was asked to do, unless a name of its own tells another story."""


def speaks_of_provider(failure: Failure) -> bool:
    """Whether a failed attempt says that its provider is not well, and not only that the task cannot be done."""
    if not failure.retryable:
        return False
    return failure.code not in _AUTHORS or failure.name not in ("", errors.TaskError.name, "TASK_PARAMETER_ERROR",
                                                                "TASK_RESULT_INVALID")  # fmt: skip


class Change(Struct, frozen=True):
    """A circuit has moved: for the log."""

    provider: str
    instance: str
    method: str
    state: State
    failures: int
    seconds: float = 0.0
    """For how long it is open."""


class Circuit:
    """Of one method at one provider process. Times are UTC milliseconds that never go back."""

    __slots__ = ("_factor", "_opened", "_successes", "failures", "policy", "probes", "until")

    def __init__(self, policy: BreakerPolicy = DEFAULT) -> None:
        self.policy = policy
        self.failures = 0
        """In a row."""
        self.probes = 0
        """Calls under way that were let through while it was half open."""
        self.until = 0
        """Since it is not closed: when the first probe may go."""
        self._opened = False
        self._factor = 1
        self._successes = 0

    def state(self, now: int) -> State:
        if not self._opened:
            return "closed"
        return "half_open" if now >= self.until else "open"

    def admits(self, now: int) -> bool:
        """Whether one more call may go to the provider now."""
        return not self._opened or (now >= self.until and self.probes < self.policy.half_open_max_calls)

    def enter(self) -> bool:
        """A call begins that was admitted. True if it is a probe: give that back to `leave`."""
        self.probes += self._opened
        return self._opened

    def leave(self, probe: bool) -> None:
        """A call is over, in whatever way."""
        self.probes -= probe

    def succeeded(self, probe: bool) -> bool:
        """The provider did its part. True if that closes the circuit."""
        self.failures = 0
        if not self._opened or not probe:  # what began before it opened proves nothing of how things are now
            return False
        self._successes += 1
        if self._successes < self.policy.success_threshold:
            return False
        self._opened, self._factor = False, 1
        return True

    def failed(self, probe: bool, now: int) -> bool:
        """The provider is not well. True if that opens the circuit."""
        self.failures += 1
        if self._opened and not probe:
            return False
        if self._opened:
            self._factor = min(2 * self._factor, MAX_FACTOR)
        elif self.failures < self.policy.failure_threshold:
            return False
        self._opened, self._successes = True, 0
        self.until = now + self.open_ms
        return True

    @property
    def open_ms(self) -> int:
        return round(self.policy.reset_timeout_seconds * 1000) * self._factor


class RetryBudget:
    """How many calls may be repetitions, at one provider process, after failures that spoke of the provider."""

    __slots__ = ("_at", "_saved")

    def __init__(self) -> None:
        self._saved = MAX_RETRIES
        self._at = 0

    def _fill(self, now: int) -> None:
        if self._at:
            self._saved = min(MAX_RETRIES, self._saved + (now - self._at) / 1000 * RETRIES_PER_SECOND)
        self._at = now

    def allows(self, now: int) -> bool:
        self._fill(now)
        return self._saved >= 1.0 - 1e-9

    def allows_at(self, now: int) -> int:
        """When the next repetition may begin, if nothing else happens."""
        self._fill(now)
        return now + max(0, round((1.0 - self._saved) / RETRIES_PER_SECOND * 1000) + 1)

    def first_attempt(self) -> None:
        self._saved = min(MAX_RETRIES, self._saved + RETRY_SHARE)

    def repetition(self) -> None:
        self._saved -= 1.0
