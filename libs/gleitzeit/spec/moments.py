"""Points in time as authors write them, and cron: when they are due. UTC milliseconds inside; no clock.

Cron runs by the wall clock of its time zone, across daylight-saving changes as Debian's cron does: what falls into an
hour that is left out is due when the clock goes on, what falls into one that comes twice is due in the first of them,
and what recurs within an hour goes on evenly.
"""

import datetime
import zoneinfo
from collections.abc import Iterator
from typing import Final

from cronsim import CronSim, CronSimError

from gleitzeit.schemas import near

LAST_YEAR: Final = 9000
DAY_MS: Final = 86_400_000
UTC: Final = "UTC"
_NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_ALLOWED: Final = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L for the last one, LW for the last weekday",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 (Sunday) to 7, or SUN to SAT; MON#2 for the second, MONL for the last of the month",
}


def time_zone(name: str) -> datetime.tzinfo:
    """Raises ValueError, with the name that was meant."""
    if name.upper() in ("UTC", "Z"):
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        meant = near(name, zoneinfo.available_timezones())
        suggestion = f" (did you mean '{meant}'?)" if meant else ", as Europe/Berlin or America/New_York"
        raise ValueError(f"'{name}' is no time zone{suggestion}") from None


def to_ms(moment: datetime.datetime) -> int:
    """UTC milliseconds."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int, zone: datetime.tzinfo = datetime.UTC) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, zone)


def parse_moment(value: object, zone: datetime.tzinfo = datetime.UTC) -> int:
    """From `2026-12-24T18:00`, with or without offset (then in `zone`), `2026-12-24`, or seconds since 1970. Raises
    ValueError, in words for the author."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _within(round(value * 1000), value)
    if not isinstance(value, str):
        raise ValueError("a time is a text like '2026-12-24T18:00:00+01:00', or seconds since 1970")
    try:
        moment = datetime.datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError(f"'{value[:40]}' is no time like 2026-12-24T18:00:00+01:00 or 2026-12-24 18:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return _within(to_ms(moment), value)
    except OverflowError:
        raise ValueError(f"'{value[:40]}' is out of range") from None


def _within(milliseconds: int, value: object) -> int:
    if not 0 <= milliseconds < (LAST_YEAR - 1970) * 365 * 86_400_000:
        raise ValueError(f"{str(value)[:40]} is not between the years 1970 and {LAST_YEAR}")
    return milliseconds


class Cron:
    """When a cron expression of five fields, or six with seconds before them, is due. Raises ValueError, naming the
    field that is wrong."""

    def __init__(self, expression: str, zone: str = UTC) -> None:
        self.expression = expression.strip()
        self.zone = time_zone(zone)
        self._fields = _NAMED.get(self.expression.lower(), self.expression)
        if self._fields.startswith("@"):
            meant = near(self._fields, _NAMED)
            suggestion = f" (did you mean '{meant}'?)" if meant else f"; there are {', '.join(_NAMED)}"
            if self._fields.startswith("@every"):
                suggestion = "; an interval is no cron: say 'every'"
            raise ValueError(f"'{self.expression}' is no cron expression{suggestion}")
        try:
            CronSim(self._fields, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
        except CronSimError as error:
            if "day-of-month" in str(error) and _is_cron(_in_any_month(self._fields)):
                raise ValueError(f"'{self.expression}' is never due: no month that it names has such a day") from None
            raise ValueError(_complaint(self._fields, str(error))) from None
        minute, hour = self._fields.split()[-5:-3]
        self._even = minute.startswith("*") or hour.startswith("*")
        if self.next_after(0) is None:
            raise ValueError(f"'{self.expression}' is never due")

    def next_after(self, now: int) -> int | None:
        """The first time it is due after `now`; None if never again."""
        return next(self.after(now), None)

    def after(self, now: int) -> Iterator[int]:
        """All times it is due after `now`, in order, none twice."""
        last = now
        for moment in self._evenly(now) if self._even else CronSim(self._fields, from_ms(now, self.zone)):
            if moment.year >= LAST_YEAR:
                return
            due = to_ms(moment)
            if due > last:
                last = due
                yield due

    def _evenly(self, now: int) -> Iterator[datetime.datetime]:
        """Whenever the wall clock shows a time that fits: from one change of the zone's offset to the next. CronSim by
        itself leaves out times beside a change that is not by whole hours, or not at a full one, and may not end."""
        last: int | None = now
        while last is not None:
            begin, last = last, None
            for moment in CronSim(self._fields, from_ms(begin, datetime.timezone(self._offset(begin + 1)))):
                changed = self._changed(begin + 1, to_ms(moment))
                if changed is not None:
                    last = changed - 1
                    break
                yield moment
                begin = to_ms(moment)

    def _offset(self, at: int) -> datetime.timedelta:
        offset = from_ms(at, self.zone).utcoffset()
        assert offset is not None
        return offset

    def _changed(self, after: int, until: int) -> int | None:
        """When the zone's offset is first another than at `after`; None if not up to `until`."""
        offset = self._offset(after)
        low = after
        while low < until:
            high = min(low + DAY_MS, until)
            if self._offset(high) != offset:
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
                return high
            low = high
        return None


def _is_cron(fields: str) -> bool:
    try:
        CronSim(fields, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    except CronSimError:
        return False
    return True


def _in_any_month(fields: str) -> str:
    *before, _month, weekday = fields.split()
    return " ".join((*before, "*", weekday))


def _complaint(fields: str, said: str) -> str:
    parts = fields.split()
    if said.startswith("Wrong number"):
        fields_are = "minute hour day-of-month month day-of-week, or six with seconds before them"
        return f"'{fields}' has {len(parts)} field{'s' * (len(parts) != 1)}; cron has five: {fields_are}"
    field = said.removeprefix("Bad ")
    six = parts if len(parts) == 6 else ["0", *parts]
    wrong = six[_FIELDS.index(field)] if field in _FIELDS else fields
    return f"the {field} '{wrong}' of '{fields}' is wrong: {_ALLOWED.get(field, 'see cron')}, *, ranges, lists and */n"
