"""vgg-mini: a small VGG with batch normalisation, shipped with its weights.

The layer pattern is that of Simonyan and Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition" (2014), with batch normalisation (Ioffe and Szegedy, 2015)
after each convolution. `scripts/pretrain_vgg_mini.py` makes the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orch.contracts import API, NetworkFacts, Shipped

WEIGHTS = Path(__file__).parent / "weights"

BLOCKS = ((32, 2), (64, 2), (128, 2), (128, 1))  # (filters, convolutions) of each block
BATCH_NORM_MOMENTUM = 0.9  # Keras's 0.99 needs more steps than a small data set has in an epoch


def build(
    input_shape: tuple[int, int, int] = (32, 32, 3), momentum: float = BATCH_NORM_MOMENTUM
) -> Any:
    """Return the convolution base as a functional `keras.Model`, weights not loaded.

    Input: float32 (batch, height, width, 3), scaled to [-1, 1]; height and width at least 32.
    Output: float32 (batch, height // 16, width // 16, 128).
    """
    import keras

    inputs = keras.Input(input_shape, name="input")
    x: Any = inputs
    for block, (filters, convolutions) in enumerate(BLOCKS, start=1):
        for conv in range(1, convolutions + 1):
            x = keras.layers.Conv2D(
                filters, 3, padding="same", use_bias=False, name=f"block{block}_conv{conv}"
            )(x)
            x = keras.layers.BatchNormalization(momentum=momentum, name=f"block{block}_bn{conv}")(x)
            x = keras.layers.ReLU(name=f"block{block}_relu{conv}")(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return keras.Model(inputs, x, name="vgg-mini")


class VggMini:
    """The plugin of vgg-mini."""

    api = API
    facts = NetworkFacts(
        name="vgg-mini",
        title="a small VGG with batch normalisation, trained on CIFAR-10",
        licence="Apache-2.0",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        image_size=32,
        shipped=Shipped(
            WEIGHTS / "vgg-mini.weights.h5",
            json.loads((WEIGHTS / "vgg-mini.json").read_text())["digest"],
        ),
    )

    def build(self, size: tuple[int, int]) -> Any:
        """The convolution base."""
        return build((*size, 3))

    def preprocess(self, images: Any) -> Any:
        """From [0, 255] to [-1, 1]."""
        return images / 127.5 - 1.0
