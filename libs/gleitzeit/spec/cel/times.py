"""Points in time and lengths of time in expressions: `timestamp(a.at) + duration("1h") > timestamp(b.at)`.

While an expression is computed they are values of their own; what it gives is JSON again: a time is a text in UTC as
`2026-03-01T12:00:00Z`, a length one as `3600s`.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from gleitzeit.spec.durations import parse_duration

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


def timestamp(value: Any) -> datetime:
    """From a text (without a zone it is in UTC), or from seconds since 1970."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _EPOCH + timedelta(seconds=value)
    try:
        found = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no time like '2026-03-01T12:00:00Z'") from None
    if found is None:
        raise TypeError
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)


def duration(value: Any) -> timedelta:
    """From `1h30m`, `90s`, `-5m`, or from seconds."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and value.strip().startswith("-"):
        return -timedelta(seconds=parse_duration(value.strip()[1:]))
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return -timedelta(seconds=parse_duration(-value))
    return timedelta(seconds=parse_duration(value))


def is_time(value: object) -> bool:
    return isinstance(value, datetime | timedelta)


def plain(value: Any) -> Any:
    """As JSON has it, also within lists and maps."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def calculate(operator: str, left: Any, right: Any) -> Any:
    """Raises TypeError where it has no meaning, OverflowError beyond the years 1 to 9999."""
    if operator == "+" or (operator == "-" and not (isinstance(left, timedelta) and isinstance(right, datetime))):
        return left + right if operator == "+" else left - right
    raise TypeError


def _part(of_time: Callable[[datetime], int], of_length: Callable[[timedelta], int] | None = None) -> Any:
    def read(value: Any, zone: Any = None) -> int:
        if isinstance(value, timedelta) and of_length is not None and zone is None:
            return of_length(value)
        if not isinstance(value, datetime):
            raise TypeError
        return of_time(value if zone is None else value.astimezone(_zone(zone)))

    return read


def _zone(name: Any) -> tzinfo:
    if not isinstance(name, str):
        raise TypeError
    if offset := _OFFSET.fullmatch(name):
        found = datetime.fromisoformat(f"2000-01-01T00:00:00{offset[0]}").tzinfo
        assert found is not None
        return found
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name[:40]!r} is no time zone like 'Europe/Berlin' or '+02:00'") from None


_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)

FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "timestamp": (timestamp, 1, 1),
    "duration": (duration, 1, 1),
    "getFullYear": (_part(lambda at: at.year), 1, 2),
    "getMonth": (_part(lambda at: at.month - 1), 1, 2),
    "getDate": (_part(lambda at: at.day), 1, 2),
    "getDayOfMonth": (_part(lambda at: at.day - 1), 1, 2),
    "getDayOfYear": (_part(lambda at: at.timetuple().tm_yday - 1), 1, 2),
    "getDayOfWeek": (_part(lambda at: at.isoweekday() % 7), 1, 2),
    "getHours": (_part(lambda at: at.hour, lambda length: int(length / _HOUR)), 1, 2),
    "getMinutes": (_part(lambda at: at.minute, lambda length: int(length / _MINUTE)), 1, 2),
    "getSeconds": (_part(lambda at: at.second, lambda length: int(length.total_seconds())), 1, 2),
    "getMilliseconds": (
        _part(lambda at: at.microsecond // 1000, lambda length: int(length.total_seconds() * 1000) % 1000), 1, 2,
    ),
}  # fmt: skip
"""As CEL has them: months and days of the month and of the year count from 0, days of the week from Sunday."""
