"""Times as they are written, and cron across daylight-saving changes, over many zones, against a plain reckoning."""

import datetime
import itertools
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gleitzeit.spec.moments import Cron, from_ms, parse_moment, time_zone, to_ms

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu",
         "Africa/Casablanca", "America/Santiago", "Pacific/Apia", "Asia/Tehran"]  # fmt: skip
HOUR = 3_600_000
EXPRESSIONS = ["* * * * *", "*/7 * * * *", "0 */6 * * *", "30 1 * * 0", "15 3 1 * *", "0 0 L * *", "0 12 * * MON#1"]
MOMENTS = st.integers(1_500_000_000_000, 1_900_000_000_000)


def utc(text: str) -> int:
    return to_ms(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC))


def times(expression: str, zone: str, after: str, number: int) -> list[str]:
    due = Cron(expression, zone).after(utc(after))
    return [f"{from_ms(next(due)):%m-%d %H:%M}" for _ in range(number)]


def test_a_time_that_is_left_out_is_due_when_the_clock_goes_on() -> None:
    # in Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, at 01:00 UTC
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert times("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 3) == [
        "03-29 01:00",
        "03-30 00:00",
        "03-30 00:30",
    ]


def test_a_time_that_comes_twice_is_due_once() -> None:
    # in Berlin the clock goes from 03:00 to 02:00 on 2026-10-25, at 01:00 UTC
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_what_recurs_within_the_hour_goes_on_evenly() -> None:
    for day in ("2026-03-29T00:00", "2026-10-25T00:00"):
        due = Cron("*/20 * * * *", "Europe/Berlin").after(utc(day))
        found = [next(due) for _ in range(12)]
        assert {b - a for a, b in itertools.pairwise(found)} == {20 * 60_000}


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Australia/Lord_Howe", "2026-04-04T15:00"),  # by half an hour
        ("Australia/Lord_Howe", "2026-10-03T15:30"),
        ("Antarctica/Troll", "2026-10-25T01:00"),  # by two
        ("America/St_Johns", "2006-04-02T03:31"),  # a minute past midnight
        ("America/St_Johns", "2006-10-29T02:31"),  # and back into the day before
        ("Europe/Berlin", "2026-03-29T01:00"),
    ],
)
def test_what_recurs_is_due_whenever_the_clock_shows_it(zone: str, change: str) -> None:
    tz, begin, end = time_zone(zone), utc(change) - 4 * HOUR, utc(change) + 4 * HOUR
    shown = [(at, from_ms(at, tz)) for at in range(begin + 60_000, end + 1, 60_000)]
    for expression, minutes, hours in (
        ("30 * * * *", {30}, set(range(24))),
        ("* 2 * * *", set(range(60)), {2}),
        ("*/15 1-2 * * *", {0, 15, 30, 45}, {1, 2}),
        ("0 */2 * * *", {0}, set(range(0, 24, 2))),
    ):
        due = itertools.takewhile(lambda at: at <= end, Cron(expression, zone).after(begin))
        assert list(due) == [at for at, clock in shown if clock.minute in minutes and clock.hour in hours]


@settings(max_examples=150)
@given(st.sampled_from(ZONES), st.integers(0, 59), st.integers(0, 23), MOMENTS)
def test_a_daily_time_is_due_once_a_day_by_the_wall_clock(zone: str, minute: int, hour: int, start: int) -> None:
    """Whatever the zone does: each day has exactly one time, at the minute that was said if that day has it."""
    tz = time_zone(zone)
    due = Cron(f"{minute} {hour} * * *", zone).after(start)
    found = [next(due) for _ in range(400)]
    assert found == sorted(set(found))
    local = [from_ms(at, tz) for at in found]
    days = [moment.date() for moment in local]
    assert len(set(days)) == len(days)
    for earlier, later in itertools.pairwise(days):
        gap = (later - earlier).days
        assert gap == 1 or (zone == "Pacific/Apia" and gap == 2)  # it has left out 2011-12-30
    for moment in local:
        wanted = moment.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
        exists = wanted == wanted.astimezone(datetime.UTC).astimezone(tz)
        if exists:
            assert (moment.hour, moment.minute, moment.fold) == (hour, minute, 0)
        else:
            assert (
                datetime.timedelta(0)
                < moment.replace(tzinfo=None) - wanted.replace(tzinfo=None)
                <= (datetime.timedelta(hours=24))
            )


@settings(max_examples=100)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(
        ["* * * * *", "*/7 * * * *", "0 */6 * * *", "30 1 * * 0", "15 3 1 * *", "0 0 L * *", "0 12 * * MON#1"]
    ),
    MOMENTS,
    st.integers(0, 40),
)
def test_where_one_begins_to_look_makes_no_difference(zone: str, expression: str, start: int, skipped: int) -> None:
    """What is due after a due time is the next one, also when it is asked anew: as after a restart."""
    cron = Cron(expression, zone)
    whole = cron.after(start)
    found = [next(whole) for _ in range(skipped + 5)]
    assert cron.next_after(found[skipped]) == found[skipped + 1]
    assert cron.next_after(found[skipped] - 1) == found[skipped]
    assert cron.next_after(found[skipped + 1] - 1) == found[skipped + 1]


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("61 * * * *", "UTC", "the minute '61' of '61 * * * *' is wrong: 0 to 59"),
        ("* 24 * * *", "UTC", "the hour '24'"),
        ("* * 32 * *", "UTC", "the day-of-month '32'"),
        ("* * * FOO *", "UTC", "the month 'FOO'"),
        ("* * * * 8", "UTC", "the day-of-week '8'"),
        ("60 * * * * *", "UTC", "the second '60'"),
        ("*/0 * * * *", "UTC", "the minute '*/0'"),
        ("0 0 30 2 *", "UTC", "'0 0 30 2 *' is never due: no month"),
        ("0 0 32 2 *", "UTC", "the day-of-month '32' of '0 0 32 2 *' is wrong: 1 to 31"),
        ("@every 5m", "UTC", "an interval is no cron"),
        ("* * *", "UTC", "has 3 fields; cron has five"),
        ("", "UTC", "has 0 fields"),
        ("@dayly", "UTC", "did you mean '@daily'?"),
        ("0 0 31 2,4 *", "UTC", "'0 0 31 2,4 *' is never due: no month"),
        ("* * * * *", "Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("* * * * *", "../../etc/passwd", "is no time zone"),
    ],
)
def test_what_is_wrong_names_the_field(expression: str, zone: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Cron(expression, zone)
    assert words in str(caught.value)


@given(st.text(alphabet="*0123456789/-,#LWMONFRI @", max_size=20))
def test_no_text_breaks_it(expression: str) -> None:
    try:
        cron = Cron(expression)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # a property: either of the two is fine
    else:
        assert cron.next_after(0) is not None


def test_moments() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    assert parse_moment("2026-12-24T18:00:00+01:00") == parse_moment("2026-12-24 18:00", berlin)
    assert parse_moment("2026-12-24T17:00:00Z") == parse_moment(1798131600) == utc("2026-12-24T17:00")
    for wrong in ("soon", "", None, True, -1, 1e300, "0001-01-01", [], "99999-01-01"):
        with pytest.raises(ValueError, match=r"."):
            parse_moment(wrong)
