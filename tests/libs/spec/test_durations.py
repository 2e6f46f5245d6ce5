import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.spec.durations import how_soon, in_words, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90.0),
        (1.5, 1.5),
        (0, 0.0),
        ("90", 90.0),
        ("1.5", 1.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        (" 2D ", 172_800.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize("value", ["", "soon", "5 minutes", "5m!", "m5", "-5s", None, True, [], {}])
def test_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)


@pytest.mark.parametrize("value", [-1, 367 * 86_400, math.nan, math.inf, 10**400, "400d", "9" * 400])
def test_beyond_the_bounds(value: object) -> None:
    with pytest.raises(ValueError, match="between 0 and 366 days"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "250 ms"), (5, "5 s"), (5.25, "5.2 s"), (59.96, "1 min"), (599.4, "9 min 59 s"), (90_000, "1 d 1 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
    assert how_soon(seconds) == f"in {words}"


def test_what_is_due_is_not_told_as_a_length() -> None:
    assert how_soon(0.04) == how_soon(-1) == "at once"


@given(st.text() | st.integers() | st.floats())
def test_anything_is_a_duration_or_a_value_error(value: object) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(value) <= 366 * 86_400
