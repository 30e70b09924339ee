"""Run one trial: the same function in a worker, in a test and in a notebook.

words → TrialSpec → plan → decoded examples → features → epochs → outcome
"""

from __future__ import annotations

import errno
import sys
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from orch import plans, registry
from orch.contracts import BackboneFacts, Plan, Problem, Stage
from orch.errors import DataError, PluginError, StorageError, UsageError, first_line
from orch.training import backbones, checkpoints, cuts, examples, fit, models, warm
from orch.training.cuts import Cut
from orch.training.examples import Selection
from orch.training.features import Reader
from orch.training.fit import EpochMetrics, Examples
from orch.training.warm import HeadShape, NetworkShape
from orch.training.workbench import Workbench
from orch.trials import EpochReport, Failure, FailureKind, Filling, TrialOutcome, TrialSpec


def run_trial(
    spec: TrialSpec, report: Callable[[EpochReport], None], bench: Workbench
) -> TrialOutcome:
    """Run a trial to its end, reporting after each epoch. A failure is an outcome, not raised."""
    running = trial_steps(spec, bench)
    while True:
        try:
            step = next(running)
        except StopIteration as end:
            return end.value
        if isinstance(step, EpochReport):
            report(step)


def trial_steps(
    spec: TrialSpec, bench: Workbench
) -> Generator[EpochReport | Filling, None, TrialOutcome]:
    """Run a trial step by step; the outcome is the return value.

    Each `next` trains an epoch, or before the first computes a part of what is stored.
    """
    started = time.monotonic()
    progress = _Progress()
    try:
        yield from _train(spec, bench, progress)
        failure = None
    except Exception as error:
        failure = Failure(classify(error), first_line(error), traceback.format_exc())
    finally:
        bench.store.release()
    best = progress.best
    return TrialOutcome(
        score=best.metrics[spec.objective.metric] if best else None,
        best_epoch=best.epoch if best else None,
        metrics=best.metrics if best else {},
        seconds=time.monotonic() - started,
        plan=asdict(progress.plan) if progress.plan else {},
        cut=progress.cut.name if progress.cut else None,
        failure=failure,
    )


@dataclass
class _Progress:
    """What is known so far, for the outcome of a trial that may fail at any point."""

    plan: Plan | None = None
    cut: Cut | None = None
    epochs: int = 0
    best: EpochReport | None = None
    weights: checkpoints.Weights | None = None

    def note(
        self, spec: TrialSpec, stage: int, epoch: EpochMetrics, best: checkpoints.Weights
    ) -> EpochReport:
        """Count an epoch; `best` are the weights of the stage's best epoch so far."""
        self.epochs += 1
        report = EpochReport(self.epochs, stage, epoch.metrics, epoch.seconds)
        metric = spec.objective.metric
        if self.best is None or spec.objective.better(
            report.metrics[metric], self.best.metrics[metric]
        ):
            self.best, self.weights = report, best
        return report


def _train(
    spec: TrialSpec, bench: Workbench, progress: _Progress
) -> Generator[EpochReport | Filling, None, None]:
    splits = bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
    roles = examples.select(splits, spec.limit)
    facts = backbones.describe(bench.home, spec.backbone)
    plan, classes = make_plan(spec, facts, len(roles[0].indices))
    progress.plan = plan
    of_network = NetworkShape(spec.backbone, models.network_size(plan.image), spec.weights_digest)
    network = bench.network(of_network)
    reader = Reader(spec, bench, plan, network, facts)
    stages = yield from _stages(reader, roles)
    progress.cut = stages[-1].cut
    shape = HeadShape.of(of_network, plan, classes)
    head = bench.models.head(network, plan, shape)
    warm.begin(head, plan.head, spec.seed)
    rng = np.random.default_rng(spec.seed)
    for number, ready in enumerate(stages, start=1):
        model = bench.models.compiled(network, plan, ready.stage, ready.cut, head, shape)
        warm.reseed(model, head, spec.seed, number)
        best: tuple[float, checkpoints.Weights] | None = None
        for epoch in fit.train(
            model,
            ready.train,
            ready.validation,
            ready.stage,
            spec.objective,
            rng,
            progress.epochs,
        ):
            value = epoch.metrics[spec.objective.metric]
            if best is None or spec.objective.better(value, best[0]):
                best = value, checkpoints.take(network, head, ready.trained_from)
            yield progress.note(spec, number, epoch, best[1])
        if ready.stage.restore_best and best is not None:
            checkpoints.put(network, head, best[1])
    if spec.keep and progress.weights is not None:
        _keep(checkpoints.path(bench.home.checkpoints, spec.id), progress.weights)


def _keep(file: Path, weights: checkpoints.Weights) -> None:
    """Save a checkpoint; a disk that refuses it takes nothing from the trial's result."""
    try:
        checkpoints.save(file, weights)
    except OSError as error:
        print(f"{file} was not written: {error}", file=sys.stderr)


@dataclass(frozen=True)
class _Ready:
    """A stage with its inputs; `trained_from` is the first layer that trained by its end."""

    stage: Stage
    cut: Cut
    trained_from: int
    train: Examples
    validation: Examples


def _stages(
    reader: Reader, roles: tuple[Selection, Selection]
) -> Generator[Filling, None, list[_Ready]]:
    """Read the inputs of every stage, while the network still is as it was published."""
    plan = reader.plan
    found = reader.affordable(cuts.of_plan(reader.facts, plan), roles)
    ready: list[_Ready] = []
    for stage, cut, first in zip(plan.stages, found, cuts.trained_from(plan), strict=True):
        train = yield from reader.read(roles[0], cut, found)
        validation = yield from reader.read(roles[1], cut, found)
        ready.append(_Ready(stage, cut, first, train, validation))
    return ready


def make_plan(spec: TrialSpec, facts: BackboneFacts, train_examples: int) -> tuple[Plan, int]:
    """Ask the strategy for its plan; returns it and the number of classes.

    Raises:
        PluginError, UsageError: as `plans.make`.
    """
    dataset = registry.load_dataset(spec.dataset, spec.dataset_options).facts
    problem = Problem(dataset, facts, train_examples)
    return plans.make(registry.load_strategy(spec.strategy), spec.params, problem), len(
        dataset.classes
    )


def classify(error: Exception) -> FailureKind:
    """The class of a failure, which decides what may be tried next."""
    text = f"{type(error).__name__} {error}"
    match error:
        case fit.NotFiniteError():
            return "not finite"
        case PluginError():
            return "plugin"
        case UsageError():
            return "configuration"
        case DataError():
            return "data"
        case StorageError():
            return "storage"
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return "storage"
        case MemoryError():
            return "out of memory"
        case _ if "ResourceExhausted" in text or "out of memory" in text.lower():
            return "out of memory"
        case _:
            return "internal"
