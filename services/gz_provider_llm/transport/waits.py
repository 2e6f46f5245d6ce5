"""How long a server that has too much to do wants us to wait, in whichever way it says so. Pure."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_IN_WORDS: Final = re.compile(rf'(?:try again in |retry after |"retryDelay":")({_SPAN.pattern}|\d+ seconds?)')
_EPOCH_SECONDS, _EPOCH_MS = 1e9, 1e12  # a number from here on is no number of seconds to wait


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds by `Retry-After`, which has them or a date; None if it is not there. `headers` ask for any case.

    `now` is in seconds since 1970, as the dates are that it is compared with.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    return _seconds(value, now) if value else None


def until_reset(headers: Mapping[str, str], answer: object, now: float) -> float | None:
    """The same of a server that refuses for its limit without that header: by what it says (its `answer` is decoded
    JSON, or a text), or by its other headers.

    OpenAI says `try again in 1.2s`, and names when each limit is as at the beginning; so does Anthropic. Google has a
    `retryDelay`, and OpenRouter passes on the headers of those whom it asks.
    """
    match answer:
        case {"error": {"metadata": {"headers": dict(passed_on)}}}:
            headers = {str(name).lower(): str(value) for name, value in passed_on.items()}
    text = answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()
    if matched := _IN_WORDS.search(text):
        return _seconds(matched[1].partition(" ")[0], now)
    limits = list(_limits(headers, now))
    # A limit that is not used up may still be too small for this request; which one it is nobody says.
    waits = [wait for wait, used_up in limits if used_up] or [wait for wait, _ in limits]
    return max(waits, default=None)


def _limits(headers: Mapping[str, str], now: float) -> Iterator[tuple[float, bool]]:
    """Each limit of which the headers tell: seconds until it begins anew, and whether it is used up."""
    for name, value in headers.items():
        lower = name.lower()
        if "ratelimit" in lower and "reset" in lower and (wait := _seconds(value.strip(), now)) is not None:
            yield wait, headers.get(lower.replace("reset", "remaining"), "").strip() == "0"


def _seconds(text: str, now: float) -> float | None:
    """`20`, `1.5s`, `6m0s`, seconds or milliseconds since 1970, or a date of HTTP or of RFC 3339."""
    number = _number(text)
    if number is not None:
        if number < _EPOCH_SECONDS:
            return number
        return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now)
    if _SPAN.fullmatch(text):
        return sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))
    for date in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return max(0.0, date(text).timestamp() - now)
        except ValueError:
            continue
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
