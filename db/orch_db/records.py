"""What the database gives back: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SweepRecord:
    """A sweep, and how many of its trials are in each state.

    `expected_seconds` is what its trials were expected to take, where that was known; for
    `reason`, `parent`, `request`, `holder` and `held_until` see `tables.Sweep`.
    """

    id: str
    name: str
    state: str
    dataset: str
    strategy: str
    backbone: str
    metric: str
    direction: str
    board: str
    spec: Mapping[str, Any]
    versions: Mapping[str, Any]
    git_commit: str | None
    created_at: str
    finished_at: str | None = None
    expected_seconds: float | None = None
    reason: str | None = None
    parent: str | None = None
    request: str | None = None
    holder: str | None = None
    held_until: float | None = None
    trials: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class TrialRecord:
    """A trial."""

    id: str
    sweep_id: str
    number: int
    board: str
    state: str
    attempt: int
    seed: int
    params: Mapping[str, Any]
    created_at: str
    plan: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cut: str | None = None
    score: float | None = None
    best_epoch: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    failure_kind: str | None = None
    failure_message: str | None = None
    traceback: str | None = None
    worker: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class AttemptRecord:
    """One run of a trial in a worker: running, or how it ended."""

    trial_id: str
    attempt: int
    sweep_id: str
    state: str
    started_at: str
    ended_at: str | None = None
    failure_kind: str | None = None
    failure_message: str | None = None


@dataclass(frozen=True)
class Orders:
    """What the database tells the driver of a sweep: how many trials it has now, and what
    another terminal asks for.
    """

    trials: int
    request: str | None


@dataclass(frozen=True)
class JobRecord:
    """A sweep in the service's queue; see `tables.Job`."""

    sweep_id: str
    state: str
    priority: int
    flags: Mapping[str, Any]
    created_at: str
    after: str | None = None
    tries: int = 0
    service: str | None = None
    held_until: float | None = None
    process: str | None = None
    exit_code: int | None = None
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


@dataclass(frozen=True)
class ScheduleRecord:
    """A stored sweep with a cron expression and a time zone; see `tables.Schedule`.

    Instants are UTC, ISO 8601. `state` is active, paused or ended; `overlap` skip, queue or
    replace; `catch_up` latest, all or none; `mode` new, if-changed, extend or warm-start.
    """

    id: str
    name: str
    cron: str
    timezone: str
    words: Mapping[str, Any]
    decided_until: str
    created_at: str
    overlap: str = "skip"
    catch_up: str = "latest"
    mode: str = "new"
    window_seconds: float = 86_400.0
    jitter_seconds: float = 0.0
    priority: int = 0
    until: str | None = None
    state: str = "active"
    blocked: str | None = None
    sweep_id: str | None = None


@dataclass(frozen=True)
class FireRecord:
    """A due instant of a schedule and what became of it; see `tables.Fire`."""

    schedule_id: str
    due_at: str
    state: str
    late_seconds: float
    created_at: str
    reason: str | None = None
    instants: int = 1
    sweep_id: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class LeaderRecord:
    """The service that makes schedules fire, and whether it still holds that."""

    holder: str
    epoch: int
    alive: bool


@dataclass(frozen=True)
class NoticeRecord:
    """Something that is to be told to one target."""

    id: str
    event: str
    target: str
    payload: Mapping[str, Any]
    tries: int
    created_at: str
    next_at: float | None = None
    error: str | None = None
    delivered_at: str | None = None


@dataclass(frozen=True)
class EpochRecord:
    """The metrics after one epoch of one attempt."""

    trial_id: str
    attempt: int
    epoch: int
    stage: int
    metrics: Mapping[str, float]
    seconds: float
    reported_at: str


@dataclass(frozen=True)
class Board:
    """Results that may be ranked together, best first."""

    board: str
    dataset: str
    metric: str
    direction: str
    limit: int | None
    rows: tuple[TrialRecord, ...]
    sweeps: Mapping[str, SweepRecord]
