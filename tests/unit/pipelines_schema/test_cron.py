"""When schedules fire: crontab's five fields, time zones, hours that are skipped or repeated."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines_schema.cron import CronFault, next_firing, parse_cron

VIENNA = "Europe/Vienna"


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def firings(cron: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    """In local time with its offset."""
    moment, found = at(after, zone), []
    for _ in range(count):
        moment = next_firing(cron, zone, moment)
        assert moment.tzinfo is UTC
        found.append(moment.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


def days(cron: str, after: str, count: int) -> list[str]:
    return [found[:10] for found in firings(cron, after, count)]


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("* * * * *", "2026-03-10T10:08+00:00"),
        ("0 3 * * *", "2026-03-11T03:00+00:00"),
        ("*/15 * * * *", "2026-03-10T10:15+00:00"),
        ("7 10 * * *", "2026-03-11T10:07+00:00"),
        ("5-20/5,50 10 * * *", "2026-03-10T10:10+00:00"),
        ("0 0 1 JAN *", "2027-01-01T00:00+00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00+00:00"),
        ("59 23 31 dec *", "2026-12-31T23:59+00:00"),
    ],
)
def test_the_next_time_is_the_first_after_now(cron: str, first: str) -> None:
    assert firings(cron, "2026-03-10T10:07", 1) == [first]


def test_a_time_within_a_minute_is_after_that_minutes_firing() -> None:
    assert firings("7 10 * * *", "2026-03-10T10:07:30", 1) == ["2026-03-11T10:07+00:00"]
    assert firings("7 10 * * *", "2026-03-10T10:06:59.999", 1) == ["2026-03-10T10:07+00:00"]


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "Sun"])
def test_sunday_is_0_and_7(sunday: str) -> None:
    assert days(f"0 0 * * {sunday}", "2026-03-10", 2) == ["2026-03-15", "2026-03-22"]


def test_weekdays_are_counted_from_monday_as_1() -> None:
    assert days("0 3 * * 1-5", "2026-03-12T12:00", 3) == ["2026-03-13", "2026-03-16", "2026-03-17"]
    assert days("0 3 * * 5-7", "2026-03-10", 3) == ["2026-03-13", "2026-03-14", "2026-03-15"]


def test_with_both_days_restricted_either_matches() -> None:
    assert days("0 0 13 * 5", "2026-03-01", 5) == [
        "2026-03-06",
        "2026-03-13",
        "2026-03-20",
        "2026-03-27",
        "2026-04-03",
    ]
    assert days("0 0 31 2 1", "2026-01-15", 2) == ["2026-02-02", "2026-02-09"]


def test_a_field_that_begins_with_a_star_restricts_no_other() -> None:
    assert days("0 0 */2 * 1", "2026-03-01", 3) == ["2026-03-09", "2026-03-23", "2026-04-13"]


def test_a_leap_day_on_a_sunday_is_found_however_far_it_is() -> None:
    assert days("0 0 29 2 */7", "2076-03-01", 2) == ["2088-02-29", "2128-02-29"]


def test_a_time_zone_shifts_with_its_summer_time() -> None:
    assert firings("0 3 * * *", "2026-03-27T12:00", 3, VIENNA) == [
        "2026-03-28T03:00+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T03:00+02:00",
    ]


def test_a_time_that_the_clock_skips_fires_once_when_the_gap_is_over() -> None:
    assert firings("30 2 * * *", "2026-03-28T12:00", 2, VIENNA) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]
    assert firings("*/20 2,3 * * *", "2026-03-28T12:00", 4, VIENNA) == [
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:20+02:00",
        "2026-03-29T03:40+02:00",
        "2026-03-30T02:00+02:00",
    ]


def test_a_gap_at_midnight_loses_no_day() -> None:
    assert firings("0 0 * * *", "2026-09-05T12:00", 2, "America/Santiago") == [
        "2026-09-06T01:00-03:00",
        "2026-09-07T00:00-03:00",
    ]


def test_a_day_that_a_place_skipped_is_fired_at_its_end() -> None:
    assert firings("0 12 30 12 *", "2011-12-01", 1, "Pacific/Apia") == ["2011-12-31T00:00+14:00"]


def test_a_time_that_comes_twice_fires_the_first_time_alone() -> None:
    assert firings("30 2 * * *", "2026-10-24T12:00", 2, VIENNA) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]
    between = at("2026-10-25T02:10", VIENNA).replace(fold=1)
    assert next_firing("30 2 * * *", VIENNA, between) == at("2026-10-26T02:30", VIENNA)


def test_a_fold_that_goes_back_to_the_day_before_fires_once() -> None:
    """In Havana the clock goes from 01:00 to 00:00."""
    found = firings("30 0 * * *", "2026-10-31T12:00", 2, "America/Havana")
    assert found == ["2026-11-01T00:30-04:00", "2026-11-02T00:30-05:00"]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 * * 0", "*/20 1-3 */3 * 1", "59 23 31 * 2"]),
    st.sampled_from(["UTC", VIENNA, "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 2 * 365 * 24 * 60),
)
@example("*/7 * * * *", VIENNA, 298 * 24 * 60)
@example("*/7 * * * *", "Australia/Lord_Howe", 93 * 24 * 60)
def test_each_local_minute_that_matches_fires_once_and_no_other(
    cron: str, zone: str, minutes: int
) -> None:
    """Held against a look at each minute of a day."""
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    day = [start + timedelta(minutes=number) for number in range(1, 24 * 60 + 1)]
    local = {one: one.astimezone(ZoneInfo(zone)) for one in day}
    times = parse_cron(cron).times
    expected = [
        one
        for one in day
        if local[one].fold == 0 and local[one].time() in times and is_on(cron, local[one].date())
    ]
    fired = []
    while (moment := next_firing(cron, zone, fired[-1] if fired else start)) <= day[-1]:
        fired.append(moment)
    in_gap = {one for one in fired if one not in expected}
    assert [one for one in fired if one not in in_gap] == expected
    assert all(ends_a_gap(one, ZoneInfo(zone)) for one in in_gap)


def is_on(cron: str, day: date) -> bool:
    """By a reading of its own."""
    _, _, in_month, _, in_week = cron.split()
    by_month = {"*": True, "*/3": day.day % 3 == 1, "31": day.day == 31}[in_month]
    by_week = in_week == "*" or day.isoweekday() % 7 == int(in_week)
    if "*" in in_month or "*" in in_week:
        return by_month and by_week
    return by_month or by_week


def ends_a_gap(moment: datetime, zone: ZoneInfo) -> bool:
    offsets = [
        (moment - before).astimezone(zone).utcoffset() or timedelta()
        for before in (timedelta(), timedelta(seconds=1))
    ]
    return offsets[0] > offsets[1]


def test_the_next_time_costs_little_however_rare_it_is() -> None:
    with pytest.raises(CronFault, match="never fires"):
        parse_cron("0 0 30 2 *")
    assert next_firing("0 0 29 2 *", "UTC", at("2096-03-01")) == at("2104-02-29")
