"""From a plan to Keras models: the part before the cut, and the part that trains."""

from __future__ import annotations

from typing import Any

from orch.contracts import Head, ImageInput, Optimizer, Stage
from orch.training import backbones
from orch.training.cuts import Cut


def network_size(image: ImageInput) -> tuple[int, int]:
    """Height and width in pixels of what the backbone sees."""
    height, width = image.size
    return height * image.upsample, width * image.upsample


def prefix(network: Any, backbone: str, image: ImageInput, cut: Cut, head: Head) -> Any:
    """The model before the cut: uint8 examples (n, height, width, 3) → float32 features.

    Where the whole backbone is before the cut, average and max pooling are too.
    """
    import keras

    inputs = keras.Input((*image.size, 3), dtype="uint8")
    before = keras.Model(network.input, network.layers[cut.layers - 1].output)
    features = before(_scaled(inputs, backbone, image))
    return keras.Model(
        inputs, _pool(features, head) if _pooled_early(network, cut, head) else features
    )


def trained_part(
    network: Any, backbone: str, image: ImageInput, cut: Cut, head: Head, classes: int
) -> Any:
    """The model behind the cut: features, or uint8 examples where there is no cut → softmax."""
    import keras

    if cut.layers == 0:
        inputs = keras.Input((*image.size, 3), dtype="uint8")
        features = network(_scaled(inputs, backbone, image))
    else:
        crossing = network.layers[cut.layers - 1].output
        inputs = keras.Input(feature_shape(network, cut, head))
        whole = cut.layers == len(network.layers)
        features = inputs if whole else keras.Model(crossing, network.output)(inputs)
    if not (cut.layers and _pooled_early(network, cut, head)):
        features = _pool(features, head)
    return keras.Model(inputs, _classify(features, head, classes))


def feature_shape(network: Any, cut: Cut, head: Head) -> tuple[int, ...]:
    """The shape of one feature at the cut, without the batch dimension."""
    shape = tuple(network.layers[cut.layers - 1].output.shape[1:])
    return shape[-1:] if _pooled_early(network, cut, head) else shape


def _pooled_early(network: Any, cut: Cut, head: Head) -> bool:
    return cut.layers == len(network.layers) and head.pooling != "flatten"


def _scaled(inputs: Any, backbone: str, image: ImageInput) -> Any:
    import keras

    x = keras.layers.Rescaling(1.0)(inputs)  # uint8 → float32
    if image.upsample > 1:
        x = keras.layers.UpSampling2D(image.upsample, interpolation="nearest")(x)
    return backbones.preprocess(backbone, x)


def _pool(features: Any, head: Head) -> Any:
    import keras

    layer = {
        "average": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
        "flatten": keras.layers.Flatten,
    }[head.pooling]
    return layer()(features)


def _classify(x: Any, head: Head, classes: int) -> Any:
    import keras

    if not head.dense and head.dropout:
        x = keras.layers.Dropout(head.dropout)(x)
    for units in head.dense:
        x = keras.layers.Dense(units, activation="relu")(x)
        if head.dropout:
            x = keras.layers.Dropout(head.dropout)(x)
    start = "zeros" if head.start == "zeros" else "glorot_uniform"
    return keras.layers.Dense(classes, activation="softmax", kernel_initializer=start)(x)


def freeze(network: Any, frozen_layers: int) -> None:
    """Let only the layers from `frozen_layers` on train; frozen batch normalisation infers."""
    for position, layer in enumerate(network.layers):
        layer.trainable = position >= frozen_layers


def compile_for(model: Any, stage: Stage) -> None:
    """Compile with the stage's optimizer, cross-entropy on integer labels, and accuracy."""
    model.compile(
        optimizer=_optimizer(stage.optimizer),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def _optimizer(wanted: Optimizer) -> Any:
    import keras

    decay = wanted.weight_decay or None
    match wanted.name:
        case "adam":
            return keras.optimizers.Adam(wanted.learning_rate, weight_decay=decay)
        case "adamw":
            return keras.optimizers.AdamW(wanted.learning_rate, weight_decay=wanted.weight_decay)
        case "sgd":
            return keras.optimizers.SGD(
                wanted.learning_rate, momentum=wanted.momentum, weight_decay=decay
            )
        case "rmsprop":
            return keras.optimizers.RMSprop(
                wanted.learning_rate, momentum=wanted.momentum, weight_decay=decay
            )
