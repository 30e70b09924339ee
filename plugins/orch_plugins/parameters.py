"""The parameters that strategies share, and how their values become parts of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from orch.contracts import (
    Choice,
    Dense,
    Domain,
    Fixed,
    Head,
    ImageInput,
    Int,
    Log,
    Optimizer,
    Parameter,
    Problem,
    Schedule,
    Stage,
    Uniform,
    Value,
)

OPTIMIZERS = Choice(("adam", "adamw", "sgd", "rmsprop"))
SCHEDULES = Choice(("constant", "inverse-time", "exponential", "cosine", "plateau"))
RATE = Log(1e-9, 100.0)
EPOCHS = Int(1, 100_000)
BATCH = Int(1, 65_536)
UNITS = Int(0, 65_536)
DROPOUT = Uniform(0.0, 0.95)


def fixed(name: str, value: Value, allowed: Domain, help: str) -> Parameter:
    """A parameter that is not searched unless a sweep says otherwise."""
    return Parameter(name, Fixed(value), value, allowed, help)


def frozen_layers(problem: Problem) -> Parameter:
    """How deep the backbone is frozen; searched over the layers after which the image shrinks."""
    stages = problem.backbone.stages
    return Parameter(
        "frozen_layers",
        Choice(stages),
        stages[-2],
        Int(0, len(problem.backbone.layers)),
        "leading layers of the backbone that do not train, input layer included",
    )


def image_parameters(problem: Problem) -> tuple[Parameter, ...]:
    """Image size and upsampling; both fixed at what dataset and backbone suggest."""
    size = max(problem.dataset.image_size)
    upsample = 1 if size >= problem.backbone.image_size else problem.dataset.upsample
    return (
        fixed("image_size", size, Int(1, 4096), "pixels per side that examples are resized to"),
        fixed(
            "upsample",
            upsample,
            Int(1, 16),
            "times the network enlarges an example, nearest neighbour",
        ),
    )


def head_parameters() -> tuple[Parameter, ...]:
    """Pooling, up to two dense layers, dropout, output; all fixed unless a sweep says otherwise."""
    pooling = Choice(("average", "max", "flatten"))
    return (
        fixed("pooling", "average", pooling, "how the last feature map becomes a vector"),
        fixed("head_units", 0, UNITS, "units of the first dense layer of the head; 0: none"),
        fixed("head_units_2", 0, UNITS, "units of the second dense layer of the head; 0: none"),
        fixed("dropout", 0.0, DROPOUT, "fraction dropped after the first dense layer or pooling"),
        fixed("dropout_2", 0.0, DROPOUT, "fraction dropped after the second dense layer"),
        fixed("output", "softmax", Choice(("softmax", "sigmoid")), "sigmoid is for two classes"),
        fixed("start", "zeros", Choice(("zeros", "random")), "how the last layer begins"),
    )


def training_parameters(
    rate: Log, default_rate: float, epochs: int = 10, optimizer: str = "adam"
) -> tuple[Parameter, ...]:
    """Learning rate (searched), its schedule, optimizer, batch size and epochs (fixed)."""
    return (
        Parameter("learning_rate", rate, default_rate, RATE, "step size"),
        fixed("optimizer", optimizer, OPTIMIZERS, "how gradients become steps"),
        fixed("momentum", 0.9, Uniform(0.0, 0.999), "momentum of sgd and rmsprop"),
        fixed("weight_decay", 0.0, Uniform(0.0, 1.0), "decoupled weight decay"),
        fixed("batch_size", 32, BATCH, "examples per step"),
        fixed("epochs", epochs, EPOCHS, "passes over the training examples"),
        fixed("schedule", "constant", SCHEDULES, "how the learning rate moves with the epochs"),
        fixed("decay", 0.5, Uniform(0.0, 1000.0), "factor of inverse-time, exponential, plateau"),
        fixed("plateau_patience", 3, EPOCHS, "epochs without improvement before plateau acts"),
        fixed("minimum_rate", 0.0, Uniform(0.0, 100.0), "below it cosine and plateau do not go"),
        fixed("stop_after", 0, Int(0, 100_000), "epochs without improvement that end it; 0: none"),
    )


def image(params: Mapping[str, Value]) -> ImageInput:
    """The input that these parameters describe."""
    values = cast(Mapping[str, Any], params)
    return ImageInput((values["image_size"],) * 2, values["upsample"])


def head(params: Mapping[str, Value]) -> Head:
    """The head that these parameters describe."""
    values = cast(Mapping[str, Any], params)
    layers = (
        Dense(values["head_units"], float(values["dropout"])),
        Dense(values["head_units_2"], float(values["dropout_2"])),
    )
    return Head(
        pooling=values["pooling"],
        dense=tuple(layer for layer in layers if layer.units),
        dropout=0.0 if values["head_units"] else float(values["dropout"]),
        output=values["output"],
        start=values["start"],
    )


def stage(params: Mapping[str, Value], frozen_layers: int) -> Stage:
    """The stage of training that these parameters describe."""
    values = cast(Mapping[str, Any], params)
    return Stage(
        frozen_layers=frozen_layers,
        optimizer=Optimizer(
            name=values["optimizer"],
            learning_rate=float(values["learning_rate"]),
            momentum=float(values["momentum"]),
            weight_decay=float(values["weight_decay"]),
        ),
        epochs=values["epochs"],
        batch_size=values["batch_size"],
        schedule=Schedule(
            kind=values["schedule"],
            factor=float(values["decay"]),
            patience=values["plateau_patience"],
            minimum=float(values["minimum_rate"]),
        ),
        patience=values["stop_after"] or None,
    )
