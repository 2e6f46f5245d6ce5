"""Permits of keys: who holds one, and who waits for one."""

from collections import deque
from typing import Generic, TypeVar

Holder = TypeVar("Holder")


class Permits(Generic[Holder]):
    """Who holds a permit of which key, longest first, and who waits for one, longest first."""

    def __init__(self) -> None:
        self.holders: dict[str, dict[Holder, None]] = {}
        self.waiting: dict[str, deque[tuple[Holder, int]]] = {}
        self.key_of: dict[Holder, str] = {}

    def free(self, key: str, limit: int) -> bool:
        return len(self.holders.get(key, ())) < limit

    def take(self, key: str, holder: Holder) -> None:
        self.holders.setdefault(key, {})[holder] = None
        self.key_of[holder] = key

    def wait(self, key: str, holder: Holder, limit: int) -> None:
        self.waiting.setdefault(key, deque()).append((holder, limit))

    def leave(self, holder: Holder) -> str | None:
        """The key of which there is a permit more now, if it held one."""
        key = self.key_of.pop(holder, None)
        if key is not None:
            del self.holders[key][holder]
            if not self.holders[key]:
                del self.holders[key]
        return key

    def next(self, key: str) -> Holder | None:
        """Who waits first, if there is a permit for it; it waits no more."""
        queue = self.waiting.get(key)
        if not queue or not self.free(key, queue[0][1]):
            return None
        holder, _ = queue.popleft()
        if not queue:
            del self.waiting[key]
        return holder

    def forget(self, holder: Holder, key: str) -> None:
        """It waits no more, whatever comes."""
        queue = self.waiting.get(key)
        if queue is not None:
            self.waiting[key] = kept = deque(entry for entry in queue if entry[0] is not holder)
            if not kept:
                del self.waiting[key]
