"""The classification networks of `keras.applications`: a backbone plugin for each.

Sizes are the image sizes at which the published weights were trained and the smallest ones
that the network accepts (source: Keras documentation of each function). Licences are those of the
weights, as Keras Applications gives them for each family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from orch.contracts import API, NetworkFacts


@dataclass(frozen=True)
class Application:
    """Module and function in `keras.applications`; image sizes in pixels per side."""

    module: str
    function: str
    size: int = 224
    minimum: int = 32
    licence: str = "Apache-2.0"


def _family(
    module: str, sizes: dict[str, int], minimum: int = 32, licence: str = "Apache-2.0"
) -> dict[str, Application]:
    return {
        function.lower(): Application(module, function, size, minimum, licence)
        for function, size in sizes.items()
    }


APPLICATIONS: dict[str, Application] = {
    **_family("vgg16", {"VGG16": 224}, licence="CC-BY-4.0"),
    **_family("vgg19", {"VGG19": 224}, licence="CC-BY-4.0"),
    **_family("resnet", {"ResNet50": 224, "ResNet101": 224, "ResNet152": 224}, licence="MIT"),
    **_family(
        "resnet_v2", {"ResNet50V2": 224, "ResNet101V2": 224, "ResNet152V2": 224}, licence="BSD"
    ),
    **_family(
        "densenet",
        {"DenseNet121": 224, "DenseNet169": 224, "DenseNet201": 224},
        licence="BSD-3-Clause",
    ),
    **_family("mobilenet", {"MobileNet": 224}),
    **_family("mobilenet_v2", {"MobileNetV2": 224}),
    **_family("mobilenet_v3", {"MobileNetV3Small": 224, "MobileNetV3Large": 224}),
    **_family("inception_v3", {"InceptionV3": 299}, minimum=75),
    **_family("inception_resnet_v2", {"InceptionResNetV2": 299}, minimum=75),
    **_family("xception", {"Xception": 299}, minimum=71, licence="MIT"),
    **_family("nasnet", {"NASNetMobile": 224, "NASNetLarge": 331}),
    **_family(
        "efficientnet",
        {
            f"EfficientNetB{number}": size
            for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
        },
    ),
    **_family(
        "efficientnet_v2",
        {
            "EfficientNetV2B0": 224,
            "EfficientNetV2B1": 240,
            "EfficientNetV2B2": 260,
            "EfficientNetV2B3": 300,
            "EfficientNetV2S": 384,
            "EfficientNetV2M": 480,
            "EfficientNetV2L": 480,
        },
    ),
    **_family(
        "convnext",
        {f"ConvNeXt{size}": 224 for size in ("Tiny", "Small", "Base", "Large", "XLarge")},
        licence="MIT",
    ),
}


class KerasApplication:
    """A network of `keras.applications` without its classifier; Keras fetches its weights."""

    api = API

    def __init__(self, name: str) -> None:
        self.application = APPLICATIONS[name]
        self.facts = NetworkFacts(
            name=name,
            title=f"{self.application.function}, trained on ImageNet",
            licence=self.application.licence,
            homepage="https://keras.io/api/applications/",
            image_size=self.application.size,
            minimum_size=self.application.minimum,
        )

    def build(self, size: tuple[int, int]) -> Any:
        """The network as `include_top=False` makes it, with random weights."""
        return self._made(size, None)

    def published(self, size: tuple[int, int]) -> Any:
        """The network with the weights that Keras fetches from its own source and checks."""
        return self._made(size, "imagenet")

    def preprocess(self, images: Any) -> Any:
        """The `preprocess_input` of its module."""
        import keras

        return getattr(keras.applications, self.application.module).preprocess_input(images)

    def _made(self, size: tuple[int, int], weights: str | None) -> Any:
        import keras

        function = getattr(keras.applications, self.application.function)
        return function(include_top=False, weights=weights, input_shape=(*size, 3))


def __getattr__(function: str) -> Callable[[], KerasApplication]:
    """What the entry points name: `VGG16` makes the plugin of VGG16."""
    if function.lower() not in APPLICATIONS:
        raise AttributeError(function)
    return partial(KerasApplication, function.lower())
