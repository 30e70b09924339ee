"""Train the head first, then fine-tune the last layers with a lower rate."""

from __future__ import annotations

from collections.abc import Mapping

from orch.contracts import Int, Log, Parameter, Plan, Problem, StrategyFacts, Value
from orch_plugins import parameters


class TwoStage:
    """A head that has learnt sends small gradients into the backbone; a random one wrecks it.

    Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution" (2022), call it LP-FT. The search is over both learning rates, the
    frozen depth and the length of the first stage.
    """

    api = 1
    facts = StrategyFacts("two-stage", "train a head, then fine-tune with a lower rate")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """Both stages share head, momentum, weight decay and early stopping."""
        return (
            parameters.frozen_layers(problem),
            *parameters.training_parameters(Log(1e-6, 1e-3), 1e-5),
            Parameter(
                "head_learning_rate",
                Log(1e-4, 1e-2),
                1e-3,
                parameters.RATE,
                "step size while the head alone trains",
            ),
            Parameter(
                "head_epochs", Int(2, 10), 5, parameters.EPOCHS, "epochs the head trains alone"
            ),
            parameters.fixed(
                "head_optimizer", "adam", parameters.OPTIMIZERS, "optimizer of the head alone"
            ),
            parameters.fixed(
                "head_batch_size", 32, parameters.BATCH, "examples per step for the head alone"
            ),
            *parameters.head_parameters(),
            *parameters.image_parameters(problem),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """The head on a frozen backbone, then both from the chosen depth on."""
        first = {
            **params,
            "learning_rate": params["head_learning_rate"],
            "epochs": params["head_epochs"],
            "optimizer": params["head_optimizer"],
            "batch_size": params["head_batch_size"],
            "schedule": "constant",
        }
        return Plan(
            image=parameters.image(params),
            head=parameters.head(params),
            stages=(
                parameters.stage(first, len(problem.backbone.layers)),
                parameters.stage(params, int(params["frozen_layers"])),
            ),
        )
