"""Requests spread evenly over time: one every so many seconds for each key."""

import re
from typing import Final

LONGEST_WAIT_SECONDS: Final = 2.0
"""Who would wait longer gives the place back and is told when to come again."""
MOST_KEYS: Final = 10_000

_UNIT_SECONDS: Final = {"s": 1.0, "second": 1.0, "m": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per)\s*(s|second|m|minute|h|hour)\s*")


def interval_seconds(rate: float | str) -> float:
    """Between two requests, of `5` (a second), `100/m`, `1 per second`. Raises ValueError in words for the author."""
    number, unit = float(rate) if not isinstance(rate, str) else 0.0, "s"
    if isinstance(rate, str):
        found = _RATE.fullmatch(rate)
        number, unit = (float(found[1]), found[2]) if found else (float(rate) if _is_number(rate) else 0.0, "s")
    if not 0 < number < float("inf"):
        raise ValueError(f"rate_limit is a number of requests a second, or a text like '100/m', not {rate!r}")
    return _UNIT_SECONDS[unit] / number


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(?:\.\d+)?", text.strip()) is not None


class Rates:
    """When the next request of each key may go out; times are those of a clock that never goes back."""

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}

    def wait_seconds(self, key: str, interval: float, now: float) -> float:
        """How long to wait before the request. What is over LONGEST_WAIT_SECONDS is only told: no place is taken."""
        due = max(self._next_at.get(key, now), now)
        if due - now > LONGEST_WAIT_SECONDS:
            return due - now
        if len(self._next_at) >= MOST_KEYS:
            self._next_at = {one: at for one, at in self._next_at.items() if at > now}
        self._next_at[key] = due + interval
        return due - now
