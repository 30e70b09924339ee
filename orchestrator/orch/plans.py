"""Asking a strategy for a plan, and making sure that it can be trained."""

from __future__ import annotations

from collections.abc import Mapping

from orch import own_functions, registry
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
    plan = own_functions.signed(plan, name)
    for stage in plan.stages:
        _check_stage(name, stage, len(problem.backbone.layers))
    _check_head(name, plan, problem)
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
    _check_schedule(strategy, stage)


def _check_schedule(strategy: str, stage: Stage) -> None:
    rate = stage.schedule.rate
    if (stage.schedule.kind == "own") is not (rate is not None):
        raise PluginError(
            f"the strategy {strategy!r} plans a schedule of kind {stage.schedule.kind!r} "
            f"with{'out' if rate is None else ''} a rate of its own"
        )
    for epoch in range(stage.epochs if rate else 0):
        own_functions.rate(stage, epoch)


def _check_head(strategy: str, plan: Plan, problem: Problem) -> None:
    classes, head = len(problem.dataset.classes), plan.head
    if head.output == "sigmoid" and classes != 2:
        raise UsageError(
            f"output=sigmoid is for two classes, {problem.dataset.name} has {classes}",
            "-S output=softmax",
        )
    if head.layers and (head.dense or head.dropout):
        raise PluginError(
            f"the strategy {strategy!r} plans a head with both {head.layers.name} and dense layers "
            "or dropout of ours; layers of its own take their place"
        )
    if head.pooling == "none" and not head.layers:
        raise PluginError(
            f"the strategy {strategy!r} plans a head without pooling and without layers of its own"
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
