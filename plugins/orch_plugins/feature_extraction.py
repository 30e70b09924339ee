"""Train a new head on a backbone that stays as it was published."""

from __future__ import annotations

from collections.abc import Mapping

from orch.contracts import Log, Parameter, Plan, Problem, StrategyFacts, Value
from orch_plugins import parameters


class FeatureExtraction:
    """All layers of the backbone are frozen; the search is over the head's learning rate."""

    api = 1
    facts = StrategyFacts("feature-extraction", "train a head on a frozen backbone")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """The learning rate is searched; the rest can be, with `-S`."""
        return (
            *parameters.training_parameters(Log(1e-4, 1e-1), 1e-3),
            *parameters.head_parameters(),
            *parameters.image_parameters(problem),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """One stage with every layer of the backbone frozen."""
        everything = len(problem.backbone.layers)
        return Plan(
            image=parameters.image(params),
            head=parameters.head(params),
            stages=(parameters.stage(params, everything),),
        )
