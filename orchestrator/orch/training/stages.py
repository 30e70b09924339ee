"""The stages of a trial, one after another, and what is known of it after each epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orch.contracts import Plan, Stage
from orch.errors import StorageError
from orch.training import checkpoints, cuts, fit, schedules, snapshots, warm
from orch.training.cuts import Cut
from orch.training.examples import Selection
from orch.training.features import Reader
from orch.training.fit import EpochMetrics, Examples
from orch.training.snapshots import Pace, Snapshot
from orch.training.warm import HeadShape
from orch.training.workbench import Workbench
from orch.trials import EpochReport, Filling, Objective, TrialSpec


@dataclass(frozen=True)
class Ready:
    """A stage with its inputs; `trained_from` is the first layer that trained by its end."""

    stage: Stage
    cut: Cut
    trained_from: int
    train: Examples
    validation: Examples


def read(
    reader: Reader, roles: tuple[Selection, Selection]
) -> Generator[Filling, None, list[Ready]]:
    """Read the inputs of every stage, while the network still is as it was published."""
    plan = reader.plan
    found = reader.affordable(cuts.of_plan(reader.facts, plan), roles)
    ready: list[Ready] = []
    for stage, cut, first in zip(plan.stages, found, cuts.trained_from(plan), strict=True):
        try:
            train, validation = yield from _inputs(reader, roles, cut, found)
        except StorageError as error:  # another trial has taken the room meanwhile
            if not cut.layers:
                raise
            cut = Cut.none(error.message)
            train, validation = yield from _inputs(reader, roles, cut, found)
        ready.append(Ready(stage, cut, first, train, validation))
    return ready


def _inputs(
    reader: Reader, roles: tuple[Selection, Selection], cut: Cut, wanted: Sequence[Cut]
) -> Generator[Filling, None, tuple[Examples, Examples]]:
    train = yield from reader.read(roles[0], cut, wanted)
    validation = yield from reader.read(roles[1], cut, wanted)
    return train, validation


@dataclass
class Progress:
    """What is known so far, for the outcome of a trial that may fail at any point.

    `weights` are those of the best epoch, `stage_best` those of its stage's best.
    """

    plan: Plan | None = None
    cut: Cut | None = None
    reports: list[EpochReport] = field(default_factory=list[EpochReport])
    best: EpochReport | None = None
    weights: checkpoints.Weights = field(default_factory=dict[str, Any])
    stage_best: checkpoints.Weights = field(default_factory=dict[str, Any])

    def values(self, stage: int, objective: Objective) -> list[float]:
        """The objective after each epoch of a stage."""
        return [each.metrics[objective.metric] for each in self.reports if each.stage == stage]

    def note(self, report: EpochReport, objective: Objective) -> bool:
        """Add an epoch; tell whether it is the best of the trial."""
        self.reports.append(report)
        better = self.best is None or objective.better(
            report.metrics[objective.metric], self.best.metrics[objective.metric]
        )
        if better:
            self.best = report
        return better

    def take_up(self, snapshot: Snapshot, objective: Objective) -> None:
        """Know what was known when a snapshot was taken."""
        for report in snapshot.reports:
            self.note(report, objective)
        self.weights, self.stage_best = snapshot.trial_best, snapshot.stage_best


@dataclass(frozen=True)
class Course:
    """A trial that trains: its network and head, its progress, and where it is saved."""

    spec: TrialSpec
    bench: Workbench
    plan: Plan
    network: Any
    head: Any
    shape: HeadShape
    progress: Progress
    pace: Pace
    fingerprint: str

    @property
    def file(self) -> Path:
        """Where the trial is saved while it runs."""
        return snapshots.path(self.bench.home.running, self.spec.id)

    def run(self, stages: Sequence[Ready]) -> Generator[EpochReport, None, None]:
        """Train every stage, from the beginning or where an earlier attempt was saved."""
        spec = self.spec
        found = snapshots.load(self.file, self.fingerprint) if spec.attempt > 1 else None
        warm.begin(self.head, self.plan.head, spec.seed)
        rng = np.random.default_rng(spec.seed)
        if found is not None:
            rng.bit_generator.state = found.order
            self.progress.take_up(found, spec.objective)
            yield from (each for each in found.reports if each.epoch > spec.known_epochs)
        for number, ready in enumerate(stages, start=1):
            if found is None or number >= found.stage:
                here = found if found is not None and number == found.stage else None
                yield from self._stage(number, ready, rng, here)

    def _stage(
        self, number: int, ready: Ready, rng: np.random.Generator, found: Snapshot | None
    ) -> Generator[EpochReport, None, None]:
        spec, progress = self.spec, self.progress
        model = self.bench.models.compiled(
            self.network,
            self.plan,
            ready.stage,
            ready.cut,
            self.head,
            self.shape,
            spec.accumulate,
        )
        warm.reseed(model, self.head, spec.seed, number)
        if found is not None:
            snapshots.resume(found, self.network, self.head, model)
        former = progress.values(number, spec.objective)
        for epoch in fit.train(
            model,
            ready.train,
            ready.validation,
            ready.stage,
            spec.objective,
            rng,
            len(progress.reports) - len(former),
            former,
            spec.accumulate,
            self.bench.watchdog.beat,
        ):
            report = self._note(number, ready, epoch)
            saved = self.pace.due
            if saved:
                self._save(number, ready, model, rng)
            try:
                yield report
            except GeneratorExit:  # it is stopped here, and may go on later
                if not saved:
                    self._save(number, ready, model, rng)
                raise
        if ready.stage.restore_best and progress.stage_best:
            checkpoints.put(self.network, self.head, progress.stage_best)

    def _note(self, number: int, ready: Ready, epoch: EpochMetrics) -> EpochReport:
        """Take in an epoch, and keep the weights it left where it is the best of its stage."""
        progress, objective = self.progress, self.spec.objective
        report = EpochReport(len(progress.reports) + 1, number, epoch.metrics, epoch.seconds)
        former = progress.values(number, objective)
        value = report.metrics[objective.metric]
        if all(objective.better(value, other) for other in former):
            progress.stage_best = checkpoints.take(self.network, self.head, ready.trained_from)
        if progress.note(report, objective):
            progress.weights = progress.stage_best
        return report

    def _save(self, number: int, ready: Ready, model: Any, rng: np.random.Generator) -> None:
        """Save the trial as it is; a disk that refuses costs it nothing but what it would save."""
        started, progress, objective = time.monotonic(), self.progress, self.spec.objective
        is_best = not schedules.stalled(progress.values(number, objective), objective)
        now = None if is_best else checkpoints.take(self.network, self.head, ready.trained_from)
        snapshot = Snapshot(
            stage=number,
            reports=progress.reports,
            order=rng.bit_generator.state,
            weights=progress.stage_best if now is None else now,
            stage_best=progress.stage_best,
            trial_best=progress.weights,
            optimizer=snapshots.states(model.optimizer.variables),
            random=snapshots.states(warm.random_states(model)),
        )
        try:
            snapshots.save(self.file, snapshot, self.fingerprint)
        except OSError as error:
            print(f"{self.file} was not written: {error}", file=sys.stderr)
        self.pace.took(time.monotonic() - started)
