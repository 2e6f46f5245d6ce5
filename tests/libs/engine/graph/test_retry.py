import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.engine.graph.retry import asked_seconds, delay_seconds
from gleitzeit.model.definition import RetryPolicy

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 1000),
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    base_delay_seconds=st.floats(0, 1e6),
    max_delay_seconds=st.floats(0, 1e6),
    multiplier=st.floats(1, 100),
    jitter=st.booleans(),
)


@given(POLICIES, st.integers(1, 100_000), st.text())
def test_the_pause_is_within_its_bounds_and_always_the_same(policy: RetryPolicy, failures: int, call_id: str) -> None:
    delay = delay_seconds(policy, failures, call_id)
    assert 0 <= delay <= policy.max_delay_seconds
    assert delay == delay_seconds(policy, failures, call_id)
    if policy.jitter:
        whole = delay_seconds(RetryPolicy(**{**_fields(policy), "jitter": False}), failures, call_id)
        assert whole / 2 <= delay <= whole


@given(POLICIES, st.integers(1, 200))
def test_it_does_not_shrink(policy: RetryPolicy, failures: int) -> None:
    steady = RetryPolicy(**{**_fields(policy), "jitter": False})
    assert delay_seconds(steady, failures, "c") <= delay_seconds(steady, failures + 1, "c")


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("fixed", [2, 2, 2, 2]), ("linear", [2, 4, 6, 8]), ("exponential", [2, 6, 18, 20])],
)
def test_the_three_kinds(backoff: str, expected: list[float]) -> None:
    policy = RetryPolicy(9, backoff, 2.0, 20.0, 3.0, jitter=False)  # type: ignore[arg-type]  # one of the three
    assert [delay_seconds(policy, n, "c") for n in (1, 2, 3, 4)] == expected


def test_calls_that_fail_together_do_not_come_back_together() -> None:
    delays = {delay_seconds(RetryPolicy(9), 1, f"w/{n}/1") for n in range(100)}
    assert len(delays) > 90


def _fields(policy: RetryPolicy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in policy.__struct_fields__}


@pytest.mark.parametrize("wish", [None, True, "soon", [], float("nan")])
def test_a_pause_that_is_no_number_is_ours_to_choose(wish: object) -> None:
    assert asked_seconds(wish, 0.25) == 0.25
