"""The tables. Times are UTC, ISO 8601; durations are seconds; JSON columns hold plain values."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables of orch."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012  SQLAlchemy reads it as declared


class Sweep(Base):
    """A dataset, a strategy, a search space, an objective and a budget.

    `board` names the group of results that may be ranked together: same data, same validation
    examples, same metric. `reason` is why it stopped before its end, `parent` the sweep that it
    was forked from, `request` what another terminal asks of the driver that runs it. `holder` is
    that driver, until `held_until` (seconds since 1970 by the database's clock) or its next
    renewal.
    """

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    state: Mapped[str]
    dataset: Mapped[str] = mapped_column(index=True)
    strategy: Mapped[str]
    backbone: Mapped[str]
    metric: Mapped[str]
    direction: Mapped[str]
    board: Mapped[str] = mapped_column(index=True)
    spec: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    git_commit: Mapped[str | None]
    created_at: Mapped[str] = mapped_column(index=True)
    finished_at: Mapped[str | None]
    expected_seconds: Mapped[float | None]
    reason: Mapped[str | None]
    parent: Mapped[str | None]
    request: Mapped[str | None]
    holder: Mapped[str | None]
    held_until: Mapped[float | None]


class Trial(Base):
    """One configuration of a sweep and how it ended."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("sweep_id", "number"),
        Index("ix_trials_board_score_id", "board", "score", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"))
    number: Mapped[int]
    board: Mapped[str]
    state: Mapped[str]
    attempt: Mapped[int]
    seed: Mapped[int]
    params: Mapped[dict[str, Any]]
    plan: Mapped[dict[str, Any]]
    cut: Mapped[str | None]
    score: Mapped[float | None]
    best_epoch: Mapped[int | None]
    metrics: Mapped[dict[str, Any]]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    traceback: Mapped[str | None]
    worker: Mapped[str | None]
    created_at: Mapped[str]
    started_at: Mapped[str | None]
    finished_at: Mapped[str | None]
    seconds: Mapped[float | None]


class Attempt(Base):
    """One run of a trial in a worker, and how it ended."""

    __tablename__ = "attempts"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), index=True)
    state: Mapped[str]
    started_at: Mapped[str]
    ended_at: Mapped[str | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]


class Epoch(Base):
    """The metrics after one epoch of one attempt."""

    __tablename__ = "epochs"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    reported_at: Mapped[str]


class Job(Base):
    """A sweep in the queue of the service: waiting, running as a process of its own, or ended.

    `flags` are settings of that process, `after` a sweep that must have ended before, `service`
    the one that runs it, until `held_until` (seconds since 1970 by the database's clock) or its
    next renewal, and `process` "machine:number:when it began".
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_priority_created_at", "state", "priority", "created_at"),
    )

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    state: Mapped[str]
    priority: Mapped[int]
    flags: Mapped[dict[str, Any]]
    after: Mapped[str | None]
    tries: Mapped[int]
    service: Mapped[str | None]
    held_until: Mapped[float | None]
    process: Mapped[str | None]
    exit_code: Mapped[int | None]
    message: Mapped[str | None]
    created_at: Mapped[str]
    started_at: Mapped[str | None]
    finished_at: Mapped[str | None]


class Schedule(Base):
    """A stored sweep with a cron expression and a time zone.

    `words` is what `orch sweep` would be told. Every instant up to `decided_until` has a row in
    `fires` where it was due. `blocked` says why it cannot fire, `sweep_id` is the sweep that it
    made or extended last.
    """

    __tablename__ = "schedules"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    cron: Mapped[str]
    timezone: Mapped[str]
    words: Mapped[dict[str, Any]]
    overlap: Mapped[str]
    catch_up: Mapped[str]
    mode: Mapped[str]
    window_seconds: Mapped[float]
    jitter_seconds: Mapped[float]
    priority: Mapped[int]
    until: Mapped[str | None]
    state: Mapped[str]
    blocked: Mapped[str | None]
    decided_until: Mapped[str]
    sweep_id: Mapped[str | None]
    created_at: Mapped[str]


class Fire(Base):
    """A due instant of a schedule, and what became of it: fired, or skipped and why.

    One row may stand for `instants` that were skipped together, the last of them `due_at`.
    `fingerprint` is of what it would train on and with (`orch.planning.words`).
    """

    __tablename__ = "fires"

    schedule_id: Mapped[str] = mapped_column(ForeignKey("schedules.id"), primary_key=True)
    due_at: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    reason: Mapped[str | None]
    late_seconds: Mapped[float]
    instants: Mapped[int]
    sweep_id: Mapped[str | None]
    fingerprint: Mapped[str | None]
    created_at: Mapped[str]


class Leader(Base):
    """Which service alone makes schedules fire, until `held_until` or its next renewal.

    `epoch` grows whenever another one takes over; what the one before still writes is refused.
    """

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    epoch: Mapped[int]
    held_until: Mapped[float]


class Notice(Base):
    """Something that happened and is to be told to one target, once it answers."""

    __tablename__ = "notices"
    __table_args__ = (Index("ix_notices_delivered_at_next_at", "delivered_at", "next_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str]
    target: Mapped[str]
    payload: Mapped[dict[str, Any]]
    tries: Mapped[int]
    next_at: Mapped[float | None]
    error: Mapped[str | None]
    created_at: Mapped[str]
    delivered_at: Mapped[str | None]
