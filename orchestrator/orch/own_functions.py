"""What a strategy adds of its own to a plan: functions, found by name and called by orch."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from orch.contracts import Layers, Own, Plan, Rate, Stage
from orch.errors import OrchError, PluginError, first_line

AnOwn = TypeVar("AnOwn", bound=Own)


def signed(plan: Plan, strategy: str) -> Plan:
    """The same plan, with the strategy's name in all that is its own, so that errors give it.

    Raises:
        PluginError: something of its own cannot be found by name in another process.
    """
    head, augmentation = plan.head, plan.augmentation
    return replace(
        plan,
        head=replace(head, layers=_signed(head.layers, Layers, strategy, "head")),
        augmentation=replace(
            augmentation,
            layers=_signed(augmentation.layers, Layers, strategy, "augmentation"),
        ),
        stages=tuple(
            replace(
                stage,
                schedule=replace(
                    stage.schedule,
                    rate=_signed(stage.schedule.rate, Rate, strategy, "schedule"),
                ),
            )
            for stage in plan.stages
        ),
    )


def rate(stage: Stage, epoch: int) -> float:
    """The learning rate that a stage's own schedule gives for an epoch, counted from 0.

    Raises:
        PluginError: it raised, or gave what is no rate.
    """
    own, first = stage.schedule.rate, stage.optimizer.learning_rate
    assert own is not None, "a schedule of kind own has a rate: plans.make sees to it"
    with blaming(own):
        value = own.function(epoch, first, **own.arguments)
        number = float(value)
    if not math.isfinite(number) or number <= 0:
        raise complaint(
            own, f"returned {value!r} for epoch {epoch}; a learning rate is finite and above 0"
        )
    return number


@contextmanager
def blaming(own: Own) -> Generator[None]:
    """Turn whatever a strategy's own code raises into a PluginError that names it."""
    try:
        yield
    except (OrchError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise complaint(own, f"raised {type(error).__name__}: {first_line(error)}") from error


def complaint(own: Own, what: str) -> PluginError:
    """The error that says what is wrong with something of a strategy's own."""
    return PluginError(f"the strategy {own.strategy!r} is at fault: {own.name} {what}")


def _signed(own: AnOwn | None, kind: type[AnOwn], strategy: str, place: str) -> AnOwn | None:
    if own is None:
        return None
    if not isinstance(own, kind):
        raise PluginError(
            f"the strategy {strategy!r} plans a {place} with {type(own).__name__} where "
            f"{kind.__name__}(function, arguments) belongs"
        )
    mine = kind(own.function, dict(own.arguments), strategy)
    if not _findable(mine):
        raise complaint(
            mine, "is not found by that name; define it at the top of a module, under its own name"
        )
    for name, value in mine.arguments.items():
        if not isinstance(value, bool | int | float | str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise complaint(mine, f"is given {name}={value!r}, which is no number, text or bool")
    return mine


def _findable(own: Own) -> bool:
    """Whether another process finds the function by module and name."""
    if not callable(own.function):
        return False
    module, _, path = own.name.partition(":")
    found = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is own.function
