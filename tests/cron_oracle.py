"""When a cron expression is due, found by looking at every minute of ten years.

A clock on a wall is read at each UTC minute. What goes by elapsed time is due wherever the clock
shows a time that fits. What is due at a set minute and hour is due the first time that the clock
shows it; where the clock is put forward, right after, if a time that fits was skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

START, END = datetime(2015, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
MIDNIGHT = START - timedelta(days=1)  # where days and minutes on the wall are counted from
MINUTE = timedelta(minutes=1)
STRIDE = 360  # minutes within which a zone changes its clock once at most
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
Minutes = Any  # an array of numbers


@dataclass(frozen=True)
class Wall:
    """A zone's clock: day and minute that it shows at each UTC minute, and where it is changed."""

    day: Minutes
    minute: Minutes
    changes: tuple[int, ...]

    def shown(self, at: int) -> int:
        """What it shows at a UTC minute, as minutes since MIDNIGHT on the wall."""
        return int(self.day[at]) * 1440 + int(self.minute[at])

    def around(self, days: int) -> Iterator[tuple[int, int]]:
        """The minutes around each change."""
        for change in self.changes:
            yield max(0, change - days * 1440), min(len(self.day), change + days * 1440)


def wall(zone: str) -> Wall:
    """Read a zone's clock."""
    total = (END - START) // MINUTE
    place = ZoneInfo(zone)

    @cache
    def offset(minute: int) -> int:
        away = (START + minute * MINUTE).astimezone(place).utcoffset()
        assert away is not None
        return away // MINUTE

    changes: list[int] = []
    for before in range(0, total, STRIDE):
        low, high = before, min(before + STRIDE, total)
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        changes.append(high)
    edges = [0, *changes, total]
    pieces = [np.arange(edge, end) + offset(edge) for edge, end in pairwise(edges)]
    shown = np.concatenate(pieces) + (START - MIDNIGHT) // MINUTE
    return Wall(shown // 1440, shown % 1440, tuple(changes))


def due(expression: str, clock: Wall) -> Minutes:
    """The UTC minutes at which an expression is due."""
    of_day, of_year = _tables(expression)
    found = of_year[clock.day]
    found &= of_day[clock.minute]
    minute, hour = expression.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return np.flatnonzero(found)
    for change in clock.changes:
        before, after = clock.shown(change - 1) + 1, clock.shown(change)
        if after > before:
            skipped = np.arange(before, after)
            found[change] |= (of_day[skipped % 1440] & of_year[skipped // 1440]).any()
        else:
            found[change : change + before - after] = False
    return np.flatnonzero(found)


def instants(minutes: Minutes) -> list[datetime]:
    """UTC minutes as instants."""
    return [START + int(each) * MINUTE for each in minutes]


def _tables(expression: str) -> tuple[Any, Any]:
    """Which minutes of a day fit, and which days."""
    minute, hour, day, month, weekday = expression.upper().split()
    minutes, hours = _numbers(minute, 0, 59), _numbers(hour, 0, 23)
    of_day = [at % 60 in minutes and at // 60 in hours for at in range(1440)]
    days = [MIDNIGHT.date() + timedelta(number) for number in range((END - MIDNIGHT).days + 2)]
    dates, months = _numbers(day, 1, 31), _numbers(month, 1, 12, MONTHS)
    weekdays = {each % 7 for each in _numbers(weekday, 0, 7, DAYS)}
    together = all if day.startswith("*") or weekday.startswith("*") else any
    of_year = [
        each.month in months and together((each.day in dates, each.isoweekday() % 7 in weekdays))
        for each in days
    ]
    return np.array(of_day), np.array(of_year)


def _numbers(field: str, least: int, most: int, names: list[str] | None = None) -> set[int]:
    """What a field allows."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, dash, high = span.partition("-")
        if span == "*":
            low, high, dash = str(least), str(most), "-"
        ends = [_number(low, least, names), _number(high if dash else low, least, names)]
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


def _number(word: str, least: int, names: list[str] | None) -> int:
    return names.index(word) + least if names and word in names else int(word)
