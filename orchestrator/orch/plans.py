"""Asking a strategy for a plan, and making sure that it can be trained."""

from __future__ import annotations

from collections.abc import Mapping

from orch import registry
from orch.contracts import Plan, Problem, Stage, Strategy, Value
from orch.errors import PluginError, UsageError


def make(strategy: Strategy, params: Mapping[str, Value], problem: Problem) -> Plan:
    """The plan of a strategy for these values.

    Raises:
        PluginError: the strategy raised, or returned what is no plan.
        UsageError: these values do not go together with this dataset or backbone.
    """
    name = strategy.facts.name
    with registry.blaming("strategy", name):
        plan = strategy.plan(params, problem)
    if not isinstance(plan, Plan):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PluginError(f"the strategy {name!r} returned {type(plan).__name__}, no Plan")
    if not plan.stages:
        raise PluginError(f"the strategy {name!r} returned a plan without stages")
    for stage in plan.stages:
        _check_stage(name, stage, len(problem.backbone.layers))
    _check_head(plan, problem)
    _check_size(plan, problem)
    return plan


def _check_stage(strategy: str, stage: Stage, layers: int) -> None:
    if not 0 <= stage.frozen_layers <= layers:
        raise PluginError(
            f"the strategy {strategy!r} freezes {stage.frozen_layers} of {layers} layers"
        )
    if stage.epochs < 1 or stage.batch_size < 1:
        raise PluginError(
            f"the strategy {strategy!r} plans {stage.epochs} epochs of batches of "
            f"{stage.batch_size} examples"
        )
    falling = {"plateau": stage.schedule.factor < 1, "exponential": stage.schedule.factor <= 1}
    if not falling.get(stage.schedule.kind, True):
        raise UsageError(
            f"with decay={stage.schedule.factor:g} the {stage.schedule.kind} schedule would raise "
            "the learning rate",
            "-S decay=0.5",
        )


def _check_head(plan: Plan, problem: Problem) -> None:
    classes = len(problem.dataset.classes)
    if plan.head.output == "sigmoid" and classes != 2:
        raise UsageError(
            f"output=sigmoid is for two classes, {problem.dataset.name} has {classes}",
            "-S output=softmax",
        )


def _check_size(plan: Plan, problem: Problem) -> None:
    height, width = (side * plan.image.upsample for side in plan.image.size)
    least = problem.backbone.minimum_size
    if min(height, width) < least:
        raise UsageError(
            f"{problem.backbone.name} needs images of at least {least} × {least} pixels, "
            f"these become {height} × {width}",
            f"-S image_size={least} -S upsample=1",
        )
