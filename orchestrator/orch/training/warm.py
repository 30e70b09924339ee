"""Models that outlive a trial: built and traced once per shape, as new in every trial.

A model that was used before is one that was never used: its weights, its optimizer and its
random state are set from the trial's seed and nothing else.
"""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orch import own_functions
from orch.contracts import Augmentation, Head, ImageInput, Layers, Plan, Stage
from orch.training import models, optimizers, own_layers
from orch.training.cuts import Cut

ROOM = 2**30  # bytes that warm models may take
TRACED = 16 * 2**20  # bytes of a traced step, whatever its model's weights


@dataclass(frozen=True)
class NetworkShape:
    """A backbone with the published weights of a digest, at (height, width) pixels."""

    name: str
    size: tuple[int, int]
    digest: str


@dataclass(frozen=True)
class HeadShape:
    """What heads of one network have in common where one can stand in for the other."""

    network: NetworkShape
    head: Head
    classes: int

    @classmethod
    def of(cls, network: NetworkShape, plan: Plan, classes: int) -> HeadShape:
        """The shape of a plan's head; how its weights begin is no part of it."""
        return cls(network, replace(plan.head, start="zeros"), classes)


@dataclass(frozen=True)
class ModelShape:
    """What two stages have in common where one traced step serves both."""

    head: HeadShape
    image: ImageInput
    augmentation: Augmentation
    cut: int
    frozen_layers: int
    optimizer: optimizers.Kind
    batch_size: int


class WarmModels:
    """The heads and compiled models of one process, the least recently used dropped first."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._models: dict[ModelShape, tuple[Any, int]] = {}
        self._heads: weakref.WeakValueDictionary[HeadShape, Any] = weakref.WeakValueDictionary()

    def head(self, network: Any, plan: Plan, shape: HeadShape) -> Any:
        """The head of a plan, with weights of whichever trial had it last."""
        found = self._heads.get(shape)
        if found is None:
            found = self._heads[shape] = models.head(network, plan, shape.classes)
        return found

    def compiled(
        self,
        network: Any,
        plan: Plan,
        stage: Stage,
        cut: Cut,
        head: Any,
        shape: HeadShape,
        accumulate: int = 1,
    ) -> Any:
        """The model of a stage behind its cut, ready to train with a fresh optimizer.

        It shares its weights with `network` and `head`, which must be what `shape` says. Its
        optimizer adds up the gradients of `accumulate` steps.
        """
        key = ModelShape(
            shape,
            plan.image,
            plan.augmentation,
            cut.layers,
            stage.frozen_layers,
            optimizers.kind(stage.optimizer, accumulate),
            stage.batch_size,
        )
        models.freeze(network, stage.frozen_layers)
        if key in self._models:
            model, size = self._models.pop(key)
            optimizers.restart(model.optimizer, stage.optimizer)
        else:
            model = models.trained_part(network, shape.network.name, plan, cut, head)
            models.compile_for(model, stage, plan.head, accumulate)
            size = _bytes(model, accumulate)
            self._make_room(size)
        self._models[key] = model, size
        return model

    def clear(self) -> None:
        """Drop every model, where memory is short."""
        self._models.clear()
        gc.collect()

    def forget(self, network: NetworkShape) -> None:
        """Drop the models of a network that is dropped itself."""
        for key in [each for each in self._models if each.head.network == network]:
            del self._models[key]
        gc.collect()

    def _make_room(self, needed: int) -> None:
        """Drop what was not used for longest until a model that takes so many bytes fits."""
        dropped = False
        while self._models and needed + sum(s for _, s in self._models.values()) > self._room:
            del self._models[next(iter(self._models))]
            dropped = True
        if dropped:
            gc.collect()  # a model and its traced step hold each other


def _bytes(model: Any, accumulate: int) -> int:
    """What a traced step takes, and weights that train: with a gradient and two values of the
    optimizer for each, and with the sum of gradients where they are accumulated.
    """
    return TRACED + (16 if accumulate == 1 else 20) * sum(
        math.prod(weight.shape) for weight in model.trainable_weights
    )


def begin(head: Any, wanted: Head, seed: int) -> None:
    """Give a head the weights that a trial of this seed begins with.

    Kernels are drawn as Keras draws them (Glorot and Bengio, 2010) and biases are 0; so is the
    last kernel where the plan says so. A strategy's own layers begin as their initializers say.

    Raises:
        PluginError: a strategy's own layers are others when they are made again.
    """
    import keras

    dense: list[Any] = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    if wanted.layers:
        _begin_own(head, wanted, wanted.layers, seed)
        dense = dense[-1:]
    for number, layer in enumerate(dense):
        last = number == len(dense) - 1
        zero = last and wanted.start == "zeros"
        draw = keras.initializers.GlorotUniform(_seed(seed, number))
        kernel = keras.ops.zeros(layer.kernel.shape) if zero else draw(layer.kernel.shape)
        layer.kernel.assign(kernel)
        layer.bias.assign(keras.ops.zeros(layer.bias.shape))


def _begin_own(head: Any, wanted: Head, layers: Layers, seed: int) -> None:
    """Make a strategy's layers anew, as the first of a process are made, and take their weights."""
    shape, classes = tuple(head.input.shape[1:]), int(head.output.shape[-1])
    with own_layers.seeded(_seed(seed)):
        fresh = models.classifier(shape, wanted, classes).get_weights()
    if [each.shape for each in fresh] != [each.shape for each in head.get_weights()]:
        raise own_functions.complaint(layers, "returned other layers when it was called again")
    head.set_weights(fresh)


def reseed(model: Any, head: Any, seed: int, stage: int) -> None:
    """Set the random state of every layer, so that a stage draws what its seed says.

    The head's do not depend on what lies before it: the same with and without a cut.
    """
    of_head = random_states(head)
    known = {id(state) for state in of_head}
    others = [state for state in random_states(model) if id(state) not in known]
    for part, states in enumerate((of_head, others)):
        for number, state in enumerate(states):
            state.assign(np.array([_seed(seed, stage, part, number), 0], state.dtype))


def random_states(model: Any) -> list[Any]:
    """The variables of a model that say what dropout and augmentation draw next."""
    return [each for each in model.variables if each.path.endswith("seed_generator_state")]


def _seed(*numbers: int) -> int:
    """One seed from several numbers, as far from those of other numbers as can be."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0]) & 0x7FFFFFFF
