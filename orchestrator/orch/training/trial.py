"""Run one trial: the same function in a worker, in a test and in a notebook.

words → TrialSpec → plan → decoded examples → features → epochs → outcome
"""

from __future__ import annotations

import errno
import math
import shutil
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch import catalog, registry
from orch.contracts import (
    BackboneFacts,
    EpochReport,
    Failure,
    FailureKind,
    Plan,
    Problem,
    Split,
    TrialOutcome,
    TrialSpec,
)
from orch.errors import DataError, PluginError, StorageError, first_line
from orch.home import Home
from orch.training import backbones, cuts, examples, fit, models
from orch.training.arrays import ArrayStore
from orch.training.cuts import Cut
from orch.training.fit import Examples

FILL_BATCH = 64  # examples per step when features are computed
DISK_SHARE = 5  # one stored array may take a fifth of the free disk


class Workbench:
    """What one process keeps between trials: loaded networks, open datasets and arrays."""

    def __init__(self, home: Home, verify_store: bool = True) -> None:
        self.home = home
        self.store = ArrayStore(home.store, verify_store)
        self._networks: dict[tuple[str, tuple[int, int]], tuple[Any, list[NDArray[Any]]]] = {}
        self._splits: dict[str, Mapping[str, Split]] = {}

    def network(self, name: str, size: tuple[int, int]) -> Any:
        """A backbone with its published weights, whatever a trial before did to them."""
        if (name, size) not in self._networks:
            weights = self.weights(name)
            network = backbones.load(name, size, weights)
            self._networks[name, size] = network, network.get_weights()
        network, published = self._networks[name, size]
        network.set_weights(published)
        return network

    def weights(self, name: str) -> backbones.Weights:
        """Where a backbone's weights are.

        Raises:
            DataError: they are not there.
        """
        found = backbones.find_weights(self.home, name)
        if found is None:
            raise DataError(f"the weights of {name} are gone", f"orch backbones add {name}")
        return found

    def free_bytes(self) -> int:
        """The free space of the disk that holds the store."""
        self.home.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        return shutil.disk_usage(self.home.store).free

    def splits(self, name: str, digest: str) -> Mapping[str, Split]:
        """An installed dataset's splits.

        Raises:
            DataError: what is installed is not what the trial was made for.
        """
        installed = catalog.find(self.home, name)
        if installed is None or installed.digest != digest:
            raise DataError(
                f"{name} has changed since the sweep began",
                f"orch datasets add {name}, then start a new sweep",
            )
        if digest not in self._splits:
            self._splits[digest] = catalog.open_splits(self.home, name)
        return self._splits[digest]


def run_trial(
    spec: TrialSpec, report: Callable[[EpochReport], None], bench: Workbench
) -> TrialOutcome:
    """Run a trial to its end, reporting after each epoch. A failure is an outcome, not raised."""
    running = trial_epochs(spec, bench)
    while True:
        try:
            report(next(running))
        except StopIteration as end:
            return end.value


def trial_epochs(spec: TrialSpec, bench: Workbench) -> Generator[EpochReport, None, TrialOutcome]:
    """Run a trial step by step: each `next` trains an epoch; the outcome is the return value."""
    started = time.monotonic()
    progress = _Progress()
    try:
        yield from _train(spec, bench, progress)
        failure = None
    except Exception as error:
        failure = Failure(classify(error), first_line(error), traceback.format_exc())
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
    best: EpochReport | None = None


def _train(
    spec: TrialSpec, bench: Workbench, progress: _Progress
) -> Generator[EpochReport, None, None]:
    import keras

    splits = bench.splits(spec.dataset, spec.dataset_digest)
    chosen = examples.select(splits, spec.limit)
    facts = backbones.describe(bench.home, spec.backbone)
    plan, classes = make_plan(spec, facts, len(chosen[0].indices))
    progress.plan = plan
    (stage,) = plan.stages
    progress.cut = cut = cuts.choose(facts, stage.frozen_layers)
    network = bench.network(spec.backbone, models.network_size(plan.image))
    progress.cut = cut = _affordable(cut, bench, plan, network, chosen)
    models.freeze(network, stage.frozen_layers)
    train, validation = _inputs(spec, bench, plan, network, cut, chosen)
    keras.utils.set_random_seed(spec.seed)  # only now: loading a network draws numbers too
    model = models.trained_part(network, spec.backbone, plan.image, cut, plan.head, classes)
    models.compile_for(model, stage)
    rng = np.random.default_rng(spec.seed)
    epochs = fit.train(
        model, train, validation, epochs=stage.epochs, batch_size=stage.batch_size, rng=rng
    )
    metric = spec.objective.metric
    for number, epoch in enumerate(epochs, start=1):
        report = EpochReport(number, 1, epoch.metrics, epoch.seconds)
        if metric not in report.metrics:
            raise DataError(f"no metric is called {metric!r} ({', '.join(report.metrics)})")
        if progress.best is None or spec.objective.better(
            report.metrics[metric], progress.best.metrics[metric]
        ):
            progress.best = report
        yield report


def _affordable(
    cut: Cut,
    bench: Workbench,
    plan: Plan,
    network: Any,
    chosen: tuple[examples.Selection, examples.Selection],
) -> Cut:
    """The cut, or none where its features would crowd the disk."""
    if not cut.layers:
        return cut
    values = math.prod(models.feature_shape(network, cut, plan.head))
    needed = sum(len(role.indices) for role in chosen) * values * 4  # bytes, float32
    free = bench.free_bytes()
    if needed * DISK_SHARE <= free:
        return cut
    return Cut(0, "none", f"its features take {needed:,} bytes of {free:,} that are free")


def make_plan(spec: TrialSpec, facts: BackboneFacts, train_examples: int) -> tuple[Plan, int]:
    """Ask the strategy for its plan; returns it and the number of classes.

    Raises:
        PluginError: the strategy raised or returned no plan.
    """
    dataset = registry.load_dataset(spec.dataset).facts
    strategy = registry.load_strategy(spec.strategy)
    with registry.blaming("strategy", spec.strategy):
        plan = strategy.plan(spec.params, Problem(dataset, facts, train_examples))
    if not isinstance(plan, Plan):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PluginError(f"the strategy {spec.strategy!r} returned {type(plan).__name__}, no Plan")
    return plan, len(dataset.classes)


def _inputs(
    spec: TrialSpec,
    bench: Workbench,
    plan: Plan,
    network: Any,
    cut: Cut,
    chosen: tuple[examples.Selection, examples.Selection],
) -> tuple[Examples, Examples]:
    """What the trained part reads, for both roles: decoded examples, or features at the cut."""
    splits = bench.splits(spec.dataset, spec.dataset_digest)
    before: list[Any] = []  # the model before the cut, built when a feature is missing

    def compute(inputs: NDArray[np.uint8], out: NDArray[Any]) -> None:
        if not before:
            before.append(models.prefix(network, spec.backbone, plan.image, cut, plan.head))
        for start in range(0, len(inputs), FILL_BATCH):
            part = inputs[start : start + FILL_BATCH]
            out[start : start + len(part)] = fit.predict(before[0], part, FILL_BATCH)

    found: list[Examples] = []
    for role in chosen:
        split = splits[role.split]
        key, decoded = examples.decoded(
            bench.store, spec.dataset, spec.dataset_digest, split, role, plan.image.size
        )
        inputs: NDArray[Any] = decoded
        if cut.layers:
            shape = models.feature_shape(network, cut, plan.head)
            inputs = bench.store.get_or_build(
                {**_feature_key(spec, bench, plan, cut), "of": key, "shape": list(shape)},
                (len(decoded), *shape),
                "float32",
                lambda out, source=decoded: compute(source, out),
            )
        found.append(Examples(inputs, examples.labels(split, role)))
    return found[0], found[1]


def _feature_key(spec: TrialSpec, bench: Workbench, plan: Plan, cut: Cut) -> dict[str, Any]:
    import keras

    backend = keras.backend.backend()
    return {
        "what": "features",
        "backbone": spec.backbone,
        "weights": bench.weights(spec.backbone).digest,
        "upsample": plan.image.upsample,
        "cut": cut.layers,
        "pooling": plan.head.pooling,
        "keras": [keras.__version__, backend, version(backend)],
    }


def classify(error: Exception) -> FailureKind:
    """The class of a failure, which decides what may be tried next."""
    text = f"{type(error).__name__} {error}"
    match error:
        case fit.NotFiniteError():
            return "not finite"
        case PluginError():
            return "plugin"
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
