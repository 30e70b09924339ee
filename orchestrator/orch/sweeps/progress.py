"""How far a sweep has come, and who is shown it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from orch.planning.spec import SweepSpec
from orch.trials import Filling
from orch_db.records import TrialRecord

ENDED = ("completed", "pruned", "failed")  # states of a trial that has ended by itself


@dataclass(frozen=True)
class RunningTrial:
    """A trial under way: how many of its epochs are done and its best score so far."""

    id: str
    epoch: int
    epochs: int
    score: float | None
    filling: Filling | None = None


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep has come."""

    spec: SweepSpec
    counts: Mapping[str, int]
    running: tuple[RunningTrial, ...]
    best: TrialRecord | None
    started: float
    seconds_each: float | None
    note: str = ""

    @property
    def elapsed(self) -> float:
        """Seconds since this run of the sweep began."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds until the budget is spent, as far as can be told."""
        by_time = None if self.spec.seconds is None else max(0.0, self.spec.seconds - self.elapsed)
        if self.seconds_each is None:
            return by_time
        by_trials = max(0.0, self.seconds_each * (self.spec.trials - self.ended))
        return by_trials if by_time is None else min(by_time, by_trials)

    @property
    def ended(self) -> int:
        """Trials that completed, were pruned or failed."""
        return sum(self.counts.get(state, 0) for state in ENDED)


class Watcher(Protocol):
    """Is shown every change; what it does with it is its own business."""

    def show(self, progress: SweepProgress) -> None:
        """Show how far the sweep has come."""
        ...

    def trial_ended(self, trial: TrialRecord, progress: SweepProgress) -> None:
        """Show that a trial ended."""
        ...

    def trial_again(self, trial: TrialRecord, why: str, progress: SweepProgress) -> None:
        """Show that an attempt was lost and its trial will be tried again."""
        ...
