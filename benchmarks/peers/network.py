"""The network of every peer: VGG16, average pooling, one dense layer, as one would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np


def load(data: str) -> tuple[Any, Any, Any, Any]:
    """Decoded images and labels: train and validation."""
    found = np.load(data)
    return tuple(found[name] for name in ("train_x", "train_y", "validation_x", "validation_y"))


def build(data: str, size: int, depth: int, rate: float, seed: int) -> keras.Model:
    """A compiled model whose first `depth` layers of VGG16 are frozen."""
    keras.utils.set_random_seed(seed)
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(size, size, 3))
    base.load_weights(Path(data).with_name("vgg16.weights.h5"))
    for layer in base.layers[:depth]:
        layer.trainable = False
    inputs = keras.Input((size, size, 3))
    x = keras.applications.vgg16.preprocess_input(inputs)
    x = keras.layers.GlobalAveragePooling2D()(base(x))
    outputs = keras.layers.Dense(2, activation="softmax", kernel_initializer="zeros")(x)
    model = keras.Model(inputs, outputs)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model
