"""Train a new head on a backbone that stays as it was published."""

from __future__ import annotations

from collections.abc import Mapping

from orch.contracts import Log, Parameter, Plan, Problem, StrategyFacts, Value
from orch_plugins import single_stage


class FeatureExtraction:
    """All layers of the backbone are frozen; the search is over the head's learning rate."""

    api = 1
    facts = StrategyFacts("feature-extraction", "train a head on a frozen backbone")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """The learning rate is searched; the rest can be, with `-S`."""
        return (
            *single_stage.training_parameters(Log(1e-4, 1e-1), 1e-3, epochs=10),
            *single_stage.head_parameters(),
            *single_stage.input_parameters(problem),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """One stage with every layer of the backbone frozen."""
        return single_stage.plan(params, frozen_layers=len(problem.backbone.layers))
