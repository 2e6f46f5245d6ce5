"""Names in their order, of which some are added and taken away all the time: in parts that are small enough to move."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

MOST_IN_A_PART = 512


class Names:
    def __init__(self) -> None:
        self._parts: list[list[str]] = [[]]
        self._firsts = [""]
        """Of each part: what no name in it comes before."""

    def _part_of(self, name: str) -> int:
        return bisect_right(self._firsts, name) - 1

    def add(self, name: str) -> None:
        """The caller knows that it is not there."""
        at = self._part_of(name)
        part = self._parts[at]
        insort(part, name)
        if len(part) > MOST_IN_A_PART:
            half = part[MOST_IN_A_PART // 2 :]
            del part[MOST_IN_A_PART // 2 :]
            self._parts.insert(at + 1, half)
            self._firsts.insert(at + 1, half[0])

    def remove(self, name: str) -> None:
        """The caller knows that it is there."""
        at = self._part_of(name)
        part = self._parts[at]
        del part[bisect_left(part, name)]
        if not part and at:
            del self._parts[at], self._firsts[at]

    def beginning(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """Those that begin with it and come after `after`, in order. Meanwhile nobody may add or remove any."""
        start = prefix if after is None or after < prefix else after
        at = self._part_of(start)
        first = bisect_left(self._parts[at], start)
        for part in self._parts[at:]:
            for name in part[first:]:
                if not name.startswith(prefix):
                    return
                if name != after:
                    yield name
            first = 0
