"""The director of one sweep: asks the search, tells the database, shows the watcher.

Everything that happens becomes a row before anything else follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from orch import plans, registry
from orch.clock import now
from orch.contracts import Plan, Problem
from orch.errors import OrchError
from orch.home import Home
from orch.planning.spec import SweepSpec
from orch.search import Ending, Search
from orch.sweeps import halts, retries
from orch.sweeps.control import Control
from orch.sweeps.halts import Halt
from orch.sweeps.history import Former, History
from orch.sweeps.interrupts import Interrupts
from orch.sweeps.progress import RunningTrial, SweepProgress, Watcher
from orch.training import cuts, snapshots, watchdog
from orch.training.checkpoints import Kept
from orch.training.watchdog import dumped
from orch.trials import EpochReport, Failure, Filling, TrialOutcome, TrialSpec, to_json
from orch_db.records import EpochRecord, TrialRecord
from orch_db.store import Store


@dataclass
class _Live:
    """What the driver remembers of a trial that has not ended."""

    record: TrialRecord
    epochs: int
    best: EpochReport | None = None
    epoch: int = 0
    filling: Filling | None = None
    begun: float = field(default_factory=time.monotonic)


@dataclass
class SweepRun:
    """The director of one sweep: asks the search, tells the database, shows the watcher."""

    spec: SweepSpec
    search: Search
    store: Store
    watcher: Watcher
    problem: Problem
    interrupts: Interrupts
    control: Control
    limits: retries.Limits
    home: Home
    in_flight: int
    kept: Kept
    stored: Sequence[int] | None = None
    history: History = field(default_factory=History)
    waiting: list[TrialRecord] = field(default_factory=list[TrialRecord])
    next_number: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])
    best: TrialRecord | None = None
    gave_up: Halt | None = None
    _ended_before: int = 0
    _in_a_row: int = 0
    _exhausted: bool = False
    _finishing: set[int] | None = None
    _live: dict[int, _Live] = field(default_factory=dict[int, _Live])
    _started: float = field(default_factory=time.monotonic)

    def recall(self, former: Former) -> None:
        """Take up what runs before this one left: what ended counts, what is queued waits."""
        self.history = History(former)
        for trial in former.trials:
            self.next_number = max(self.next_number, trial.number + 1)
            if trial.state == "queued":
                self.waiting.append(trial)
                for report in self.history.reports(trial.id):
                    self.search.report(trial.number, report.epoch, self._value(report))
                continue
            self.counts[trial.state] = self.counts.get(trial.state, 0) + 1
            self._ended_before += 1
            if trial.state == "completed":
                self._completed(trial)

    # what the cluster asks

    def next_trial(self) -> TrialSpec | Literal["wait", "done"]:
        """The next trial, recorded before it is dispatched."""
        if self.halt is not None:
            return "done"
        if len(self._live) >= self.in_flight:
            return "wait"
        if self.control.trials is not None:
            self.spec = replace(self.spec, trials=self.control.trials)
        record = self.waiting.pop(0) if self.waiting else self._suggested()
        if record is None:
            return "wait" if self._live else "done"  # one that runs may have to be tried again
        return self._dispatched(record)

    def stop_now(self) -> bool:
        """True where running trials are not waited for, and when the last of them has ended.

        A trial that was dispatched ahead and begins after a drain began is not waited for.
        """
        halt = self.halt
        if halt is None or halt.when == "now":
            return halt is not None
        if self._finishing is None:
            self._finishing = {n for n, live in self._live.items() if live.record.started_at}
        return not self._finishing & self._live.keys()

    @property
    def halt(self) -> Halt | None:
        """Why nothing new is started, once it is so."""
        return self.gave_up or halts.wanted(self.control, self.interrupts, self.late)

    @property
    def unfinished(self) -> bool:
        """True while trials wait, run, or have not been suggested."""
        more = not self._exhausted and sum(self.counts.values()) < self.spec.trials
        return bool(self.waiting or self._live or more)

    @property
    def late(self) -> bool:
        """True when the sweep's time is up."""
        elapsed = time.monotonic() - self._started
        return self.spec.seconds is not None and elapsed >= self.spec.seconds

    def close(self) -> None:
        """End what time cut short: a trial with an epoch keeps its score, others go back."""
        for number, live in list(self._live.items()):
            if self.halt == halts.LATE and live.best is not None:
                self._end(number, "pruned", self._partial(live))
        trials = [self.spec.trial(number, {}, 0).id for number in range(self.next_number)]
        self.kept.tidy(trials)
        if self.halt != halts.CANCEL:
            going_on = {each.id for each in self.waiting}
            going_on |= {live.record.id for live in self._live.values()}
            trials = [each for each in trials if each not in going_on]
        snapshots.discard(self.home.running, trials)

    # what the cluster tells

    def on_start(self, number: int) -> None:
        """Record that a worker began with a trial."""
        live = self._live[number]
        live.record = replace(live.record, state="running", started_at=now())
        live.begun = time.monotonic()
        self.store.begin(live.record, live.record.started_at or now())
        self.watcher.show(self.progress())

    def on_filling(self, number: int, filling: Filling) -> bool:
        """Show how far an array is that a trial computes before its first epoch."""
        live = self._live.get(number)
        if live is None:
            return False
        live.filling = filling
        self.watcher.show(self.progress())
        return self._goes_on(number)

    def on_epoch(self, number: int, report: EpochReport, worker: str) -> bool:
        """Record an epoch, then let the search decide whether the trial goes on."""
        live = self._live.get(number)
        if live is None:
            return False
        trial, attempt = live.record.id, live.record.attempt
        values = report.epoch, report.stage, report.metrics, report.seconds
        if not self.store.add_epoch(EpochRecord(trial, attempt, *values, now()), worker):
            return False
        hopeless = self._learnt(number, live, report)
        if report.epoch < live.epochs and hopeless:
            self._end(number, "pruned", self._partial(live))
            return False
        self.watcher.show(self.progress())
        return report.epoch == live.epochs or self._goes_on(number)

    def on_outcome(self, number: int, outcome: TrialOutcome) -> None:
        """Record how a trial ended in its worker."""
        failure = outcome.failure
        if failure is None:
            self._end(number, "completed", outcome)
        else:
            self._failed(number, failure, outcome)

    def on_lost(self, number: int, message: str) -> None:
        """Record that a trial's process is gone."""
        live = self._live.get(number)
        if live is None:
            return
        partial = self._partial(live)
        attempt = live.record.id, live.record.attempt
        stacks = watchdog.stacks(self.home, *attempt) if dumped(self.home, *attempt) else None
        failure = retries.why_lost(message, stacks, partial.seconds, self.limits)
        self._failed(number, failure, replace(partial, failure=failure))

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
        ended = sum(self.counts.values()) - self._ended_before
        halt = self.halt
        return SweepProgress(
            self.spec,
            {**self.counts, "running": len(running)},
            running,
            self.best,
            self._started,
            (time.monotonic() - self._started) / ended if ended else None,
            halt.note if halt else "",
        )

    def _dispatched(self, record: TrialRecord) -> TrialSpec:
        live = _Live(record, _epochs(record.plan))
        for report in self.history.reports(record.id):
            self._compare(live, report)
            live.epoch = report.epoch
        self._live[record.number] = live
        before = self.history.failures(record.id)
        trial = self.spec.trial(record.number, record.params, record.seed, record.attempt)
        return replace(
            trial,
            known_epochs=live.epoch,
            accumulate=retries.accumulate(before),
            hang_seconds=self.limits.hang(self.history.seconds),
            trial_seconds=self.limits.trial_seconds or None,
        )

    def _goes_on(self, number: int) -> bool:
        """False where a pause wants the trial to stop here; it waits for the next run."""
        halt = self.halt
        if halt is None or halt.when != "report":
            return True
        live = self._live.pop(number, None)
        if live is not None:
            self.waiting.insert(0, live.record)
        return False

    def _learnt(self, number: int, live: _Live, report: EpochReport) -> bool:
        """Remember an epoch; True where the search says that others do better."""
        live.epoch, live.filling = report.epoch, None
        self._compare(live, report)
        self.history.learn(live.record.id, report)
        return self.search.report(number, report.epoch, self._value(report))

    def _compare(self, live: _Live, report: EpochReport) -> None:
        best = live.best
        if best is None or self.spec.objective.better(self._value(report), self._value(best)):
            live.best = report

    def _value(self, report: EpochReport) -> float:
        return report.metrics[self.spec.objective.metric]

    def _suggested(self) -> TrialRecord | None:
        number = self.next_number
        if number >= self.spec.trials:
            return None
        params = self.search.suggest(number)
        self._exhausted = params is None
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
            plan=to_json(plan) if plan else {},
            cut=cuts.planned(self.problem.backbone, plan, self.stored).name if plan else None,
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

    def _failed(self, number: int, failure: Failure, outcome: TrialOutcome) -> None:
        """Try a trial again where its failure may pass; else it has failed."""
        record = self._live[number].record
        before = self.history.failures(record.id)
        if failure.kind == "storage":
            self._again(number, failure)
            self.gave_up = halts.no_room(self.spec.id, failure)
        elif retries.another(failure.kind, before):
            before.append(failure.kind)
            self._again(number, failure)
        else:
            infeasible = failure.kind in retries.INFEASIBLE
            self._end(number, "infeasible" if infeasible else "failed", outcome)

    def _again(self, number: int, failure: Failure) -> None:
        live = self._live.pop(number)
        record = live.record
        self.store.again(
            record,
            failure_kind=failure.kind,
            failure_message=failure.message,
            finished_at=now(),
        )
        if failure.kind == "out of memory":  # it starts over, with other steps
            self.history.start_over(record.id)
        record = replace(record, state="queued", attempt=record.attempt + 1, started_at=None)
        self.waiting.insert(0, record)
        self.watcher.trial_again(record, f"{failure.kind}: {failure.message}", self.progress())

    def _end(self, number: int, ending: Ending, outcome: TrialOutcome) -> None:
        live = self._live.pop(number)
        failure = outcome.failure
        state = "failed" if ending == "infeasible" else ending
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
        self.store.end(record, **_result(record))
        self.search.finish(number, ending, outcome.score)
        self.counts[state] = self.counts.get(state, 0) + 1
        self.history.end(record.id)
        snapshots.discard(self.home.running, (record.id,))
        if state == "completed":
            self._completed(record)
        self._count_failures(record)
        self.watcher.trial_ended(record, self.progress())

    def _count_failures(self, record: TrialRecord) -> None:
        self._in_a_row = self._in_a_row + 1 if record.state == "failed" else 0
        if self._in_a_row >= self.limits.most_failures:
            self.gave_up = halts.too_many(self._in_a_row, record)

    def _completed(self, record: TrialRecord) -> None:
        if record.score is not None:
            self.kept.add(record.id, record.score)
        if self._beats_best(record):
            self.best = record

    def _partial(self, live: _Live) -> TrialOutcome:
        """What is known of a trial that ends before its last epoch."""
        best = live.best
        return TrialOutcome(
            score=self._score(best),
            best_epoch=best.epoch if best else None,
            metrics=best.metrics if best else {},
            seconds=time.monotonic() - live.begun if live.record.started_at else 0.0,
            plan=live.record.plan,
        )

    def _score(self, report: EpochReport | None) -> float | None:
        return self._value(report) if report else None

    def _beats_best(self, record: TrialRecord) -> bool:
        if record.score is None or self.best is None or self.best.score is None:
            return record.score is not None
        return self.spec.objective.better(record.score, self.best.score)


def _result(record: TrialRecord) -> dict[str, Any]:
    """What is written when a trial ends; the rest of its row is there already."""
    row = asdict(record)
    for key in ("id", "attempt", "sweep_id", "number", "worker", "created_at", "started_at"):
        del row[key]
    return row


def _epochs(plan: Mapping[str, Any]) -> int:
    return sum(stage["epochs"] for stage in plan.get("stages", ()))
