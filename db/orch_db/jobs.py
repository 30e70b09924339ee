"""How sweeps go through the service's queue: queued → running → ended, and queued again when
their process was lost.

Each function is part of the caller's transaction; making a move again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, update
from sqlalchemy.orm import aliased

from orch_db.records import JobRecord
from orch_db.statements import Instant, alive, insert_once
from orch_db.tables import Job, Sweep
from orch_db.transitions import UNPLANNED

MOST_TRIES = 3  # processes of one job that may be lost
LOST = 7  # the exit code of a job whose processes were all lost: as where workers are


def enqueue(
    connection: Connection,
    sweep_id: str,
    flags: Mapping[str, Any],
    instant: str,
    priority: int = 0,
    after: str | None = None,
) -> bool:
    """Queue a sweep, again where it had ended; False where it waits or runs already."""
    job = JobRecord(sweep_id, "queued", priority, dict(flags), instant, after)
    values = dict(vars(job))
    insert_once(connection, Job, values)
    connection.execute(
        update(Job).where(Job.sweep_id == sweep_id, Job.state == "ended").values(**values)
    )
    found = connection.execute(select(Job.state, Job.created_at).where(Job.sweep_id == sweep_id))
    queued = tuple(found.one()) == ("queued", instant)
    if queued:
        _wait_again(connection, sweep_id)
    return queued


def _wait_again(connection: Connection, sweep_id: str) -> None:
    """A sweep that failed before it was planned waits again to be."""
    connection.execute(
        update(Sweep)
        .where(Sweep.id == sweep_id, Sweep.board == UNPLANNED, Sweep.state == "failed")
        .values(state="queued", reason=None, finished_at=None)
    )


def claim(
    connection: Connection, service: str, most: int, seconds: float, instant: str
) -> JobRecord | None:
    """Take the first job that may run, unless the service runs as many as it may.

    The order is priority, then age. Two services never take the same one: rows that another
    transaction has locked are passed over (PostgreSQL), or it waits for its turn (SQLite).
    """
    running = select(func.count()).where(Job.service == service, Job.state == "running")
    if (connection.scalar(running) or 0) >= most:
        return None
    first = (
        select(Job.sweep_id)
        .where(Job.state == "queued", _free())
        .order_by(Job.priority.desc(), Job.created_at, Job.sweep_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    sweep_id = connection.scalar(first)
    if sweep_id is None:
        return None
    claimed = connection.execute(
        update(Job)
        .where(Job.sweep_id == sweep_id, Job.state == "queued")
        .values(
            state="running",
            service=service,
            held_until=Instant() + seconds,
            process=None,
            started_at=instant,
            tries=Job.tries + 1,
        )
        .returning(*Job.__table__.columns)
    )
    row = claimed.mappings().first()
    return JobRecord(**row) if row is not None else None


def _free() -> ColumnElement[bool]:
    """The job waits for no other."""
    before = aliased(Job)
    open_before = select(before.sweep_id).where(
        before.sweep_id == Job.after, before.state != "ended"
    )
    return or_(Job.after.is_(None), ~open_before.exists())


def started(connection: Connection, sweep_id: str, service: str, process: str) -> None:
    """Record which process runs a job."""
    connection.execute(update(Job).where(*_of(sweep_id, service)).values(process=process))


def hold(connection: Connection, service: str, seconds: float) -> None:
    """Hold all the jobs of a service for some seconds more."""
    connection.execute(
        update(Job)
        .where(Job.service == service, Job.state == "running")
        .values(held_until=Instant() + seconds)
    )


def adopt(connection: Connection, sweep_id: str, former: str, service: str, until: float) -> bool:
    """Take over a running job of a service that is gone, whose process is still there."""
    taken = connection.execute(
        update(Job)
        .where(*_of(sweep_id, former))
        .values(service=service, held_until=Instant() + until)
    )
    return taken.rowcount == 1


def end(
    connection: Connection, sweep_id: str, process: str, code: int, message: str, instant: str
) -> bool:
    """Record how the process of a job ended; False where another runs it now, or it ended."""
    ended = connection.execute(
        update(Job)
        .where(Job.sweep_id == sweep_id, Job.state == "running", Job.process == process)
        .values(
            state="ended",
            exit_code=code,
            message=message or None,
            finished_at=instant,
            held_until=None,
        )
    )
    if ended.rowcount == 1:
        _fail_unplanned(connection, sweep_id, message, instant)
    return ended.rowcount == 1


def _fail_unplanned(connection: Connection, sweep_id: str, why: str, instant: str) -> None:
    """A sweep that ended before it was planned has failed; nobody else says so."""
    connection.execute(
        update(Sweep)
        .where(Sweep.id == sweep_id, Sweep.board == UNPLANNED, Sweep.state == "queued")
        .values(state="failed", reason=why or None, finished_at=instant)
    )


def lose(connection: Connection, sweep_id: str, service: str, why: str, instant: str) -> str:
    """Queue a job again whose process is gone, or end it after too many; returns its state."""
    job = connection.execute(
        select(Job.tries).where(*_of(sweep_id, service)).with_for_update()
    ).first()
    if job is None:
        return connection.scalar(select(Job.state).where(Job.sweep_id == sweep_id)) or "ended"
    again = job.tries < MOST_TRIES
    ended: dict[str, Any] = {"state": "ended", "exit_code": LOST, "finished_at": instant}
    connection.execute(
        update(Job)
        .where(Job.sweep_id == sweep_id)
        .values(
            **({"state": "queued"} if again else ended),
            service=None,
            held_until=None,
            process=None,
            message=why,
        )
    )
    if not again:
        _fail_unplanned(connection, sweep_id, why, instant)
    return "queued" if again else "ended"


def abandoned(connection: Connection) -> list[tuple[str, str]]:
    """Running jobs, and their services, that neither a service nor a driver holds any more."""
    found = connection.execute(
        select(Job.sweep_id, Job.service)
        .join(Sweep, Sweep.id == Job.sweep_id)
        .where(Job.state == "running", ~alive(Job.held_until))
        .where(or_(Sweep.holder.is_(None), ~alive(Sweep.held_until)))
    )
    return [(row.sweep_id, row.service) for row in found]


def _of(sweep_id: str, service: str) -> tuple[ColumnElement[bool], ...]:
    return Job.sweep_id == sweep_id, Job.service == service, Job.state == "running"
