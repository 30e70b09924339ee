"""Keras layers of a strategy's own: made, checked, and put into the models that train."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from orch import own_functions
from orch.contracts import Layers


def into_head(wanted: Layers, x: Any) -> Any:
    """Call a head's own layers on a symbolic tensor, one after another; ends as (n, units).

    Raises:
        PluginError: they are no fresh Keras layers, raise, or end in another rank.
    """
    x = _through(wanted, made(wanted), x)
    if len(x.shape) != 2 or x.shape[1] is None:
        raise own_functions.complaint(
            wanted, f"ends in the shape {_text(x.shape)}, and an output stands on (n, units) only"
        )
    return x


def into_augmentation(wanted: Layers, images: Any) -> Any:
    """Call an augmentation's own layers on symbolic images, to act in training only.

    Raises:
        PluginError: they are no fresh Keras layers, raise, hold weights or change the shape.
    """
    layers = made(wanted)
    after = _through(wanted, layers, images)
    if tuple(after.shape) != tuple(images.shape):
        raise own_functions.complaint(
            wanted, f"turns images of {_text(images.shape)} into {_text(after.shape)}"
        )
    if any(layer.weights for layer in layers):
        raise own_functions.complaint(
            wanted, "returned layers with weights; what has weights belongs into the head"
        )
    return in_training_only()(layers)(images)


def made(wanted: Layers) -> list[Any]:
    """What a strategy's function returns, made now.

    Raises:
        PluginError: it raised, or returned what is no list of fresh Keras layers.
    """
    import keras

    with own_functions.blaming(wanted):
        layers = wanted.function(**wanted.arguments)
    if not isinstance(layers, list | tuple):
        raise own_functions.complaint(
            wanted, f"returned {type(layers).__name__}; a list of Keras layers belongs there"
        )
    found: list[Any] = list(layers)
    for layer in found:
        if not isinstance(layer, keras.Layer):
            raise own_functions.complaint(
                wanted,
                f"returned a list with {type(layer).__name__} in it, which is no Keras layer",
            )
        if _used(layer) or sum(each is layer for each in found) > 1:
            raise own_functions.complaint(
                wanted, f"returned the layer {layer.name!r}, which is in use already; make new ones"
            )
    return found


def _used(layer: Any) -> bool:
    """Whether a layer was called before; a model of several is built when it is made."""
    import keras

    built = layer.built and bool(layer.weights) and not isinstance(layer, keras.Model)
    return built or bool(layer._inbound_nodes)


def _through(wanted: Layers, layers: list[Any], x: Any) -> Any:
    import keras

    for layer in layers:
        with own_functions.blaming(wanted):
            x = layer(x)
        if not isinstance(x, keras.KerasTensor):
            raise own_functions.complaint(
                wanted, f"has a layer {layer.name!r} that returns {type(x).__name__}, no one tensor"
            )
    return x


def _text(shape: Any) -> str:
    return f"({', '.join('n' if at == 0 else str(side) for at, side in enumerate(shape))})"


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Let layers that are made here begin as `seed` says, as they would in any other process.

    Keras takes the seeds of initializers from Python's generator, layers may take others from
    NumPy's: both go on afterwards as if nothing had been drawn.
    """
    import keras

    python, numpy = random.getstate(), np.random.get_state()
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@cache
def in_training_only() -> Any:
    """The class of a layer that calls others in training, and else returns what it was given."""
    import keras

    class InTrainingOnly(keras.Layer):
        def __init__(self, layers: list[Any]) -> None:
            super().__init__()
            self.inner = layers
            self.built = True

        def call(self, images: Any, training: bool | None = None) -> Any:
            if training:
                for layer in self.inner:
                    images = layer(images)
            return images

    return InTrainingOnly
