import pytest

from gz_provider_http.rates import LONGEST_WAIT_SECONDS, Rates, interval_seconds


@pytest.mark.parametrize(
    ("rate", "seconds"), [(5, 0.2), (0.5, 2.0), ("5", 0.2), ("60/m", 1.0), ("1 per second", 1.0), ("3600/hour", 1.0)]
)
def test_rates(rate: float | str, seconds: float) -> None:
    assert interval_seconds(rate) == pytest.approx(seconds)


@pytest.mark.parametrize("rate", [0, -1, "0", "x", "5/day", float("inf"), float("nan")])
def test_what_is_no_rate(rate: float | str) -> None:
    with pytest.raises(ValueError, match="rate_limit"):
        interval_seconds(rate)


def test_requests_are_spread_evenly_for_each_key() -> None:
    rates = Rates()
    assert [rates.wait_seconds("a", 0.5, 10.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert rates.wait_seconds("b", 0.5, 10.0) == 0.0
    assert rates.wait_seconds("a", 0.5, 20.0) == 0.0


def test_who_would_wait_long_takes_no_place() -> None:
    rates = Rates()
    rates.wait_seconds("a", 60.0, 0.0)
    assert rates.wait_seconds("a", 60.0, 0.0) == 60.0 > LONGEST_WAIT_SECONDS
    assert rates.wait_seconds("a", 60.0, 59.0) == 1.0
