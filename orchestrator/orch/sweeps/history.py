"""What the driver remembers of trials that are not over: their epochs and how they were lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orch.trials import EpochReport
from orch_db.records import AttemptRecord, EpochRecord, TrialRecord

RECENT = 200  # epochs whose median says how long one takes


@dataclass(frozen=True)
class Former:
    """What runs before this one left: trials, their attempts, epochs of those that wait."""

    trials: tuple[TrialRecord, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    epochs: Mapping[str, tuple[EpochRecord, ...]] = field(
        default_factory=dict[str, tuple[EpochRecord, ...]]
    )


class History:
    """The epochs of trials that are not over, the failures of their attempts, recent times."""

    def __init__(self, former: Former = Former()) -> None:
        self.seconds: deque[float] = deque(maxlen=RECENT)
        self._reports: dict[str, dict[int, EpochReport]] = {}
        self._failures: dict[str, list[str]] = {}
        for attempt in former.attempts:
            self._recall(attempt)
        for trial_id, epochs in former.epochs.items():
            for e in epochs:
                self.learn(trial_id, EpochReport(e.epoch, e.stage, e.metrics, e.seconds))

    def learn(self, trial_id: str, report: EpochReport) -> None:
        """Remember an epoch."""
        self._reports.setdefault(trial_id, {})[report.epoch] = report
        self.seconds.append(report.seconds)

    def reports(self, trial_id: str) -> Sequence[EpochReport]:
        """The epochs of a trial that are recorded, in their order."""
        known = self._reports.get(trial_id, {})
        return [known[epoch] for epoch in sorted(known)]

    def failures(self, trial_id: str) -> list[str]:
        """The classes of a trial's failures that were tried again; to be added to."""
        return self._failures.setdefault(trial_id, [])

    def start_over(self, trial_id: str) -> None:
        """Forget a trial's epochs, since its next attempt makes other steps."""
        self._reports.pop(trial_id, None)

    def end(self, trial_id: str) -> None:
        """Forget a trial that is over."""
        self._reports.pop(trial_id, None)
        self._failures.pop(trial_id, None)

    def _recall(self, attempt: AttemptRecord) -> None:
        """Count a failure; one that ended a trial which its user tries again ends the count, but
        not that memory was short.
        """
        failures = self.failures(attempt.trial_id)
        if attempt.failure_kind:
            failures.append(attempt.failure_kind)
        if attempt.state == "failed":
            failures[:] = [kind for kind in failures if kind == "out of memory"]
