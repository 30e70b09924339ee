"""The director of one sweep: asks the search, tells the database, shows the watcher.

Everything that happens becomes a row before anything else follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from orch import plans, registry
from orch.contracts import Plan, Problem
from orch.errors import OrchError
from orch.interrupts import Interrupts
from orch.search import Ending, Search
from orch.spec import SweepSpec
from orch.training import cuts
from orch.training.checkpoints import Kept
from orch.trials import EpochReport, Failure, Filling, TrialOutcome, TrialSpec
from orch_db.records import EpochRecord, TrialRecord
from orch_db.store import Store


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
        return sum(self.counts.get(state, 0) for state in ("completed", "pruned", "failed"))


class Watcher(Protocol):
    """Is shown every change; what it does with it is its own business."""

    def show(self, progress: SweepProgress) -> None:
        """Show how far the sweep has come."""
        ...

    def trial_ended(self, trial: TrialRecord, progress: SweepProgress) -> None:
        """Show that a trial ended."""
        ...


@dataclass
class _Live:
    """What the driver remembers of a trial that has not ended."""

    record: TrialRecord
    epochs: int
    best: EpochReport | None = None
    epoch: int = 0
    filling: Filling | None = None


@dataclass
class SweepRun:
    """The director of one sweep: asks the search, tells the database, shows the watcher."""

    spec: SweepSpec
    search: Search
    store: Store
    watcher: Watcher
    problem: Problem
    interrupts: Interrupts
    in_flight: int
    kept: Kept
    waiting: list[TrialRecord] = field(default_factory=list[TrialRecord])
    next_number: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])
    best: TrialRecord | None = None
    _ended_before: int = 0
    _finishing: set[int] | None = None
    _live: dict[int, _Live] = field(default_factory=dict[int, _Live])
    _started: float = field(default_factory=time.monotonic)

    def recall(self, former: tuple[TrialRecord, ...]) -> None:
        """Take up what a run before this one left: what ended counts, what is queued waits."""
        for trial in former:
            self.next_number = max(self.next_number, trial.number + 1)
            if trial.state == "queued":
                self.waiting.append(trial)
                continue
            self.counts[trial.state] = self.counts.get(trial.state, 0) + 1
            self._ended_before += 1
            if trial.state == "completed":
                self._completed(trial)

    # what the cluster asks

    def next_trial(self) -> TrialSpec | Literal["wait", "done"]:
        """The next trial, recorded before it is dispatched."""
        if self.closing:
            return "done"
        if len(self._live) >= self.in_flight:
            return "wait"
        record = self.waiting.pop(0) if self.waiting else self._suggested()
        if record is None:
            return "done"
        self._live[record.number] = _Live(record, _epochs(record.plan))
        return self.spec.trial(record.number, record.params, record.seed, record.attempt)

    def stop_now(self) -> bool:
        """True after a second interrupt, when time is up, and when a drain has drained.

        A trial that was dispatched ahead and begins after the first interrupt is not waited for.
        """
        if self.interrupts.stopping or self.late:
            return True
        if not self.interrupts.draining:
            return False
        if self._finishing is None:
            self._finishing = {n for n, live in self._live.items() if live.record.started_at}
        return not self._finishing & self._live.keys()

    @property
    def late(self) -> bool:
        """True when the sweep's time is up."""
        elapsed = time.monotonic() - self._started
        return self.spec.seconds is not None and elapsed >= self.spec.seconds

    @property
    def closing(self) -> bool:
        """True when nothing new is to be started."""
        return self.interrupts.draining or self.late

    def close(self) -> None:
        """End what time cut short: a trial with an epoch keeps its score, others go back."""
        for number, live in list(self._live.items()):
            if self.late and not self.interrupts.draining and live.best is not None:
                self._end(number, "pruned", self._partial(live))
        self.kept.tidy(self.spec.trial(n, {}, 0).id for n in range(self.next_number))

    # what the cluster tells

    def on_start(self, number: int) -> None:
        """Record that a worker began with a trial."""
        live = self._live[number]
        live.record = replace(live.record, state="running", started_at=now())
        self._set(live.record)
        self.watcher.show(self.progress())

    def on_filling(self, number: int, filling: Filling) -> None:
        """Show how far an array is that a trial computes before its first epoch."""
        self._live[number].filling = filling
        self.watcher.show(self.progress())

    def on_epoch(self, number: int, report: EpochReport, worker: str) -> bool:
        """Record an epoch, then let the search decide whether the trial goes on."""
        live = self._live[number]
        record = live.record
        self.store.add_epoch(
            EpochRecord(
                record.id,
                record.attempt,
                report.epoch,
                report.stage,
                report.metrics,
                report.seconds,
                now(),
            ),
            worker,
        )
        value = report.metrics[self.spec.objective.metric]
        live.epoch, live.filling = report.epoch, None
        if live.best is None or self.spec.objective.better(
            value, live.best.metrics[self.spec.objective.metric]
        ):
            live.best = report
        hopeless = self.search.report(number, report.epoch, value)
        if report.epoch < live.epochs and hopeless:
            self._end(number, "pruned", self._partial(live))
            return False
        self.watcher.show(self.progress())
        return True

    def on_outcome(self, number: int, outcome: TrialOutcome) -> None:
        """Record how a trial ended in its worker."""
        ending: Ending = "completed"
        if outcome.failure is not None:
            ending = "not finite" if outcome.failure.kind == "not finite" else "failed"
        self._end(number, ending, outcome)

    def on_lost(self, number: int, message: str) -> None:
        """Record that a trial's process is gone."""
        partial = self._partial(self._live[number])
        failure = Failure("worker lost", message)
        self._end(number, "failed", replace(partial, failure=failure))

    # the rest

    def progress(self) -> SweepProgress:
        """How far the sweep has come."""
        running = tuple(
            RunningTrial(
                live.record.id, live.epoch, live.epochs, self._score(live.best), live.filling
            )
            for _, live in sorted(self._live.items())
            if live.record.state == "running"
        )
        note = (
            "finishing the running trials; Ctrl-C again stops them"
            if (self.interrupts.draining)
            else ""
        )
        ended = sum(self.counts.values()) - self._ended_before
        return SweepProgress(
            self.spec,
            {**self.counts, "running": len(running)},
            running,
            self.best,
            self._started,
            (time.monotonic() - self._started) / ended if ended else None,
            note,
        )

    def _suggested(self) -> TrialRecord | None:
        number = self.next_number
        if number >= self.spec.trials:
            return None
        params = self.search.suggest(number)
        if params is None:
            return None
        self.next_number += 1
        plan = self._plan(params)
        trial = self.spec.trial(number, params, (self.spec.seed * 1_000_003 + number) % 2**31)
        record = TrialRecord(
            id=trial.id,
            sweep_id=self.spec.id,
            number=number,
            board=self.spec.board,
            state="queued",
            attempt=1,
            seed=trial.seed,
            params=params,
            plan=asdict(plan) if plan else {},
            cut=cuts.of_plan(self.problem.backbone, plan)[-1].name if plan else None,
            created_at=now(),
        )
        self.store.add_trial(record)
        return record

    def _plan(self, params: Mapping[str, Any]) -> Plan | None:
        """The plan, or None where the strategy raises, which its worker will report."""
        try:
            return plans.make(registry.load_strategy(self.spec.strategy), params, self.problem)
        except OrchError:
            return None

    def _end(self, number: int, ending: Ending, outcome: TrialOutcome) -> None:
        live = self._live.pop(number)
        failure = outcome.failure
        state = "failed" if ending == "not finite" else ending
        record = replace(
            live.record,
            state=state,
            score=outcome.score,
            best_epoch=outcome.best_epoch,
            metrics=dict(outcome.metrics),
            plan=dict(outcome.plan or live.record.plan),
            cut=outcome.cut or live.record.cut,
            failure_kind=failure.kind if failure else None,
            failure_message=failure.message if failure else None,
            traceback=failure.traceback if failure else None,
            finished_at=now(),
            seconds=outcome.seconds,
        )
        self._set(record)
        self.search.finish(number, ending, outcome.score)
        self.counts[state] = self.counts.get(state, 0) + 1
        if state == "completed":
            self._completed(record)
        self.watcher.trial_ended(record, self.progress())

    def _completed(self, record: TrialRecord) -> None:
        if record.score is not None:
            self.kept.add(record.id, record.score)
        if self._beats_best(record):
            self.best = record

    def _set(self, record: TrialRecord) -> None:
        values = asdict(record)
        for key in ("id", "attempt", "sweep_id", "number", "worker", "created_at"):
            del values[key]
        self.store.set_trial(record.id, record.attempt, **values)

    def _partial(self, live: _Live) -> TrialOutcome:
        """What is known of a trial that ends before its last epoch."""
        best = live.best
        started = live.record.started_at
        seconds = (
            (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() if started else 0
        )
        return TrialOutcome(
            score=self._score(best),
            best_epoch=best.epoch if best else None,
            metrics=best.metrics if best else {},
            seconds=seconds,
            plan=live.record.plan,
        )

    def _score(self, report: EpochReport | None) -> float | None:
        return report.metrics[self.spec.objective.metric] if report else None

    def _beats_best(self, record: TrialRecord) -> bool:
        if record.score is None or self.best is None or self.best.score is None:
            return record.score is not None
        return self.spec.objective.better(record.score, self.best.score)


def _epochs(plan: Mapping[str, Any]) -> int:
    return sum(stage["epochs"] for stage in plan.get("stages", ()))


def now() -> str:
    """The present instant, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
