"""Who waits, in the order in which they will have their turn."""

from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Turns(Generic[K, V]):
    """A dict in which the highest rank comes first, and of one rank what came first. There may be very many values, of
    a few ranks."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: dict[int, dict[K, V]] = {}
        """None of them is empty."""

    def __len__(self) -> int:
        return sum(map(len, self._ranks.values()))

    def __contains__(self, key: K) -> bool:
        return any(key in rank for rank in self._ranks.values())

    def __iter__(self) -> Iterator[V]:
        for rank in sorted(self._ranks, reverse=True):
            yield from self._ranks[rank].values()

    def get(self, key: K) -> V | None:
        return next((rank[key] for rank in self._ranks.values() if key in rank), None)

    def first(self) -> V | None:
        return next(iter(self._ranks[max(self._ranks)].values())) if self._ranks else None

    def put(self, key: K, value: V, rank: int) -> None:
        """What is there already, by the same rank, keeps its place."""
        self._ranks.setdefault(rank, {})[key] = value

    def pop(self, key: K) -> V | None:
        for rank, values in self._ranks.items():
            if key in values:
                value = values.pop(key)
                if not values:
                    del self._ranks[rank]
                return value
        return None

    def ahead(self, rank: int) -> int:
        """How many have at least this rank."""
        return sum(len(values) for other, values in self._ranks.items() if other >= rank)
