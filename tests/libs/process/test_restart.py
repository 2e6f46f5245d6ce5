from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.process.restart import Backoff


def _delays(backoff: Backoff, lives: list[float]) -> list[float]:
    failures, delays = 0, []
    for lived in lives:
        failures, delay = backoff.after(failures, lived)
        delays.append(delay)
    return delays


def test_the_delay_doubles_up_to_its_limit() -> None:
    backoff = Backoff(first_seconds=1, factor=2, max_seconds=5, healthy_seconds=60)
    assert _delays(backoff, [0] * 5) == [1, 2, 4, 5, 5]


def test_a_long_life_starts_the_count_afresh() -> None:
    backoff = Backoff(first_seconds=1, factor=2, max_seconds=5, healthy_seconds=60)
    assert _delays(backoff, [0, 59.9, 60, 0]) == [1, 2, 1, 2]


@given(failures=st.integers(0, 10**9), lived=st.floats(0, 1e9))
def test_the_delay_stays_within_its_bounds_however_often_it_fails(failures: int, lived: float) -> None:
    count, delay = Backoff().after(failures, lived)
    assert 1 <= count <= failures + 1
    assert Backoff().first_seconds <= delay <= Backoff().max_seconds
