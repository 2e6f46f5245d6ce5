"""Keys of tasks and workflows that earlier versions spelled in several ways: priority, retry, error policy."""

from collections.abc import Mapping
from typing import Any, Final

from gleitzeit.model.definition import Backoff, ErrorPolicy, Priority, RetryPolicy
from gleitzeit.schemas import near
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.findings import Fields
from gleitzeit.spec.foreign import OF_A_RETRY
from gleitzeit.spec.loading.scalars import plain_scalar, whole_number

MOST_ATTEMPTS: Final = 100
DEFAULT_ATTEMPTS: Final = 3
"""Where a document asks for retries and does not say how many."""

_PRIORITIES: Final = {
    "low": Priority.LOW,
    "bulk": Priority.LOW,
    "normal": Priority.NORMAL,
    "high": Priority.HIGH,
    "urgent": Priority.URGENT,
    "critical": Priority.URGENT,
}

_BACKOFFS: Final[Mapping[str, Backoff]] = {
    "fixed": "fixed",
    "constant": "fixed",
    "linear": "linear",
    "exponential": "exponential",
}

ERROR_POLICIES: Final[Mapping[str, ErrorPolicy]] = {
    "isolate": "isolate",
    "fail_fast": "fail_fast",
    "stop": "fail_fast",
    "continue": "continue",
    "continue_on_error": "continue",
    "retry": "isolate",
    "retry_failed": "isolate",
}
RETRYING_POLICIES: Final = frozenset({"retry", "retry_failed"})

RETRY_KEYS: Final = frozenset(
    {
        "max_attempts",
        "max_retries",
        "backoff",
        "backoff_strategy",
        "strategy",
        "base_delay",
        "initial_delay",
        "delay",
        "max_delay",
        "backoff_multiplier",
        "multiplier",
        "exponential_backoff",
        "jitter",
    }
)


def read_priority(fields: Fields) -> Priority | None:
    """By name, or by number: higher is more urgent. One that is beyond the four is told of, and is the nearest."""
    priority = fields.converted("priority", parse_priority)
    number = _number(fields.raw.get("priority"))
    if priority is not None and number not in (None, priority):
        told = f"'priority': numbers go from 1 (low) to 4 (urgent), and {number} is {priority.name.lower()}, too"
        fields.findings.warning(fields.at("priority"), told)
    return priority


def parse_priority(value: object) -> Priority:
    """Numbers beyond the four mean the nearest: other systems count to 10, or from 0. Raises ValueError in words for
    the author."""
    if isinstance(value, str) and value.lower() in _PRIORITIES:
        return _PRIORITIES[value.lower()]
    number = _number(value)
    if number is None:
        meant = near(value, _PRIORITIES) if isinstance(value, str) else ""
        hint = f" (did you mean '{meant}'?)" if meant else ""
        raise ValueError(f"must be low, normal, high or urgent, or a number from 1 (low) to 4 (urgent){hint}")
    return Priority(min(max(number, Priority.LOW), Priority.URGENT))


def _number(value: object) -> int | None:
    """That of a priority; a text may hold it."""
    return whole_number(plain_scalar(value.strip()) if isinstance(value, str) else value)


def read_retry(fields: Fields) -> RetryPolicy | None:
    """From `retry`, `retry_config` (a map, a number of attempts, true) and `max_retries`. None if silent."""
    policy = None
    for key in ("retry_config", "retry"):
        value = fields.raw.get(key)
        if isinstance(value, dict):
            policy = _retry_of(Fields(value, fields.at(key), fields.findings), policy)
        elif isinstance(value, bool):
            policy = RetryPolicy(max_attempts=DEFAULT_ATTEMPTS if value else 1)
        elif value is not None and (attempts := fields.whole(key, 1, MOST_ATTEMPTS)):
            policy = RetryPolicy(max_attempts=attempts)
    if policy is None and (retries := fields.whole("max_retries", 0, MOST_ATTEMPTS - 1)) is not None:
        return RetryPolicy(max_attempts=retries + 1)
    return policy


def _retry_of(fields: Fields, base: RetryPolicy | None) -> RetryPolicy:
    fields.check_keys(RETRY_KEYS, "retry", OF_A_RETRY)
    base = base or RetryPolicy(max_attempts=DEFAULT_ATTEMPTS)
    attempts = fields.whole("max_attempts", 1, MOST_ATTEMPTS)
    if attempts is None and (retries := fields.whole("max_retries", 0, MOST_ATTEMPTS - 1)) is not None:
        attempts = retries + 1
    delay = _spelled(fields, parse_duration, "base_delay", "initial_delay", "delay")
    longest = fields.converted("max_delay", parse_duration)
    multiplier = _spelled(fields, _multiplier, "backoff_multiplier", "multiplier")
    jitter = fields.flag("jitter")
    return RetryPolicy(
        max_attempts=base.max_attempts if attempts is None else attempts,
        backoff=_backoff(fields) or base.backoff,
        base_delay_seconds=base.base_delay_seconds if delay is None else delay,
        max_delay_seconds=base.max_delay_seconds if longest is None else longest,
        multiplier=base.multiplier if multiplier is None else multiplier,
        jitter=base.jitter if jitter is None else jitter,
    )


def _spelled(fields: Fields, convert: Any, *keys: str) -> float | None:
    """One thing under several names: given twice with different values is an error."""
    key = fields.first(*keys)
    if key is None:
        return None
    for other in keys:
        if other != key and fields.raw.get(other) not in (None, fields.raw[key]):
            fields.wrong(other, f"'{other}' and '{key}' are two names of one thing, with different values")
    value: float | None = fields.converted(key, convert)
    return value


def _backoff(fields: Fields) -> Backoff | None:
    key = fields.first("backoff", "backoff_strategy", "strategy")
    if key is not None:
        return fields.choice(key, _BACKOFFS)
    exponential = fields.flag("exponential_backoff")
    return None if exponential is None else "exponential" if exponential else "fixed"


def _multiplier(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 100:
        raise ValueError("must be a number from 1 to 100")
    return float(value)
