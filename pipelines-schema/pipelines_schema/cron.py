"""When a schedule fires: five fields as crontab has them, in a time zone.

Each local time that matches is fired once. One that the clock skips (in spring) is fired when the
gap is over, together with all others of that gap; one that comes twice (in autumn) the first time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from pipelines_schema.problem import shown
from pipelines_schema.suggestions import closest

_SECOND = timedelta(seconds=1)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(?:(?P<any>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,4}))?")


class CronFault(Exception):
    """The text is no schedule; the message says why, as in `` `cron` {message} ``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """What may stand in one field."""

    name: str
    first: int
    last: int
    words: Mapping[str, int] = field(default_factory=dict)


def _words(words: str, first: int) -> dict[str, int]:
    return {word: number for number, word in enumerate(words.split(), start=first)}


_FIELDS = (
    _Span(name="minute", first=0, last=59),
    _Span(name="hour", first=0, last=23),
    _Span(name="day of the month", first=1, last=31),
    _Span(
        name="month",
        first=1,
        last=12,
        words=_words("jan feb mar apr may jun jul aug sep oct nov dec", 1),
    ),
    _Span(name="weekday", first=0, last=7, words=_words("sun mon tue wed thu fri sat", 0)),
)
_LEAP_YEAR = 2024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    times: tuple[time, ...]
    """Of a day on which it fires, in their order."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """From Sunday, which is 0."""
    either_day: bool
    """Both fields of days are restricted: a day that matches one of them is enough."""

    def after(self, moment: datetime, zone: tzinfo) -> datetime:
        """The first time after `moment` that it fires, in UTC."""
        days = self._dates_from(moment.astimezone(zone).date())
        day = next(one for one in days if _instant(one, self.times[-1], zone) > moment)
        at = bisect_right(self.times, moment, key=lambda time_: _instant(day, time_, zone))
        return _instant(day, self.times[at], zone)

    def _dates_from(self, first: date) -> Iterator[date]:
        for year in range(first.year, date.max.year):
            for month in sorted(self.months):
                if (year, month) < (first.year, first.month):
                    continue
                for number in range(1, monthrange(year, month)[1] + 1):
                    day = date(year, month, number)
                    if day >= first and self._is_on(day):
                        yield day

    def _is_on(self, day: date) -> bool:
        by_number, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_number or by_weekday) if self.either_day else (by_number and by_weekday)

    def fires_at_all(self) -> bool:
        """Whether one of its months has one of its days; each date meets each weekday some year."""
        longest = max(monthrange(_LEAP_YEAR, month)[1] for month in self.months)
        return self.either_day or min(self.days) <= longest


def parse_cron(text: str) -> Cron:
    """Raises CronFault, also where it would never fire."""
    if text.lower() in _NICKNAMES:
        raise CronFault(f"must have five fields: write {shown(_NICKNAMES[text.lower()])}")
    written = text.split()
    if len(written) != len(_FIELDS):
        raise CronFault(
            f"must have five fields, and has {len(written)}: minute, hour, day of the month, "
            'month, weekday, such as `"0 3 * * 1-5"`'
        )
    minutes, hours, days, months, weekdays = (
        _numbers(one, span) for one, span in zip(written, _FIELDS, strict=True)
    )
    cron = Cron(
        times=tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        either_day=not (written[2].startswith("*") or written[4].startswith("*")),
    )
    if not cron.fires_at_all():
        raise CronFault(f"{shown(text)} never fires: none of its months has one of its days")
    return cron


def _numbers(written: str, span: _Span) -> frozenset[int]:
    numbers: set[int] = set()
    for part in written.split(","):
        numbers.update(_range_of(part, span))
    return frozenset(numbers)


def _range_of(part: str, span: _Span) -> range:
    found = _PART.fullmatch(part)
    if found is None:
        raise CronFault(
            f"has the {span.name} {shown(part)}: write a number, `*`, a range such as `1-5`, "
            "`*/5`, or several of them with commas"
        )
    first = span.first if found["any"] else _number(found["first"], span)
    last = span.last if found["any"] else _number(found["last"] or found["first"], span)
    if first > last:
        raise CronFault(f"has the {span.name} {shown(part)}: a range goes from the lower number")
    if found["step"] is None:
        return range(first, last + 1)
    if first == last:
        raise CronFault(
            f"has the {span.name} {shown(part)}: a step needs a range: write "
            f"`{first}-{span.last}/{found['step']}`"
        )
    step = int(found["step"])
    if not 1 <= step <= last - first:
        raise CronFault(
            f"has the {span.name} {shown(part)}: the step must be from 1 to {last - first}"
        )
    return range(first, last + 1, step)


def _number(word: str, span: _Span) -> int:
    number = span.words.get(word.lower())
    if number is None and re.fullmatch("[0-9]{1,4}", word):
        number = int(word)
    if number is None or not span.first <= number <= span.last:
        raise CronFault(
            f"has the {span.name} {shown(word)}: it goes from {span.first} to {span.last}"
            + (", and by the first three letters of its English name" if span.words else "")
        )
    return number


def _instant(day: date, at: time, zone: tzinfo) -> datetime:
    """In UTC; never less for a later local time."""
    local = datetime.combine(day, at, zone)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    return _end_of_gap(local.replace(fold=1).astimezone(UTC), moment, zone)


def _end_of_gap(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """When the clock went on: after `before`, and not after `after`."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_problem(name: str) -> str | None:
    """What is wrong with the name of a time zone, or None."""
    if name in _zones():
        return None
    if not _zones():
        return "can't be looked up, as this machine knows no time zones: install tzdata"
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in sorted(_zones())}
    near = closest(name, sorted(_zones())) or by_city.get(name.lower())
    meant = f"did you mean {shown(near)}?" if near else "write one such as `Europe/Vienna`"
    return f"is no time zone: {meant}"


def next_firing(cron: str, timezone: str, after: datetime) -> datetime:
    """When a schedule fires next, in UTC. Raises CronFault, ZoneInfoNotFoundError."""
    return parse_cron(cron).after(after, ZoneInfo(timezone))
