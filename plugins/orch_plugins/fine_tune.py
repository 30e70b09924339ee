"""Freeze the first layers, train the rest together with a new head."""

from __future__ import annotations

from collections.abc import Mapping

from orch.contracts import Choice, Int, Log, Parameter, Plan, Problem, StrategyFacts, Value
from orch_plugins import single_stage


class FineTune:
    """The search is over how many layers stay frozen and over the learning rate.

    These are the two things that Yosinski et al., "How transferable are features in deep neural
    networks?" (2014), found to decide the result.
    """

    api = 1
    facts = StrategyFacts("fine-tune", "freeze the first layers, train the rest and a head")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """Frozen depth and learning rate are searched; the rest can be, with `-S`."""
        stages = problem.backbone.stages
        depth = Parameter(
            "frozen_layers",
            Choice(stages),
            stages[-2],
            Int(0, len(problem.backbone.layers)),
            "leading layers of the backbone that do not train, input layer included",
        )
        return (
            depth,
            *single_stage.training_parameters(Log(1e-5, 1e-2), 1e-4, epochs=10),
            *single_stage.head_parameters(),
            *single_stage.input_parameters(problem),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """One stage with the chosen depth frozen."""
        return single_stage.plan(params, frozen_layers=int(params["frozen_layers"]))
