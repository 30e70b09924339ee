"""Freeze the first layers, train the rest together with a new head."""

from __future__ import annotations

from collections.abc import Mapping

from orch.contracts import Log, Parameter, Plan, Problem, StrategyFacts, Value
from orch_plugins import parameters


class FineTune:
    """The search is over how many layers stay frozen and over the learning rate.

    These are the two things that Yosinski et al., "How transferable are features in deep neural
    networks?" (2014), found to decide the result.
    """

    api = 1
    facts = StrategyFacts("fine-tune", "freeze the first layers, train the rest and a head")

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """Frozen depth and learning rate are searched; the rest can be, with `-S`."""
        return (
            parameters.frozen_layers(problem),
            *parameters.training_parameters(Log(1e-5, 1e-2), 1e-4),
            *parameters.head_parameters(),
            *parameters.image_parameters(problem),
        )

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """One stage with the chosen depth frozen."""
        return Plan(
            image=parameters.image(params),
            head=parameters.head(params),
            stages=(parameters.stage(params, int(params["frozen_layers"])),),
        )
