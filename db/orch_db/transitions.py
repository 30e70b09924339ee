"""How sweeps, trials and their attempts go from state to state: every move, in one place.

A trial is queued → running → completed | pruned | failed | cancelled, or queued again when its
attempt was lost or interrupted. An attempt is running → completed | pruned | failed | lost |
interrupted, and its number is the trial's token: what an earlier attempt says is refused. A sweep
has one driver at a time, which holds it until a deadline by the database's clock and renews that;
the writes of a driver that lost its sweep are refused.

Each function is part of the caller's transaction. Making a move again that was made changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, update

from orch_db.errors import LostSweepError, NotFoundError
from orch_db.records import AttemptRecord, EpochRecord, TrialRecord
from orch_db.statements import LONGEST_HOLD, Instant, alive, insert_once
from orch_db.tables import Attempt, Epoch, Job, Sweep, Trial

OPEN = ("queued", "running")  # states of a trial that has not ended
CANCELLED = 130  # the exit code of what was cancelled before it began
UNPLANNED = ""  # the board of a sweep that waits as words alone
FINAL = ("completed", "cancelled")  # states of a sweep that has nothing left to run


# ── sweeps ──────────────────────────────────────────────────────────────────────────────────


def add_sweep(connection: Connection, row: Mapping[str, Any]) -> None:
    """Record a sweep; one that waits as words alone gets what was planned from them."""
    insert_once(connection, Sweep, row)
    kept = ("id", "created_at", "state")  # it may have been cancelled meanwhile
    planned = {name: value for name, value in row.items() if name not in kept}
    connection.execute(
        update(Sweep).where(Sweep.id == row["id"], Sweep.board == UNPLANNED).values(**planned)
    )


def take(
    connection: Connection, sweep_id: str, holder: str, seconds: float, dead: str | None
) -> str | None:
    """Become the driver of a sweep for some seconds; returns who holds it where that is refused,
    "nobody" where it was cancelled.

    `dead` names a holder that is known to be gone, whose time need not be waited for.
    """
    free = or_(
        Sweep.holder.is_(None),
        Sweep.holder.in_([holder, *([dead] if dead else [])]),
        Sweep.held_until < Instant(),
        Sweep.held_until > Instant() + LONGEST_HOLD,
    )
    taken = connection.execute(
        update(Sweep)
        .where(Sweep.id == sweep_id, free, Sweep.state != "cancelled")
        .values(
            holder=holder,
            held_until=Instant() + seconds,
            state="running",
            finished_at=None,
            request=None,
            reason=None,
        )
    )
    if taken.rowcount == 1:
        return None
    return connection.scalar(select(Sweep.holder).where(Sweep.id == sweep_id)) or "nobody"


def renew(connection: Connection, sweep_id: str, holder: str, seconds: float) -> None:
    """Hold a sweep for some seconds more.

    Raises:
        LostSweepError: another driver holds it now.
    """
    renewed = connection.execute(
        update(Sweep)
        .where(Sweep.id == sweep_id, Sweep.holder == holder)
        .values(held_until=Instant() + seconds)
    )
    if renewed.rowcount != 1:
        raise LostSweepError(sweep_id)


def require_holder(connection: Connection, sweep_id: str, holder: str) -> None:
    """Refuse to go on where another driver took the sweep over; holds that off until the end of
    the transaction.

    Raises:
        LostSweepError: it did.
    """
    mine = select(Sweep.id).where(Sweep.id == sweep_id, Sweep.holder == holder)
    if connection.execute(mine.with_for_update(read=True)).first() is None:
        raise LostSweepError(sweep_id)


def let_go(
    connection: Connection,
    sweep_id: str,
    holder: str,
    state: str,
    instant: str,
    reason: str | None,
    trials: int | None,
) -> None:
    """End a run of a sweep: what did not end is queued again, or cancelled with the sweep.

    One that completed `trials`, but was extended meanwhile, has stopped.
    """
    mine = Sweep.id == sweep_id, Sweep.holder == holder
    found = connection.execute(select(Sweep.spec).where(*mine).with_for_update()).first()
    if found is None:
        return  # done before, or another driver's
    if state == "completed" and trials is not None and found.spec["trials"] > trials:
        state = "stopped"
    interrupt(connection, sweep_id, "interrupted", instant)
    if state == "cancelled":
        _cancel_trials(connection, sweep_id, instant)
    connection.execute(
        update(Sweep)
        .where(*mine)
        .values(state=state, finished_at=instant, reason=reason, holder=None, held_until=None)
    )


def interrupt(connection: Connection, sweep_id: str, how: str, instant: str) -> None:
    """Queue the trials again that run; their attempts end as `how`."""
    running = Trial.sweep_id == sweep_id, Trial.state == "running"
    connection.execute(
        update(Attempt)
        .where(Attempt.sweep_id == sweep_id, Attempt.state == "running")
        .values(state=how, ended_at=instant)
    )
    connection.execute(
        update(Trial)
        .where(*running)
        .values(state="queued", attempt=Trial.attempt + 1, started_at=None)
    )


def request(
    connection: Connection, sweep_id: str, wanted: str, instant: str, dead: str | None
) -> bool:
    """Ask the driver of a sweep for something; False where none runs it, or one that is `dead`.

    A sweep that nobody runs can be cancelled at once.
    """
    connection.execute(select(Sweep.id).where(Sweep.id == sweep_id).with_for_update())
    asked = connection.execute(
        update(Sweep).where(Sweep.id == sweep_id, *_held(dead)).values(request=wanted)
    )
    if asked.rowcount == 1:
        return True
    if wanted == "cancel":
        interrupt(connection, sweep_id, "interrupted", instant)
        _cancel_trials(connection, sweep_id, instant)
        connection.execute(
            update(Sweep)
            .where(Sweep.id == sweep_id, Sweep.state.not_in(FINAL))
            .values(state="cancelled", finished_at=instant, holder=None, held_until=None)
        )
        connection.execute(
            update(Job)
            .where(Job.sweep_id == sweep_id, Job.state == "queued")
            .values(state="ended", exit_code=CANCELLED, finished_at=instant)
        )
    return False


def _held(dead: str | None) -> tuple[ColumnElement[bool], ...]:
    """The sweep, where a driver runs it that is not known to be dead."""
    held = Sweep.holder.is_not(None), alive(Sweep.held_until)
    return (*held, Sweep.holder != dead) if dead else held


def extend(connection: Connection, sweep_id: str, former: int, trials: int) -> bool:
    """Give a sweep so many trials in all; one that had completed may go on.

    False where it has another number than the `former` by now.

    Raises:
        NotFoundError: there is no such sweep.
    """
    found = connection.execute(
        select(Sweep.spec, Sweep.state).where(Sweep.id == sweep_id).with_for_update()
    ).first()
    if found is None:
        raise NotFoundError(f"no sweep {sweep_id}")
    if found.spec["trials"] != former:
        return bool(found.spec["trials"] == trials)  # True where the same is sent again
    state = "stopped" if found.state == "completed" else found.state
    connection.execute(
        update(Sweep)
        .where(Sweep.id == sweep_id)
        .values(spec={**found.spec, "trials": trials}, state=state)
    )
    return True


def _cancel_trials(connection: Connection, sweep_id: str, instant: str) -> None:
    connection.execute(
        update(Trial)
        .where(Trial.sweep_id == sweep_id, Trial.state.in_(OPEN))
        .values(state="cancelled", finished_at=instant)
    )


# ── trials and their attempts ───────────────────────────────────────────────────────────────


def begin(connection: Connection, trial: TrialRecord, instant: str) -> bool:
    """Record that an attempt began; False where it is not the current one, or has ended."""
    begun = connection.execute(
        update(Trial)
        .where(*_current(trial.id, trial.attempt))
        .values(state="running", started_at=instant)
    )
    if begun.rowcount == 1:
        attempt = AttemptRecord(trial.id, trial.attempt, trial.sweep_id, "running", instant)
        insert_once(connection, Attempt, vars(attempt))
    return begun.rowcount == 1


def add_epoch(connection: Connection, epoch: EpochRecord, worker: str | None) -> bool:
    """Record an epoch of the current attempt, and where it runs; False for a stale one."""
    reported = connection.execute(
        update(Trial).where(*_current(epoch.trial_id, epoch.attempt)).values(worker=worker)
    )
    if reported.rowcount == 1:
        insert_once(connection, Epoch, vars(epoch))
    return reported.rowcount == 1


def end(connection: Connection, trial: TrialRecord, values: Mapping[str, Any]) -> bool:
    """Record how a trial ended; False where the attempt is stale or the trial has ended."""
    state = str(values["state"])
    ended = connection.execute(
        update(Trial).where(*_current(trial.id, trial.attempt)).values(**values)
    )
    if ended.rowcount == 1:
        _end_attempt(connection, trial, state, values)
    return ended.rowcount == 1 or _ended_so(connection, trial, state)


def again(connection: Connection, trial: TrialRecord, values: Mapping[str, Any]) -> bool:
    """Record how an attempt was lost, and queue its trial for another; False for a stale one."""
    queued = connection.execute(
        update(Trial)
        .where(*_current(trial.id, trial.attempt))
        .values(state="queued", attempt=trial.attempt + 1, started_at=None)
    )
    if queued.rowcount == 1:
        _end_attempt(connection, trial, "lost", values)
    return queued.rowcount == 1 or _ended_so(connection, trial, "lost")


def retry_failed(
    connection: Connection, sweep_id: str, kinds: tuple[str, ...], dead: str | None
) -> int:
    """Queue the failed trials of a sweep again, those of some classes or all; returns how many.

    0 where a driver runs it that is not `dead`: it would not see them.
    """
    connection.execute(select(Sweep.id).where(Sweep.id == sweep_id).with_for_update())
    if connection.execute(select(Sweep.id).where(Sweep.id == sweep_id, *_held(dead))).first():
        return 0
    of_kind = Trial.failure_kind.in_(kinds) if kinds else Trial.failure_kind.is_not(None)
    queued = connection.execute(
        update(Trial)
        .where(Trial.sweep_id == sweep_id, Trial.state == "failed", of_kind)
        .values(
            state="queued",
            attempt=Trial.attempt + 1,
            started_at=None,
            finished_at=None,
            failure_kind=None,
            failure_message=None,
            traceback=None,
        )
    )
    if queued.rowcount:
        connection.execute(
            update(Sweep)
            .where(Sweep.id == sweep_id, Sweep.state == "completed")
            .values(state="stopped")
        )
    return queued.rowcount


def _current(trial_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    """The trial, where this attempt is the one that counts and it has not ended."""
    return Trial.id == trial_id, Trial.attempt == attempt, Trial.state.in_(OPEN)


def _ended_so(connection: Connection, trial: TrialRecord, state: str) -> bool:
    """True where the attempt ended like this before: the same was sent twice."""
    key = Attempt.trial_id == trial.id, Attempt.attempt == trial.attempt
    return connection.scalar(select(Attempt.state).where(*key)) == state


def _end_attempt(
    connection: Connection, trial: TrialRecord, state: str, values: Mapping[str, Any]
) -> None:
    connection.execute(
        update(Attempt)
        .where(Attempt.trial_id == trial.id, Attempt.attempt == trial.attempt)
        .values(
            state=state,
            ended_at=values.get("finished_at"),
            failure_kind=values.get("failure_kind"),
            failure_message=values.get("failure_message"),
        )
    )
