"""From a plan to Keras models: what is computed once, and the part that trains."""

from __future__ import annotations

import math
from typing import Any

from orch.contracts import Head, ImageInput, Plan, Stage
from orch.training import anatomy, augment, backbones, optimizers, own_layers
from orch.training.cuts import Cut


def network_size(image: ImageInput) -> tuple[int, int]:
    """Height and width in pixels of what the backbone sees."""
    height, width = image.size
    return height * image.upsample, width * image.upsample


def between(network: Any, backbone: str, plan: Plan, start: int, cut: Cut) -> Any:
    """The model from behind the first `start` layers to a deeper cut, float32 out.

    With `start` 0 it reads uint8 examples (n, height, width, 3), else the features there.
    Where the whole backbone is before the cut, average and max pooling are too.
    """
    import keras

    if start:
        inputs = keras.Input(tuple(anatomy.output(network.layers[start - 1]).shape[1:]))
        opened = anatomy.output(network.layers[start - 1])
        x = inputs
    else:
        inputs = keras.Input((*plan.image.size, 3), dtype="uint8")
        opened = network.input
        x = _scaled(inputs, backbone, plan, augmented=False)
    features = keras.Model(opened, anatomy.output(network.layers[cut.layers - 1]))(x)
    if pooled_early(network, cut, plan.head):
        features = _pool(features, plan.head)
    return keras.Model(inputs, features)


def head(network: Any, plan: Plan, classes: int) -> Any:
    """The head as a model of its own: a pooled feature (n, d) → class probabilities.

    Without pooling it reads the feature map (n, height, width, channels). One model serves every
    stage of a trial, so that a stage goes on from the one before.
    """
    shape = tuple(network.output.shape[1:])
    read = {"none": shape, "flatten": (math.prod(shape),)}.get(plan.head.pooling, shape[-1:])
    return classifier(read, plan.head, classes)


def classifier(shape: tuple[int, ...], head: Head, classes: int) -> Any:
    """A head that reads features of `shape`, the batch dimension left out.

    Raises:
        PluginError: its layers are a strategy's own, and at fault.
    """
    import keras

    inputs = keras.Input(shape)
    x = own_layers.into_head(head.layers, inputs) if head.layers else _dense(inputs, head)
    units = 1 if head.output == "sigmoid" else classes
    start = "zeros" if head.start == "zeros" else "glorot_uniform"
    last = keras.layers.Dense(units, activation=head.output, kernel_initializer=start)
    return keras.Model(inputs, last(x), name="head")


def trained_part(network: Any, backbone: str, plan: Plan, cut: Cut, head: Any) -> Any:
    """The model behind the cut: features, or uint8 examples where there is no cut → `head`."""
    import keras

    if cut.layers == 0:
        inputs = keras.Input((*plan.image.size, 3), dtype="uint8")
        features = network(_scaled(inputs, backbone, plan, augmented=True))
    else:
        crossing = anatomy.output(network.layers[cut.layers - 1])
        inputs = keras.Input(feature_shape(network, cut, plan.head))
        whole = cut.layers == len(network.layers)
        features = inputs if whole else keras.Model(crossing, network.output)(inputs)
    if not pooled_early(network, cut, plan.head):
        features = _pool(features, plan.head)
    return keras.Model(inputs, head(features))


def feature_shape(network: Any, cut: Cut, head: Head) -> tuple[int, ...]:
    """The shape of one feature at the cut, without the batch dimension."""
    shape = tuple(anatomy.output(network.layers[cut.layers - 1]).shape[1:])
    return shape[-1:] if pooled_early(network, cut, head) else shape


def feature_bytes(network: Any, cut: Cut, head: Head) -> int:
    """What one stored feature takes, in bytes."""
    return 4 * math.prod(feature_shape(network, cut, head))


def pooled_early(network: Any, cut: Cut, head: Head) -> bool:
    """Whether features are stored pooled, which makes them small."""
    return cut.layers == len(network.layers) and head.pooling not in ("flatten", "none")


def _scaled(inputs: Any, backbone: str, plan: Plan, augmented: bool) -> Any:
    import keras

    x = keras.layers.Rescaling(1.0)(inputs)  # uint8 → float32
    for layer in augment.layers(plan.augmentation) if augmented else ():
        x = layer(x)
    if augmented and plan.augmentation.layers:
        x = own_layers.into_augmentation(plan.augmentation.layers, x)
    if plan.image.upsample > 1:
        x = keras.layers.UpSampling2D(plan.image.upsample, interpolation="nearest")(x)
    return backbones.preprocess(backbone, x)


def _pool(features: Any, head: Head) -> Any:
    import keras

    if head.pooling == "none":
        return features
    layer = {
        "average": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }[head.pooling]
    return layer()(features)


def _dense(x: Any, head: Head) -> Any:
    import keras

    if head.dropout:
        x = keras.layers.Dropout(head.dropout)(x)
    for dense in head.dense:
        x = keras.layers.Dense(dense.units, activation="relu")(x)
        if dense.dropout:
            x = keras.layers.Dropout(dense.dropout)(x)
    return x


def freeze(network: Any, frozen_layers: int) -> None:
    """Let only the layers from `frozen_layers` on train; frozen batch normalisation infers."""
    for position, layer in enumerate(network.layers):
        layer.trainable = position >= frozen_layers


def compile_for(model: Any, stage: Stage, head: Head, accumulate: int = 1) -> None:
    """Compile with the stage's optimizer, cross-entropy on integer labels, and accuracy."""
    binary = head.output == "sigmoid"
    model.compile(
        optimizer=optimizers.make(stage.optimizer, accumulate),
        loss="binary_crossentropy" if binary else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
