"""What becomes of the instants of a schedule that have come: which fire, which are skipped, why.

Nothing here reads a clock or a database.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orch.service.cron import Cron
from orch_db.records import ScheduleRecord

GRACE = timedelta(seconds=15)  # an instant decided later than this was missed
MOST_FIRES = 50  # late instants that fire at one time, in less than a leader may be silent
MOST_ROWS = 100  # instants that are skipped at one time and have a row of their own


@dataclass(frozen=True)
class Skip:
    """Instants that do not fire, the last of them and their number, and why."""

    due: datetime
    instants: int
    reason: str


@dataclass(frozen=True)
class Due:
    """Everything that is decided at one time; `until` is the last instant it covers."""

    fire: tuple[datetime, ...]
    skipped: tuple[Skip, ...]
    until: datetime


def read(instant: str) -> datetime:
    """An instant as rows have it."""
    return datetime.fromisoformat(instant).astimezone(UTC)


def written(instant: datetime) -> str:
    """An instant as rows have it: UTC, ISO 8601, sorted as it is ordered."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds")


def cron(schedule: ScheduleRecord) -> Cron:
    """The expression of a schedule, in its zone."""
    return Cron(schedule.cron, schedule.timezone)


def ready_at(schedule: ScheduleRecord, instant: datetime) -> datetime:
    """When an instant fires: later by its jitter, which is the same whoever computes it."""
    text = f"{schedule.id} {written(instant)}"
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
    return instant + timedelta(seconds=share * schedule.jitter_seconds)


def is_over(schedule: ScheduleRecord, now: datetime) -> bool:
    """True when no instant of a schedule is left."""
    following = cron(schedule).next(read(schedule.decided_until))
    last = read(schedule.until) if schedule.until is not None else None
    return following is None or (last is not None and following > last and now > last)


def decide(schedule: ScheduleRecord, now: datetime) -> Due | None:
    """What becomes of the instants since the last that was decided; None where none has come.

    An instant is on time within 15 seconds. With the catch-up "none" only such fire; with
    "latest" the last of all that came together does, with "all" each of them, so many at a time;
    those older than the window never do. All others are skipped, and say why.
    """
    since = read(schedule.decided_until)
    came: list[datetime] = []
    late, ready = 0, since
    window = timedelta(seconds=schedule.window_seconds)
    most = MOST_FIRES if schedule.catch_up == "all" else math.inf
    for instant in cron(schedule).between(since, _end(schedule, now)):
        ready = max(ready, ready_at(schedule, instant))  # none overtakes the one before
        if ready > now:
            break
        came.append(instant)
        late += now - ready > GRACE
        most -= now - instant <= window
        if most <= 0:
            break  # the others are decided next
    if not came:
        return None
    kept = [] if schedule.catch_up == "none" else [e for e in came[:late] if now - e <= window]
    fire = [*kept, *came[late:]]
    if schedule.catch_up == "latest":
        fire = fire[-1:]
    chosen = set(fire)
    skipped = _skips(schedule, [e for e in came if e not in chosen], fire, now, window)
    return Due(tuple(fire), skipped, came[-1])


def _end(schedule: ScheduleRecord, now: datetime) -> datetime:
    return now if schedule.until is None else min(now, read(schedule.until))


def _skips(
    schedule: ScheduleRecord,
    instants: list[datetime],
    fire: list[datetime],
    now: datetime,
    window: timedelta,
) -> tuple[Skip, ...]:
    """Each with a row of its own, but for the oldest of very many, which share one."""
    older, recent = instants[:-MOST_ROWS], instants[-MOST_ROWS:]
    rows = [Skip(older[-1], len(older), "missed: nothing ran the schedules")] if older else []
    for instant in recent:
        if schedule.catch_up == "none":
            why = f"missed by {_span(now - instant)}: nothing ran the schedules"
        elif now - instant > window:
            why = f"missed by {_span(now - instant)}, more than its window of {_span(window)}"
        else:
            why = f"missed: the one due at {written(fire[-1])} stands for it" if fire else "missed"
        rows.append(Skip(instant, 1, why))
    return tuple(rows)


def _span(length: timedelta) -> str:
    """A length of time for people: 34 s, 12 m, 3 h, 2 d."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
