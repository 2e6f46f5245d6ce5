import pytest

from gz_provider_llm.errors import RateLimited
from gz_provider_llm.limits import Limits


def refused(limits: Limits, model: str, tokens: int, now: float) -> float:
    with pytest.raises(RateLimited) as caught:
        limits.reserve(model, tokens, now)
    return caught.value.retry_after_seconds


def test_no_limits() -> None:
    limits = Limits()
    for _ in range(10_000):
        limits.reserve("m", 10**9, 0.0)


def test_requests_a_minute_for_each_model() -> None:
    limits = Limits(requests_per_minute=2)
    limits.reserve("m", 0, 0.0)
    limits.reserve("m", 0, 10.0)
    assert refused(limits, "m", 0, 20.0) == 40
    limits.reserve("other", 0, 20.0)
    assert refused(limits, "m", 0, 59.5) == 0.5
    limits.reserve("m", 0, 60.0)
    assert refused(limits, "m", 0, 60.0) == 10


def test_a_model_may_have_a_limit_of_its_own() -> None:
    limits = Limits({"m": 1, "": 2}, {"big": 10})
    for model, most in (("m", 1), ("other", 2)):
        for _ in range(most):
            limits.reserve(model, 1000, 0.0)
        assert refused(limits, model, 0, 0.0) == 60
    limits.reserve("big", 10, 0.0)
    assert refused(limits, "big", 1, 0.0) == 60


def test_a_model_that_is_left_alone_for_so_long_as_its_server_says() -> None:
    limits = Limits()
    limits.close("m", RateLimited("slow down", 20.0, told=True), 100.0)
    assert refused(limits, "m", 0, 105.0) == 15
    limits.reserve("other", 0, 105.0)
    limits.reserve("m", 0, 120.0)
    for number in range(3000):
        limits.close(f"m{number}", RateLimited("slow down", 20.0, told=True), float(number))
    assert len(limits._windows) <= 1001


def test_tokens_a_minute() -> None:
    limits = Limits(tokens_per_minute=100)
    limits.reserve("m", 40, 0.0)
    limits.reserve("m", 40, 10.0)
    limits.reserve("m", 20, 20.0)
    assert refused(limits, "m", 1, 30.0) == 30  # when the first is a minute old
    assert refused(limits, "m", 60, 30.0) == 40  # when the second is, too
    assert refused(limits, "m", 90, 30.0) == 50
    limits.reserve("m", 40, 60.0)


def test_what_it_cost_counts_not_what_it_was_taken_for() -> None:
    limits = Limits(tokens_per_minute=100)
    reserved = limits.reserve("m", 90, 0.0)
    assert refused(limits, "m", 50, 1.0) == 59
    limits.settle(reserved, 20)
    uncounted = limits.reserve("m", 50, 1.0)
    limits.settle(uncounted, None)
    assert refused(limits, "m", 50, 1.0) == 59


def test_more_than_the_whole_limit_passes_alone() -> None:
    limits = Limits(tokens_per_minute=100)
    limits.reserve("m", 500, 0.0)
    assert refused(limits, "m", 1, 1.0) == 59
    assert refused(limits, "m", 500, 1.0) == 59
    limits.reserve("m", 500, 60.0)


def test_models_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_provider_llm.limits._MODELS", 10)
    limits = Limits(requests_per_minute=1)
    for number in range(100):
        limits.reserve(f"m{number}", 0, float(number) * 61)
        assert len(limits._windows) <= 11
