"""What is to be forgotten without being named."""

from msgspec import Struct


class Retention(Struct, frozen=True):
    """How long, and how many, workflows are kept that have ended; None: no matter."""

    seconds: float | None = None
    count: int | None = None

    @property
    def limited(self) -> bool:
        return self.seconds is not None or self.count is not None
