"""When to try again. Pure: the jitter is a hash of the call, so that a replay waits just as long."""

import math
import zlib

from gleitzeit.model.definition import RetryPolicy

BUSY_DELAY_SECONDS = 0.25
"""For a provider that is full and does not say for how long."""
LEAST_BUSY_SECONDS, MOST_BUSY_SECONDS = 0.02, 5.0
"""What a task waits at least, whatever its provider says: the first time that it is refused, and however often it has
been in a row. Each time stands in the journal."""
MAX_ASKED_SECONDS = 3600.0
"""How long a provider can make a task wait, whatever it asks for."""


def delay_seconds(policy: RetryPolicy, failures: int, call_id: str) -> float:
    """The pause after the `failures`-th failed attempt (1 after the first): within 0 and `max_delay_seconds`.

    With jitter it is between half and the whole of what the policy says, so that many tasks do not come back at once.
    """
    match policy.backoff:
        case "fixed":
            delay = policy.base_delay_seconds
        case "linear":
            delay = policy.base_delay_seconds * failures
        case "exponential":
            delay = policy.base_delay_seconds * policy.multiplier ** min(failures - 1, 64)
    delay = min(delay, policy.max_delay_seconds)
    if policy.jitter:
        delay *= 0.5 + zlib.crc32(call_id.encode()) / 2**33
    return max(delay, 0.0)


def busy_seconds(wish: object, refusals: int) -> float:
    """The pause after a provider was full, and had been so `refusals` times in a row before."""
    least = min(LEAST_BUSY_SECONDS * 2.0 ** min(refusals, 64), MOST_BUSY_SECONDS)
    return max(asked_seconds(wish, BUSY_DELAY_SECONDS), least)


def asked_seconds(wish: object, default: float) -> float:
    """The pause that a provider asks for with `retryAfterSeconds`: a stranger's word, so it may be anything."""
    if isinstance(wish, bool) or not isinstance(wish, int | float) or math.isnan(wish):
        return default
    return min(max(wish, 0.0), MAX_ASKED_SECONDS)
