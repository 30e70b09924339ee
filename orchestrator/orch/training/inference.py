"""What a finished trial's network says: of files it has not seen, and of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch import catalog, registry
from orch.contracts import FileReader, Plan
from orch.errors import DataError, NotFoundError, PluginError
from orch.training import backbones, checkpoints, cuts, examples, fit, models, trial
from orch.training.cuts import Cut
from orch.training.examples import Selection
from orch.training.features import Reader, finished
from orch.training.warm import NetworkShape
from orch.training.workbench import Workbench
from orch.trials import TrialSpec, has_own, plan_from_json, to_json

WHOLE = Cut.none("everything is computed")


@dataclass(frozen=True)
class Trained:
    """A trial's network with the weights of its best epoch."""

    spec: TrialSpec
    plan: Plan
    bench: Workbench
    classes: tuple[str, ...]
    network: Any
    head: Any

    @property
    def model(self) -> Any:
        """One Keras model: uint8 images (n, height, width, 3) → probabilities.

        A strategy's own augmentation is left out: it acts in training only.
        """
        plan = replace(self.plan, augmentation=replace(self.plan.augmentation, layers=None))
        return models.trained_part(self.network, self.spec.backbone, plan, WHOLE, self.head)

    @property
    def exported(self) -> Any:
        """The same with a column for every class, also where the head is one sigmoid."""
        import keras

        model = self.model
        if model.output.shape[-1] == len(self.classes):
            return model
        first = keras.layers.Rescaling(-1.0, offset=1.0)(model.output)
        return keras.Model(model.input, keras.layers.Concatenate()([first, model.output]))


def load(spec: TrialSpec, plan: Mapping[str, Any], bench: Workbench) -> Trained:
    """Put the kept weights of a trial into its network; `plan` is its plan as plain values.

    Raises:
        NotFoundError: its weights were not kept.
        DataError: they are damaged, or the published weights are gone or others, or layers of
            its strategy's own have changed.
    """
    try:
        weights = checkpoints.load(checkpoints.path(bench.home.checkpoints, spec.id))
    except FileNotFoundError:
        raise NotFoundError(
            f"the weights of trial {spec.id[:6]} are not there: a sweep keeps those of its best",
            f"orch trials --sweep {spec.sweep[:6]} says which; orch sweep --keep N keeps more",
        ) from None
    classes = tuple(spec.classes) or _classes_today(spec, bench)
    read = _planned_again(spec, plan, bench) if has_own(plan) else plan_from_json(plan)
    size = models.network_size(read.image)
    network = bench.network(NetworkShape(spec.backbone, size, spec.weights_digest))
    head = models.head(network, read, len(classes))
    checkpoints.put(network, head, weights)
    return Trained(spec, read, bench, classes, network, head)


def _classes_today(spec: TrialSpec, bench: Workbench) -> tuple[str, ...]:
    """The classes of a trial whose sweep did not record them, where the data are the same."""
    installed = catalog.find(bench.home, spec.dataset)
    if installed is not None:
        bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
    return catalog.load(bench.home, spec.dataset, spec.dataset_options).facts.classes


def _planned_again(spec: TrialSpec, recorded: Mapping[str, Any], bench: Workbench) -> Plan:
    """A plan with layers of a strategy's own: asked of the strategy, since a record names them.

    Raises:
        DataError: what the network is made of is planned otherwise today.
    """
    splits = bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
    count = len(examples.select(splits, spec.limit)[0].indices)
    facts = backbones.describe(bench.home, spec.backbone)
    plan, _ = trial.make_plan(spec, bench.home, facts, count)
    if any(to_json(getattr(plan, part)) != recorded[part] for part in ("image", "head")):
        raise DataError(
            f"the strategy {spec.strategy!r} has changed: today it plans trial {spec.id[:6]} "
            f"otherwise, or the file of {_head_of(plan)} was edited; its metrics are safe",
            "put the former version of the strategy back, or run the trial again",
        )
    return plan


def _head_of(plan: Plan) -> str:
    return plan.head.layers.name if plan.head.layers else "its head"


def read(trained: Trained, path: Path) -> NDArray[np.uint8]:
    """A file as the network sees it, uint8 (height, width, 3).

    Raises:
        PluginError: the dataset cannot read files.
        DataError: this file cannot be read.
    """
    name = trained.spec.dataset
    dataset = catalog.load(trained.bench.home, name, trained.spec.dataset_options)
    if not isinstance(dataset, FileReader):
        raise PluginError(f"the dataset {name!r} has no `read`, so it takes no files of yours")
    with registry.blaming("dataset", name):
        image = dataset.read(path)
    return examples.resized(image, trained.plan.image.size)


def predict(trained: Trained, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """The probability of every class, float64 (n, classes), for images as `read` gives them."""
    return fit.probabilities(trained.model, np.stack(images), fit.EVALUATION_BATCH)


def judge(trained: Trained, split: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The labels of a split and the probabilities that the network gives its examples.

    "train" is what the trial was trained on and "validation" what it was judged by, also where
    both are parts of the training split; any other split is taken whole. Features that are in
    the store are used.

    Raises:
        NotFoundError: the dataset has no such split.
    """
    spec, plan, bench = trained.spec, trained.plan, trained.bench
    splits = bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
    roles = {each.role: each for each in examples.select(splits, spec.limit)}
    if split in roles:
        chosen = roles[split]
    elif split in splits:
        chosen = Selection(split, split, np.arange(len(splits[split].labels)))
    else:
        raise NotFoundError.among("split", split, {*splits, "validation"})
    facts = backbones.describe(bench.home, spec.backbone)
    reader = Reader(spec, bench, plan, trained.network, facts)
    (cut,) = reader.affordable(cuts.of_plan(facts, plan)[-1:], [chosen])
    found = finished(reader.read(chosen, cut))
    model = models.trained_part(trained.network, spec.backbone, plan, cut, trained.head)
    return found.labels, fit.probabilities(model, found.inputs, fit.EVALUATION_BATCH)
