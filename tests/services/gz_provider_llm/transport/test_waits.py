"""How long a server wants us to wait, in the words and headers of each of them."""

import pytest
from multidict import CIMultiDict

from gz_provider_llm.transport.waits import retry_after, told, until_reset

NOW = 1_792_000_000.0  # 2026-10-14T17:46:40Z


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "20"}, 20),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After-Ms": "700", "Retry-After": "1"}, 0.7),
        ({"Retry-After": "Wed, 14 Oct 2026 17:46:43 GMT"}, 3),
        ({"Retry-After": "Wed, 14 Oct 2020 17:46:43 GMT"}, 0),
        ({"Retry-After": '"2"'}, 2),
        ({"Retry-After": "2 seconds"}, 2),
        ({"Retry-After": "1 minute and 30 seconds"}, 90),
        ({"Retry-After": "2, 5"}, 5),
        ({"Retry-After": "PT1M2.5S"}, 62.5),
        ({"Retry-After": "00:01:02"}, 62),
        ({"Retry-After": "2026-10-14T17:46:44Z"}, 4),
        ({"Retry-After": "later"}, None),
        ({"Retry-After": "PT"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-3"}, None),
        ({"x-ratelimit-reset-requests": "1s"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(CIMultiDict(headers), NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "answer", "seconds"),
    [
        ({}, "slow down", None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1.5s",
                "x-ratelimit-remaining-tokens": "1000",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            "",
            1.5,
        ),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "1h2m3s"}, "", 3723),
        ({"X-RateLimit-Reset": "1792000002500"}, "", 2.5),
        ({"X-RateLimit-Reset": "1792000002"}, "", 2),
        ({"X-RateLimit-Reset": "30"}, "", 30),
        ({"anthropic-ratelimit-input-tokens-reset": "2026-10-14T17:46:44Z"}, "", 4),
        ({"x-ratelimit-reset-requests": "soon"}, "", None),
        ({}, {"error": {"metadata": {"headers": {"X-RateLimit-Reset": "1792000002500"}}}}, 2.5),
    ],
)
def test_until_reset(headers: dict[str, str], answer: object, seconds: float | None) -> None:
    assert until_reset(CIMultiDict(headers), answer, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("slow down", None),
        ("Limit 3, Used 3, Requested 1. Please try again in 20s. Visit https://…", 20),
        ("Please try again in 6m0.5s.", 360.5),
        ("Please try again in 345ms.", 0.345),
        ("Try again in 2 seconds.", 2),
        ("Please retry in 1.544618s.", 1.544618),
        ("Please retry your request after 1.5 seconds", 1.5),
        ("Please wait for 1 minute and 5 seconds", 65),
        ("it resets in 3 hours", 10_800),
        ("try again in a moment; 5 seconds are too few", None),
        ("at most 10 requests in 5 minutes", None),
        ({"error": {"code": "429", "message": "… Please retry after 2 seconds."}}, 2),
        ([{"error": {"details": [{"@type": "…RetryInfo", "retryDelay": "34.5s"}]}}], 34.5),
        ({"error": {"details": [{"retryDelay": {"seconds": "2", "nanos": 500_000_000}}]}}, 2.5),
        ({"detail": "limited", "retry_after": 2}, 2),
        ({"error": {"message": "limited", "retry_after_seconds": "1.5"}}, 1.5),
        ({"error": {"retry-after-ms": 250, "message": "wait 9 seconds"}}, 0.25),
        ({"retry_after": True, "other": {"retryAfter": None}}, None),
    ],
)
def test_what_is_said(answer: object, seconds: float | None) -> None:
    assert told(answer, NOW) == (None if seconds is None else pytest.approx(seconds))
