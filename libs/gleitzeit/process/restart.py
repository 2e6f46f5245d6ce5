"""When to start again what has died. Pure: whoever uses it keeps the time."""

from msgspec import Struct


class Backoff(Struct, frozen=True):
    """The delay doubles with each failure in a row, up to a limit; a process that lived long enough starts afresh."""

    first_seconds: float = 0.1
    factor: float = 2.0
    max_seconds: float = 30.0
    healthy_seconds: float = 30.0

    def after(self, failures: int, lived_seconds: float) -> tuple[int, float]:
        """(failures in a row including this one, seconds to wait before the next start).

        `failures` is what this method returned for the death before, 0 for the first.
        """
        count = 1 if lived_seconds >= self.healthy_seconds else failures + 1
        delay = self.first_seconds
        for _ in range(count - 1):
            delay = min(delay * self.factor, self.max_seconds)
            if delay == self.max_seconds:
                break
        return count, delay
