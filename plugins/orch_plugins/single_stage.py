"""What strategies of one stage share: parameters of input, head and optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from orch.contracts import (
    Choice,
    Head,
    ImageInput,
    Int,
    Log,
    Optimizer,
    Parameter,
    Plan,
    Problem,
    Stage,
    Uniform,
    Value,
)
from orch.space import Fixed


def input_parameters(problem: Problem) -> tuple[Parameter, ...]:
    """Image size and upsampling; both fixed at what dataset and backbone suggest."""
    size = max(problem.dataset.image_size)
    enough = size >= problem.backbone.image_size
    return (
        fixed("image_size", size, Int(1, 4096), "pixels per side that examples are resized to"),
        fixed(
            "upsample",
            1 if enough else problem.dataset.upsample,
            Int(1, 16),
            "times the network enlarges an example, nearest neighbour",
        ),
    )


def head_parameters(dropout: float = 0.0) -> tuple[Parameter, ...]:
    """Pooling, one dense layer and dropout; all fixed unless a sweep says otherwise."""
    pooling = Choice(("average", "max", "flatten"))
    return (
        fixed("pooling", "average", pooling, "how the last feature map becomes a vector"),
        fixed("head_units", 0, Int(0, 65536), "units of the dense layer of the head; 0 means none"),
        fixed("dropout", dropout, Uniform(0.0, 0.95), "fraction of head units dropped in training"),
    )


def training_parameters(rate: Log, default_rate: float, epochs: int) -> tuple[Parameter, ...]:
    """Learning rate (searched), optimizer, batch size and epochs (fixed)."""
    optimizers = Choice(("adam", "adamw", "sgd", "rmsprop"))
    return (
        Parameter("learning_rate", rate, default_rate, Log(1e-9, 100.0), "step size"),
        fixed("optimizer", "adam", optimizers, "how gradients become steps"),
        fixed("momentum", 0.9, Uniform(0.0, 0.999), "momentum of sgd and rmsprop"),
        fixed("weight_decay", 0.0, Uniform(0.0, 1.0), "decoupled weight decay"),
        fixed("batch_size", 32, Int(1, 65536), "examples per step"),
        fixed("epochs", epochs, Int(1, 100_000), "passes over the training examples"),
    )


def fixed(name: str, value: Value, allowed: Any, help: str) -> Parameter:
    """A parameter that is not searched unless a sweep says otherwise."""
    return Parameter(name, Fixed(value), value, allowed, help)


def plan(params: Mapping[str, Value], frozen_layers: int) -> Plan:
    """The plan of one stage that these parameters describe."""
    values = cast(Mapping[str, Any], params)
    units: int = values["head_units"]
    stage = Stage(
        frozen_layers=frozen_layers,
        optimizer=Optimizer(
            name=values["optimizer"],
            learning_rate=float(values["learning_rate"]),
            momentum=float(values["momentum"]),
            weight_decay=float(values["weight_decay"]),
        ),
        epochs=values["epochs"],
        batch_size=values["batch_size"],
    )
    return Plan(
        image=ImageInput((values["image_size"],) * 2, values["upsample"]),
        head=Head(values["pooling"], (units,) if units else (), float(values["dropout"])),
        stages=(stage,),
    )
