"""How the learning rate moves from epoch to epoch, and when a stage has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orch import own_functions
from orch.contracts import Schedule, Stage
from orch.trials import Objective


def rate(stage: Stage, values: Sequence[float], objective: Objective) -> float:
    """The learning rate of the epoch that follows `values`, the objective after each before it.

    Args:
        stage: its optimizer's rate is the first; its schedule says how it moves on.
        values: one number for each epoch of this stage that is over, oldest first.
        objective: tells what counts as an improvement.

    Raises:
        PluginError: a strategy's own schedule gives what is no rate.
    """
    first, schedule, epoch = stage.optimizer.learning_rate, stage.schedule, len(values)
    match schedule.kind:
        case "constant":
            return first
        case "inverse-time":
            return first / (1 + schedule.factor * epoch)
        case "exponential":
            return first * schedule.factor**epoch
        case "cosine":
            done = epoch / stage.epochs
            least = min(schedule.minimum, first)
            return least + (first - least) * (1 + math.cos(math.pi * done)) / 2
        case "plateau":
            return _after_plateaus(first, schedule, values, objective)
        case "own":
            return own_functions.rate(stage, epoch)


def over(stage: Stage, values: Sequence[float], objective: Objective) -> bool:
    """Whether a stage ends here: all its epochs were trained, or its patience is at an end."""
    if len(values) >= stage.epochs:
        return True
    return stage.patience is not None and stalled(values, objective) >= stage.patience


def stalled(values: Sequence[float], objective: Objective) -> int:
    """How many epochs ago the best one was; 0 where the last epoch is the best."""
    best = 0
    for at, value in enumerate(values):
        if objective.better(value, values[best]):
            best = at
    return len(values) - 1 - best


def _after_plateaus(
    first: float, schedule: Schedule, values: Sequence[float], objective: Objective
) -> float:
    """The rule of Keras's ReduceLROnPlateau, without cooldown and without a least improvement."""
    current, waited, best = first, 0, None
    for value in values:
        if best is None or objective.better(value, best):
            best, waited = value, 0
            continue
        waited += 1
        if waited >= schedule.patience:
            current, waited = max(current * schedule.factor, min(schedule.minimum, first)), 0
    return current
