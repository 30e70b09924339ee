"""Cron expressions in a time zone: what they mean, and the instants at which they are due.

Fields, names and clock changes are those of Debian's cron, computed by `cronsim`: where the clock
is put forward, what was due in the hour that is skipped is due right after it; where it is put
back, what is due at a set hour is due once. An expression whose minute or hour begins with `*`
goes by elapsed time instead, and so once every hour also in the hour that is there twice.

Source: cron(8) and crontab(5) of Debian; https://github.com/cuu508/cronsim.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from orch.errors import UsageError, nearest

EXAMPLE = '"0 2 * * *" is every night at two; minute hour day month weekday'
FIELDS = ("minute", "hour", "day", "month", "weekday")
ANY = ("0", "0", "*", "*", "*")
NICKNAMES: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True)
class Cron:
    """A checked expression, as it was written, in a time zone."""

    text: str
    zone: str

    def instants(self, after: datetime) -> Iterator[datetime]:
        """When it is due, in UTC, each later than `after`, which is not naive; endless, unless
        nothing fits within fifty years.
        """
        from cronsim import CronSim

        zone = ZoneInfo(self.zone)
        fields = NICKNAMES.get(self.text.strip().lower(), self.text)
        local = after.astimezone(zone)
        if any(field.startswith("*") for field in fields.split()[:2]):
            first, last = _instants(local, zone)
            start = local.replace(tzinfo=None) - (last - first)
            found = _by_elapsed_time(CronSim(fields, start), zone)
        else:
            found = (each.astimezone(UTC) for each in CronSim(fields, local))
        last = after
        for instant in found:
            if instant > last:
                yield instant
                last = instant

    def next(self, after: datetime) -> datetime | None:
        """The first instant after another; None where there is none within fifty years."""
        return next(self.instants(after), None)

    def upcoming(self, after: datetime, count: int) -> list[datetime]:
        """The first instants after another."""
        return list(islice(self.instants(after), count))

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The instants after one and up to another."""
        for instant in self.instants(after):
            if instant > until:
                return
            yield instant


def parse(text: str, zone: str) -> Cron:
    """Check an expression of five fields, or a nickname such as @daily, and a time zone.

    Raises:
        UsageError: either cannot be understood, or the expression is never due; the message has a
            caret under what is wrong.
    """
    if zone not in available_timezones():
        raise UsageError(
            f"no time zone is called {zone!r}{_near_zones(zone)}",
            "write --timezone Europe/Berlin, or UTC",
        )
    _check(text)
    cron = Cron(text, zone)
    if cron.next(datetime.now(UTC)) is None:
        raise _never(text)
    return cron


def _by_elapsed_time(clock: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """When a clock on the wall shows these times: never one that is skipped, twice one that is
    there twice. `cronsim` would step over some by whole hours.
    """
    again: deque[datetime] = deque()
    for shown in clock:
        first, second = _instants(shown, zone)
        while again and again[0] < first:
            yield again.popleft()
        if first <= second:
            yield first
        if first < second:
            again.append(second)
    yield from again


def _instants(shown: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When a clock shows a time first and last; in the wrong order where it never does."""
    first, last = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return first, last


def _near_zones(zone: str) -> str:
    return nearest(zone, available_timezones()) if len(zone) > 2 else ""


def _check(text: str) -> None:
    if text.strip().startswith("@"):
        if text.strip().lower() not in NICKNAMES:
            raise _wrong(text, 0, len(text), f"no such nickname{nearest(text, NICKNAMES)}")
        return
    words = text.split()
    if len(words) != len(FIELDS):
        fields = "1 field" if len(words) == 1 else f"{len(words)} fields"
        what = f"{fields}, and a cron expression has five"
        raise _wrong(text, 0, len(text), what)
    for at, (field, word) in enumerate(zip(FIELDS, words, strict=True)):
        if not _fits([*ANY[:at], word, *ANY[at + 1 :]]):
            raise _wrong(text, _offset(text, at), len(word), f"this is no {field}")
    if not _fits(words):
        raise _never(text)


def _fits(words: list[str]) -> bool:
    """`cronsim` understands them, and a day of the month comes in the months."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(" ".join(words), datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError):  # the latter by a number of very many digits
        return False
    return True


def _offset(text: str, field: int) -> int:
    """Where a field begins."""
    end = 0
    for word in text.split()[:field]:
        end = text.index(word, end) + len(word)
    return text.index(text.split()[field], end)


def _never(text: str) -> UsageError:
    return UsageError(f"{text!r} is never due: no such day comes", EXAMPLE)


def _wrong(text: str, start: int, length: int, what: str) -> UsageError:
    caret = " " * start + "^" * max(1, length)
    return UsageError(f"the cron expression cannot be read\n  {text}\n  {caret} {what}", EXAMPLE)
