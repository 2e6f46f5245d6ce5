"""How well providers are known to be; what follows from it for tasks is in `test_breaker`."""

import pytest

from gleitzeit.engine.inputs import ProviderReady
from gleitzeit.engine.scheduling import health
from gleitzeit.engine.scheduling.pools import Provider


def of_nobody(number: int) -> Provider:
    return Provider(ProviderReady("s", f"s{number}", frozenset({"a/x"}), 1, foreign=f"ws://{number}"))


def test_how_well_those_were_that_left_is_known_of_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_LEFT", 2)
    known = health.Health({})
    first = [of_nobody(number) for number in range(4)]
    for provider in first:
        known.left(provider)
    again = [of_nobody(number) for number in range(4)]
    for provider in again:
        known.came(provider)
    assert [one.budget is other.budget for one, other in zip(first, again, strict=True)] == [False, False, True, True]
