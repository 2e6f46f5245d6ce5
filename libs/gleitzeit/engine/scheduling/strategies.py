"""By what the provider for the next task of a pool is chosen, of those that have room: each has a rank, and the lowest
is taken; of equal ones the first.

least loaded      for its size (None: the pool reckons that by itself, as nearly all do)
round robin       the one whose last call began first
model affinity    the one that was called with this model last, which is likely in its memory; else the least loaded
best fit          the one with the least room, so that others stay free for what comes at once, or can be ended
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from gleitzeit.spec.strategies import BEST_FIT, LEAST_LOADED, MODEL_AFFINITY, ROUND_ROBIN


class Candidate(Protocol):
    """What is asked about a provider (see `pools`)."""

    @property
    def capacity(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def last_start(self) -> int: ...
    @property
    def warm(self) -> Mapping[str, int]:
        """By model, the number of its last call with it."""


Rank = Callable[[Candidate, str], float]
"""Of a provider that has room, for a model ("": none that is known)."""


def _by_turns(provider: Candidate, model: str) -> float:
    return provider.last_start


def _by_model(provider: Candidate, model: str) -> float:
    last = provider.warm.get(model) if model else None
    return -last if last is not None else provider.running / provider.capacity


def _by_room(provider: Candidate, model: str) -> float:
    return provider.free


RANKS: dict[str, Rank | None] = {
    LEAST_LOADED: None,
    ROUND_ROBIN: _by_turns,
    MODEL_AFFINITY: _by_model,
    BEST_FIT: _by_room,
}
