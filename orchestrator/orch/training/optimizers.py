"""Optimizers whose settings are variables, so that a traced step serves every trial."""

from __future__ import annotations

from functools import cache
from typing import Any

from orch.contracts import Optimizer

Kind = tuple[str, bool, bool, int]


def kind(wanted: Optimizer, accumulate: int = 1) -> Kind:
    """What of an optimizer is part of a traced step.

    That is its rule, momentum or none, decay or none, and of how many steps it adds up gradients.
    """
    return wanted.name, _has_momentum(wanted), _has_decay(wanted), accumulate


def make(wanted: Optimizer, accumulate: int = 1) -> Any:
    """A Keras optimizer; rate, momentum and weight decay may be set to others of its `kind`.

    With `accumulate` it changes weights in every so-manieth step, by the mean of the gradients
    since the last change.
    """
    import keras

    decay = wanted.weight_decay if _has_decay(wanted) else None
    steps: dict[str, Any] = {"gradient_accumulation_steps": accumulate} if accumulate > 1 else {}
    match wanted.name:
        case "adam":
            made: Any = keras.optimizers.Adam(wanted.learning_rate, weight_decay=decay, **steps)
        case "adamw":
            made = keras.optimizers.AdamW(
                wanted.learning_rate, weight_decay=wanted.weight_decay, **steps
            )
        case "sgd":
            made = keras.optimizers.SGD(
                wanted.learning_rate, momentum=wanted.momentum, weight_decay=decay, **steps
            )
        case "rmsprop":
            made = keras.optimizers.RMSprop(
                wanted.learning_rate, momentum=wanted.momentum, weight_decay=decay, **steps
            )
    if _has_decay(wanted):
        made.weight_decay = _setting()(wanted.weight_decay)
    if _has_momentum(wanted):
        made.momentum = _setting()(wanted.momentum)
    return made


def restart(optimizer: Any, wanted: Optimizer) -> None:
    """Forget every step that was made, and take on the settings of another of the same `kind`.

    Gradients that were added up are forgotten too.
    """
    import keras

    for variable in optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    optimizer.learning_rate = wanted.learning_rate
    if _has_decay(wanted):
        optimizer.weight_decay.assign(wanted.weight_decay)
    if _has_momentum(wanted):
        optimizer.momentum.assign(wanted.momentum)


def _has_momentum(wanted: Optimizer) -> bool:
    return wanted.name in ("sgd", "rmsprop") and wanted.momentum > 0


def _has_decay(wanted: Optimizer) -> bool:
    return wanted.name == "adamw" or wanted.weight_decay > 0


@cache
def _setting() -> Any:
    """A variable that Keras, which asks whether a setting is 0, takes for one that is not."""
    import keras

    class Setting(keras.Variable):
        def __init__(self, value: float) -> None:
            super().__init__(value, trainable=False, dtype="float32")

        def __ne__(self, value: object) -> bool:
            return True

        def __gt__(self, value: object) -> bool:
            return True

        __hash__ = keras.Variable.__hash__

    return Setting
