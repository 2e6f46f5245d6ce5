"""How long a server that has too much to do wants us to wait, in whichever way it says so. Pure."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

_UNIT: Final = r"ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?"
_ONE: Final = rf"\d+(?:\.\d+)?\s*(?:{_UNIT})(?![a-z])"
_PART: Final = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})(?![a-z])", re.IGNORECASE)
_SPAN: Final = re.compile(rf"{_ONE}(?:(?:\s|,|and)*{_ONE})*", re.IGNORECASE)
_IN_WORDS: Final = re.compile(
    rf"(?:again|retry|retrying|resets?|available|refreshes)\s+(?:in|after)\s+(?:about\s+)?({_SPAN.pattern})"
    rf"|wait\s+(?:for\s+)?(?:about\s+)?({_SPAN.pattern})"
    rf"|(?:retry|again)\s[\w\s]{{0,30}}\b(?:in|after)\s+({_SPAN.pattern})",
    re.IGNORECASE,
)
_SECONDS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0, "s": 1.0}
_CLOCK: Final = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
_DURATION: Final = re.compile(r"P(?:\d+D)?T?(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?", re.IGNORECASE)  # of ISO 8601
_KEYS: Final = {"retryafter": 1.0, "retryafterseconds": 1.0, "retrydelay": 1.0, "retryafterms": 0.001}
"""What members of an answer are called that say it, without dashes, and the seconds that their numbers count."""
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


def told(answer: object, now: float) -> float | None:
    """The same by what a server says (its `answer` is decoded JSON, or a text): in a member of its own, as Google has
    it, or in words, as OpenAI does: `Please try again in 1.2s`."""
    for seconds, value in _members(answer):
        wait = _of_member(value, seconds, now)
        if wait is not None:
            return wait
    matched = _IN_WORDS.search(answer if isinstance(answer, str) else msgspec.json.encode(answer).decode())
    return _span(next(filter(None, matched.groups()))) if matched else None


def until_reset(headers: Mapping[str, str], answer: object, now: float) -> float | None:
    """The same by the other headers of a server that refuses for its limit: OpenAI's and Anthropic's name when each
    limit is as at the beginning, and OpenRouter passes on those of whom it asks."""
    match answer:
        case {"error": {"metadata": {"headers": dict(passed_on)}}}:
            headers = {str(name).lower(): str(value) for name, value in passed_on.items()}
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


def _members(answer: object, depth: int = 6) -> Iterator[tuple[float, Any]]:
    """Of those that say it what they count, and what they have."""
    if isinstance(answer, list) and depth:
        for one in answer:
            yield from _members(one, depth - 1)
    elif isinstance(answer, dict) and depth:
        for name, value in answer.items():
            seconds = _KEYS.get(str(name).lower().replace("_", "").replace("-", ""))
            if seconds is not None:
                yield seconds, value
            else:
                yield from _members(value, depth - 1)


def _of_member(value: object, seconds: float, now: float) -> float | None:
    match value:
        case bool():
            return None
        case {"seconds": int(whole) | str(whole), **rest}:  # Google's, where it is no text
            nanos, found = rest.get("nanos"), _number(str(whole))
            return None if found is None else found + (nanos / 1e9 if isinstance(nanos, int) else 0.0)
        case int() | float() | str():
            found = _seconds(str(value).strip(), now)
            return None if found is None else found * (1.0 if _SPAN.fullmatch(str(value)) else seconds)
    return None


def _seconds(text: str, now: float) -> float | None:
    """`20`, `1.5s`, `2 seconds`, `6m0s`, `PT20S`, `00:00:20`, seconds or milliseconds since 1970, a date of HTTP or of
    RFC 3339; or several of them, of which the longest counts."""
    text = text.strip("\"' ")
    number = _number(text)
    if number is not None:
        if number < _EPOCH_SECONDS:
            return number
        return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now)
    if _SPAN.fullmatch(text):
        return _span(text)
    if len(text) > 2 and _DURATION.fullmatch(text):
        return _span(text[1:].replace("T", "").replace("t", ""))
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = map(float, clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    for date in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return max(0.0, date(text).timestamp() - now)
        except ValueError:
            continue
    several = [wait for part in text.split(",") if (wait := _number(part.strip())) is not None]
    return max(several, default=None)


def _span(text: str) -> float:
    """`1m30s`, `1 minute and 30 seconds`, `700ms`."""
    return sum(
        float(count) * (0.001 if unit.lower().startswith(("ms", "mil")) else _SECONDS[unit[0].lower()])
        for count, unit in _PART.findall(text)
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
