"""A small network with a residual block, as a stranger writes it, and several that are wrong."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from orch.contracts import NetworkFacts


def known(name: str, **more: Any) -> NetworkFacts:
    stated: dict[str, Any] = {
        "title": "a foreign network",
        "licence": "CC0-1.0",
        "homepage": "https://example.org/foreign",
        "image_size": 48,
    }
    return NetworkFacts(name=name, **{**stated, **more})


@cache
def _layers() -> tuple[Any, Any]:
    import keras

    @keras.saving.register_keras_serializable("foreign")
    class ScaledConv(keras.Layer):
        """A layer with weights of its own and a layer inside."""

        def __init__(self, filters: int, **options: Any) -> None:
            super().__init__(**options)
            self.filters = filters
            self.conv = keras.layers.Conv2D(filters, 3, padding="same", name="inner")

        def build(self, shape: Any) -> None:
            self.conv.build(shape)
            self.scale = self.add_weight(shape=(self.filters,), initializer="ones", name="scale")

        def call(self, x: Any) -> Any:
            return self.conv(x) * self.scale

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "filters": self.filters}

    class Noisy(keras.Layer):
        """Random in training, under a name that orch does not know."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.noise = keras.layers.GaussianNoise(0.5)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.noise(x, training=training)

    return ScaledConv, Noisy


class ForeignNet:
    api = 1
    facts = known("foreign-net")
    middle: ClassVar[bool] = False

    def build(self, size: tuple[int, int]) -> Any:
        import keras
        from keras import layers as kl

        conv, noisy = _layers()
        inputs = keras.Input((*size, 3), name="input")
        x = kl.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(inputs)
        y = conv(8, name="scaled")(x)
        y = kl.BatchNormalization(name="norm")(y)
        x = kl.ReLU(name="relu")(keras.ops.add(x, y))
        if self.middle:
            x = noisy(name="noisy")(x)
        x = kl.Conv2D(12, 3, 2, padding="same", name="down")(x)
        x = kl.Activation("relu", name="end")(x + 0.5)
        return keras.Model(inputs, x)

    def preprocess(self, images: Any) -> Any:
        import keras

        return keras.ops.flip(images, -1) / 255.0 - 0.5


class RandomNet(ForeignNet):
    facts = known("random-net")
    middle = True


class NextNet(ForeignNet):
    """The same network, another version."""

    facts = known("next-net", version=2)


class RaisingNet(ForeignNet):
    facts = known("raising-net")

    def build(self, size: tuple[int, int]) -> Any:
        raise RuntimeError("no layers today")


class SequentialNet(ForeignNet):
    facts = known("sequential-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        return keras.Sequential([keras.Input((*size, 3)), keras.layers.Conv2D(4, 3)])


class SubclassedNet(ForeignNet):
    facts = known("subclassed-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        class Subclassed(keras.Model):
            def call(self, x: Any) -> Any:
                return x

        return Subclassed()


class TwoInputsNet(ForeignNet):
    facts = known("two-inputs-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        inputs = [keras.Input((*size, 3)), keras.Input((*size, 3))]
        return keras.Model(inputs, keras.layers.Add()(inputs))


class TwoOutputsNet(ForeignNet):
    facts = known("two-outputs-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, [keras.layers.ReLU()(inputs), keras.layers.Conv2D(2, 3)(inputs)])


class OneNameNet(ForeignNet):
    """Two models of one's own inside, whose weights have the same names."""

    facts = known("one-name-net")
    conv = "conv"

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        def block(name: str) -> Any:
            inputs = keras.Input((*size, 3))
            named = self.conv or f"{name}_conv"
            conv = keras.layers.Conv2D(3, 3, padding="same", name=named)
            return keras.Model(inputs, conv(inputs), name=name)

        inputs = keras.Input((*size, 3), name="input")
        return keras.Model(inputs, block("second")(block("first")(inputs)))


class NestedNet(OneNameNet):
    """The same with a name for each."""

    facts = known("nested-net")
    conv = ""


class SharedNet(ForeignNet):
    facts = known("shared-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        inputs = keras.Input((*size, 3))
        conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
        return keras.Model(inputs, conv(conv(inputs)))


class PooledNet(ForeignNet):
    facts = known("pooled-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        inputs = keras.Input((*size, 3))
        x = keras.layers.Conv2D(3, 3)(inputs)
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


class OperationNet(ForeignNet):
    facts = known("operation-net")

    def build(self, size: tuple[int, int]) -> Any:
        import keras

        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, keras.ops.relu(keras.layers.Conv2D(3, 3)(inputs)))


class WideNet(ForeignNet):
    facts = known("wide-net")

    def build(self, size: tuple[int, int]) -> Any:
        return super().build((size[0], size[1] + 1))


class ShrinkingNet(ForeignNet):
    facts = known("shrinking-net")

    def preprocess(self, images: Any) -> Any:
        return images[:, ::2, ::2]


class NamelessNet(ForeignNet):
    facts = known("another-name")
