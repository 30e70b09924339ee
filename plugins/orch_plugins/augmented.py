"""Fine-tune on examples that are changed at random in every epoch."""

from __future__ import annotations

from collections.abc import Mapping

from orch.contracts import (
    Augmentation,
    Choice,
    Log,
    Parameter,
    Plan,
    Problem,
    StrategyFacts,
    Uniform,
    Value,
)
from orch_plugins import parameters

FLIP = Choice((True, False))


class Augmented:
    """As fine-tune, with zoom, rotation, shift, shear and flip; nothing is computed only once.

    The search is over frozen depth and learning rate; how strongly examples are changed is
    fixed unless a sweep says otherwise.
    """

    api = 1
    facts = StrategyFacts("augmented", "fine-tune on randomly changed examples")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """Frozen depth and learning rate are searched; the rest can be, with `-S`."""
        side = Uniform(0.0, 0.9)
        return (
            parameters.frozen_layers(problem),
            *parameters.training_parameters(Log(1e-5, 1e-2), 1e-4),
            parameters.fixed("zoom", 0.1, side, "zoom in or out by up to this fraction"),
            parameters.fixed("rotation", 10.0, Uniform(0.0, 180.0), "turn by up to these degrees"),
            parameters.fixed("shift", 0.1, side, "move by up to this fraction of the side"),
            parameters.fixed("shear", 0.0, side, "slant by up to this fraction of the side"),
            parameters.fixed("flip", False, FLIP, "mirror half of the examples left to right"),
            *parameters.head_parameters(),
            *parameters.image_parameters(problem),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """One stage with the chosen depth frozen, on changed examples."""
        return Plan(
            image=parameters.image(params),
            head=parameters.head(params),
            stages=(parameters.stage(params, int(params["frozen_layers"])),),
            augmentation=Augmentation(
                zoom=float(params["zoom"]),
                rotation=float(params["rotation"]),
                shift=float(params["shift"]),
                shear=float(params["shear"]),
                flip=params["flip"] is True,
            ),
        )
