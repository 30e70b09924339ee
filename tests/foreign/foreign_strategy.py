"""A strategy with a head, an augmentation and a schedule of its own, as a stranger writes it.

`head` and `rate` choose what is planned, so that tests can plan what is wrong as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from orch.contracts import (
    Augmentation,
    Choice,
    Dense,
    Fixed,
    Head,
    ImageInput,
    Int,
    Layers,
    Log,
    Optimizer,
    Parameter,
    Plan,
    Problem,
    Rate,
    Schedule,
    Stage,
    StrategyFacts,
    Uniform,
    Value,
)


@cache
def _attention() -> Any:
    """Attention pooling: a weight for each place, learnt (Ilse, Tomczak and Welling, 2018)."""
    import keras

    @keras.saving.register_keras_serializable("foreign")
    class AttentionPooling(keras.Layer):
        def __init__(self, units: int, **options: Any) -> None:
            super().__init__(**options)
            self.units = units
            self.hidden = keras.layers.Dense(units, activation="tanh", name="hidden")
            self.score = keras.layers.Dense(1, name="score")

        def build(self, shape: Any) -> None:
            self.hidden.build(shape)
            self.score.build((*shape[:-1], self.units))

        def call(self, x: Any) -> Any:
            scores = keras.ops.exp(self.score(self.hidden(x)))
            return keras.ops.sum(x * scores, (1, 2)) / keras.ops.sum(scores, (1, 2))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    return AttentionPooling


def attention(units: int, dropout: float) -> list[Any]:
    import keras

    return [
        _attention()(units),
        keras.layers.BatchNormalization(momentum=0.8),
        keras.layers.Dense(units, kernel_initializer="he_normal"),
        keras.layers.Activation("gelu"),
        keras.layers.Dropout(dropout),
    ]


def normalized(units: int, dropout: float) -> list[Any]:
    import keras

    return [
        keras.layers.BatchNormalization(momentum=0.8),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dropout(dropout),
    ]


def cutout(side: float) -> list[Any]:
    """A black square at random (DeVries and Taylor, 2017)."""
    import keras

    return [keras.layers.RandomErasing(factor=1.0, scale=(side / 2, side))]


def always(shade: float) -> list[Any]:
    """An augmentation that does not ask whether it is training."""
    import keras

    return [keras.layers.Rescaling(shade)]


def enlarged() -> list[Any]:
    import keras

    return [keras.layers.UpSampling2D(2)]


def with_weights() -> list[Any]:
    import keras

    return [keras.layers.Dense(3)]


def warmup(epoch: int, rate: float, epochs: int) -> float:
    return rate * min(1.0, (epoch + 1) / epochs)


def no_rate(epoch: int, rate: float) -> float:
    return math.nan if epoch else rate


def no_list() -> Any:
    import keras

    return keras.layers.Dropout(0.1)


def no_layers() -> list[Any]:
    return ["dense"]


def map_left() -> list[Any]:
    return []


@cache
def once() -> list[Any]:
    import keras

    return [keras.layers.Dense(4)]


def raises() -> list[Any]:
    raise RuntimeError("no such thing")


def for_maps() -> list[Any]:
    import keras

    return [keras.layers.Conv2D(8, 3)]


COUNT = iter(range(2, 10_000))


def other_each_time() -> list[Any]:
    import keras

    return [keras.layers.Dense(next(COUNT))]


HEADS: dict[str, Head] = {
    "attention": Head("none", layers=Layers(attention, {"units": 16, "dropout": 0.4})),
    "normalized": Head("average", layers=Layers(normalized, {"units": 16, "dropout": 0.4})),
    "raises": Head(layers=Layers(raises)),
    "no list": Head(layers=Layers(no_list)),
    "no layers": Head(layers=Layers(no_layers)),
    "map left": Head("none", layers=Layers(map_left)),
    "once": Head(layers=Layers(once)),
    "wrong rank": Head(layers=Layers(for_maps)),
    "other each time": Head(layers=Layers(other_each_time)),
    "lambda": Head(layers=Layers(lambda: [])),
    "the layers": Head(layers=["dense"]),  # pyright: ignore
    "an argument": Head(layers=Layers(normalized, {"units": [16]})),  # pyright: ignore
    "both": Head(dense=(Dense(8),), layers=Layers(normalized, {"units": 16, "dropout": 0.4})),
    "neither": Head("none"),
}
AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "cutout": Augmentation(flip=True, layers=Layers(cutout, {"side": 0.3})),
    "always": Augmentation(layers=Layers(always, {"shade": 0.5})),
    "weights": Augmentation(layers=Layers(with_weights)),
    "shape": Augmentation(layers=Layers(enlarged)),
}
RATES: dict[str, Schedule] = {
    "constant": Schedule(),
    "warmup": Schedule("own", rate=Rate(warmup, {"epochs": 2})),
    "broken": Schedule("own", rate=Rate(no_rate)),
    "none": Schedule("own"),
    "unused": Schedule("constant", rate=Rate(warmup, {"epochs": 2})),
}


class Foreign:
    api = 1
    facts = StrategyFacts("foreign", "a head, an augmentation and a schedule of its own")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        stages = problem.backbone.stages
        depth = Int(0, len(problem.backbone.layers))
        head, augmentation, rate = (Choice(tuple(known)) for known in (HEADS, AUGMENTATIONS, RATES))
        return (
            Parameter("frozen_layers", Choice(stages), stages[-1], depth, "layers that stay"),
            Parameter("learning_rate", Log(1e-4, 1e-1), 1e-2, Log(1e-6, 1.0), "step size"),
            Parameter("epochs", Fixed(2), 2, Int(1, 100), "passes over the examples"),
            Parameter("units", Int(8, 64), 16, Int(1, 512), "width of the head"),
            Parameter("dropout", Fixed(0.4), 0.4, Uniform(0.0, 0.9), "fraction dropped"),
            Parameter("head", Fixed("attention"), "attention", head, "which head"),
            Parameter("augment", Fixed("none"), "none", augmentation, "which augmentation"),
            Parameter("rate", Fixed("warmup"), "warmup", rate, "which schedule"),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        head = HEADS[str(params["head"])]
        if params["head"] in ("attention", "normalized"):
            chosen = {"units": params["units"], "dropout": params["dropout"]}
            own = Layers({"attention": attention, "normalized": normalized}[params["head"]], chosen)
            head = Head(head.pooling, layers=own)
        stage = Stage(
            frozen_layers=int(params["frozen_layers"]),
            optimizer=Optimizer("sgd", float(params["learning_rate"]), momentum=0.9),
            epochs=int(params["epochs"]),
            batch_size=32,
            schedule=RATES[str(params["rate"])],
        )
        return Plan(ImageInput((32, 32)), head, (stage,), AUGMENTATIONS[str(params["augment"])])
