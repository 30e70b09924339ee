"""Schedules and their fires, who may make them, and what is told of them: the moves.

Each function is part of the caller's transaction; making a move again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from orch_db import jobs, transitions
from orch_db.errors import LostLeadError, NameTakenError
from orch_db.records import FireRecord, NoticeRecord, ScheduleRecord, SweepRecord
from orch_db.statements import Instant, alive, insert_once
from orch_db.tables import Fire, Leader, Notice, Schedule, Sweep


@dataclass(frozen=True)
class NewSweep:
    """A sweep to queue as words alone, and how."""

    sweep: SweepRecord
    flags: Mapping[str, Any]
    priority: int = 0
    after: str | None = None


@dataclass(frozen=True)
class MoreTrials:
    """So many trials more for a sweep, and its place in the queue."""

    sweep_id: str
    trials: int
    flags: Mapping[str, Any]
    priority: int = 0


@dataclass(frozen=True)
class Decision:
    """What becomes of a schedule's instants up to one of them: all of it is recorded, or nothing.

    `replaced` are sweeps that are asked to end. `blocked` and `state` become the schedule's.
    """

    schedule: ScheduleRecord
    decided_until: str
    fires: tuple[FireRecord, ...] = ()
    new: tuple[NewSweep, ...] = ()
    more: MoreTrials | None = None
    replaced: tuple[str, ...] = ()
    notices: tuple[NoticeRecord, ...] = ()
    blocked: str | None = None
    state: str = "active"


# ── who leads ───────────────────────────────────────────────────────────────────────────────


def lead(
    connection: Connection, name: str, holder: str, seconds: float, gone: str | None = None
) -> int | None:
    """Lead for some seconds, or go on with it; returns the epoch, None where another leads.

    `gone` names a leader that is known to be gone, whose time need not be waited for.
    """
    first = {"name": name, "holder": holder, "epoch": 0, "held_until": 0.0}
    insert_once(connection, Leader, first)
    found = connection.execute(
        select(Leader.holder, Leader.epoch, alive(Leader.held_until).label("alive"))
        .where(Leader.name == name)
        .with_for_update()
    ).one()
    mine = found.holder == holder and found.epoch > 0
    if found.alive and not mine and found.holder != gone:
        return None
    epoch = found.epoch if mine and found.alive else found.epoch + 1
    connection.execute(
        update(Leader)
        .where(Leader.name == name)
        .values(holder=holder, epoch=epoch, held_until=Instant() + seconds)
    )
    return epoch


def resign(connection: Connection, name: str, holder: str) -> None:
    """Let another lead at once."""
    connection.execute(
        update(Leader).where(Leader.name == name, Leader.holder == holder).values(held_until=0.0)
    )


def require_leader(connection: Connection, name: str, holder: str, epoch: int) -> None:
    """Refuse to go on where another leads by now; holds that off until the transaction ends.

    Raises:
        LostLeadError: it does.
    """
    mine = select(Leader.epoch).where(
        Leader.name == name,
        Leader.holder == holder,
        Leader.epoch == epoch,
        alive(Leader.held_until),
    )
    if connection.execute(mine.with_for_update(read=True)).first() is None:
        raise LostLeadError


# ── schedules ───────────────────────────────────────────────────────────────────────────────


def add(connection: Connection, schedule: ScheduleRecord) -> None:
    """Record a new schedule.

    Raises:
        NameTakenError: another has its name.
    """
    insert_once(connection, Schedule, asdict(schedule))  # waits for one that inserts the name now
    named = select(Schedule.id).where(Schedule.name == schedule.name)
    if connection.scalar(named) not in (schedule.id, None):
        raise NameTakenError(
            f"a schedule is called {schedule.name!r} already; nothing was changed",
            f"orch schedules show {schedule.name}",
        )


def change(connection: Connection, schedule_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a schedule: its state, from where it goes on."""
    connection.execute(update(Schedule).where(Schedule.id == schedule_id).values(**values))


def remove(connection: Connection, schedule_id: str) -> None:
    """Delete a schedule and the history of its fires; the sweeps it made stay."""
    mine = select(Schedule.id).where(Schedule.id == schedule_id)
    connection.execute(mine.with_for_update())  # no decision adds fires from here on
    connection.execute(delete(Fire).where(Fire.schedule_id == schedule_id))
    connection.execute(delete(Schedule).where(Schedule.id == schedule_id))


def decide(connection: Connection, made: Decision) -> bool:
    """Record what becomes of instants, with the sweeps that they make; False where it was decided
    otherwise, or has been recorded already.
    """
    schedule = made.schedule
    moved = connection.execute(
        update(Schedule)
        .where(
            Schedule.id == schedule.id,
            Schedule.state == "active",
            Schedule.decided_until == schedule.decided_until,
        )
        .values(decided_until=made.decided_until, blocked=made.blocked, state=made.state)
    )
    if moved.rowcount != 1:
        return False
    _fire(connection, made)
    return True


def run_now(connection: Connection, made: Decision) -> None:
    """Fire beside what is due; where its instant is taken, it was recorded already."""
    (fire,) = made.fires
    there = select(Fire.due_at).where(
        Fire.schedule_id == fire.schedule_id, Fire.due_at == fire.due_at
    )
    if connection.execute(there).first() is None:
        _fire(connection, made)


def _fire(connection: Connection, made: Decision) -> None:
    schedule_id = made.schedule.id
    for new in made.new:
        row = asdict(new.sweep)
        del row["trials"]
        insert_once(connection, Sweep, row)
        instant = new.sweep.created_at
        jobs.enqueue(connection, new.sweep.id, new.flags, instant, new.priority, new.after)
    for replaced in made.replaced:  # one of the new may replace another
        transitions.request(connection, replaced, "cancel", made.fires[-1].created_at, None)
    if made.more is not None:
        _extend(connection, made.more, made.fires[-1].created_at)
    for fire in made.fires:
        connection.execute(insert(Fire).values(**asdict(fire)))
    last = [fire.sweep_id for fire in made.fires if fire.sweep_id]
    if last:
        change(connection, schedule_id, {"sweep_id": last[-1]})
    tell(connection, made.notices)


def _extend(connection: Connection, more: MoreTrials, instant: str) -> None:
    """Give a sweep more trials and queue it, where it has been planned; else it will run all."""
    spec = connection.execute(
        select(Sweep.spec).where(Sweep.id == more.sweep_id).with_for_update()
    ).scalar_one()
    former = int(spec["trials"])
    transitions.extend(connection, more.sweep_id, former, former + more.trials)
    jobs.enqueue(connection, more.sweep_id, more.flags, instant, more.priority)


# ── notices ─────────────────────────────────────────────────────────────────────────────────


def tell(connection: Connection, notices: Iterable[NoticeRecord]) -> None:
    """Queue what is to be told; a notice that is there already is not told again."""
    for notice in notices:
        insert_once(connection, Notice, {**asdict(notice), "next_at": 0.0})


def told(connection: Connection, notice_id: str, instant: str) -> None:
    """Record that a notice arrived."""
    connection.execute(
        update(Notice)
        .where(Notice.id == notice_id, Notice.delivered_at.is_(None))
        .values(delivered_at=instant, error=None, tries=Notice.tries + 1, next_at=None)
    )


def untold(connection: Connection, notice_id: str, error: str, pause: float | None) -> None:
    """Record that a notice was refused; it is sent again after a pause, or never."""
    connection.execute(
        update(Notice)
        .where(Notice.id == notice_id, Notice.delivered_at.is_(None))
        .values(
            error=error,
            tries=Notice.tries + 1,
            next_at=None if pause is None else Instant() + pause,
        )
    )
