"""Run one trial: the same function in a worker, in a test and in a notebook.

words → TrialSpec → plan → decoded examples → features → epochs → outcome
"""

from __future__ import annotations

import errno
import sys
import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path

from orch import catalog, plans, registry
from orch.contracts import BackboneFacts, Plan, Problem
from orch.errors import DataError, OrchError, PluginError, StorageError, UsageError, first_line
from orch.home import Home
from orch.training import backbones, checkpoints, examples, fit, models, snapshots, stages
from orch.training.features import Reader
from orch.training.snapshots import Pace
from orch.training.stages import Course, Progress
from orch.training.warm import HeadShape, NetworkShape
from orch.training.watchdog import TrialTimeoutError, stacks
from orch.training.workbench import Workbench
from orch.trials import EpochReport, Failure, FailureKind, Filling, TrialOutcome, TrialSpec, to_json

RESUMABLE: Collection[FailureKind] = ("storage",)
"""Failures after which a trial's snapshot stays, for an attempt that follows."""

NO_MEMORY = (
    "resourceexhausted",  # TensorFlow's ResourceExhaustedError
    "resource_exhausted",  # XLA, of JAX
    "out of memory",  # PyTorch, CUDA and JAX
    "outofmemory",  # PyTorch's OutOfMemoryError
    "out_of_memory",  # CUDA_ERROR_OUT_OF_MEMORY
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "can't allocate memory",  # PyTorch on the CPU
    "failed to allocate memory",  # TensorFlow's allocators
)


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
    progress, file = Progress(), snapshots.path(bench.home.running, spec.id)
    watchdog = bench.watchdog
    try:
        watchdog.begin(
            stacks(bench.home, spec.id, spec.attempt), spec.hang_seconds, spec.trial_seconds
        )
        yield from watchdog.watched(_train(spec, bench, progress))
        failure = None
    except Exception as error:
        hint = error.hint if isinstance(error, OrchError) else ""
        failure = Failure(classify(error), first_line(error), traceback.format_exc(), hint)
    finally:
        watchdog.end()
        bench.store.release()
    if failure is None or failure.kind not in RESUMABLE:
        file.unlink(missing_ok=True)
    if failure is not None and failure.kind == "out of memory":
        bench.clear()
    best = progress.best
    return TrialOutcome(
        score=best.metrics[spec.objective.metric] if best else None,
        best_epoch=best.epoch if best else None,
        metrics=best.metrics if best else {},
        seconds=time.monotonic() - started,
        plan=to_json(progress.plan) if progress.plan else {},
        cut=progress.cut.name if progress.cut else None,
        failure=failure,
    )


def _train(
    spec: TrialSpec, bench: Workbench, progress: Progress
) -> Generator[EpochReport | Filling, None, None]:
    pace = Pace(bench.keeping.checkpoint_seconds)
    splits = bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
    roles = examples.select(splits, spec.limit)
    facts = backbones.describe(bench.home, spec.backbone)
    plan, classes = make_plan(spec, bench.home, facts, len(roles[0].indices))
    progress.plan = plan
    of_network = NetworkShape(spec.backbone, models.network_size(plan.image), spec.weights_digest)
    network = bench.network(of_network)
    ready = yield from stages.read(Reader(spec, bench, plan, network, facts), roles)
    progress.cut = ready[-1].cut
    shape = HeadShape.of(of_network, plan, classes)
    course = Course(
        spec,
        bench,
        plan,
        network,
        bench.models.head(network, plan, shape),
        shape,
        progress,
        pace,
        snapshots.fingerprint(spec, plan, [each.cut for each in ready]),
    )
    yield from course.run(ready)
    if spec.keep and progress.weights:
        _keep(checkpoints.path(bench.home.checkpoints, spec.id), progress.weights)


def _keep(file: Path, weights: checkpoints.Weights) -> None:
    """Save a checkpoint; a disk that refuses it takes nothing from the trial's result."""
    try:
        checkpoints.save(file, weights)
    except OSError as error:
        print(f"{file} was not written: {error}", file=sys.stderr)


def make_plan(
    spec: TrialSpec, home: Home, facts: BackboneFacts, train_examples: int
) -> tuple[Plan, int]:
    """Ask the strategy for its plan; returns it and the number of classes.

    Raises:
        PluginError, UsageError: as `plans.make`.
    """
    dataset = catalog.load(home, spec.dataset, spec.dataset_options).facts
    problem = Problem(dataset, facts, train_examples)
    return plans.make(registry.load_strategy(spec.strategy), spec.params, problem), len(
        dataset.classes
    )


def classify(error: Exception) -> FailureKind:
    """The class of a failure, which decides what may be tried next."""
    if any(_out_of_memory(each) for each in _causes(error)):
        return "out of memory"
    match error:
        case fit.NotFiniteError():
            return "not finite"
        case TrialTimeoutError():
            return "timeout"
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
        case _:
            return "internal"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while True:
        yield error
        if error.__cause__ is None:
            return
        error = error.__cause__


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error says so: TensorFlow, JAX and PyTorch have classes and words of their own."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = f"{type(error).__name__} {error}".lower()
    return not isinstance(error, OrchError) and any(word in text for word in NO_MEMORY)
