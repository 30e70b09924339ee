"""The classification networks of `keras.applications`, by the name orch gives each.

Sizes are the image sizes at which the published weights were trained and the smallest ones
that the network accepts (source: Keras documentation of each function).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Application:
    """Module and function in `keras.applications`; image sizes in pixels per side."""

    module: str
    function: str
    size: int = 224
    minimum: int = 32


def _family(module: str, sizes: dict[str, int], minimum: int = 32) -> dict[str, Application]:
    return {
        function.lower(): Application(module, function, size, minimum)
        for function, size in sizes.items()
    }


APPLICATIONS: dict[str, Application] = {
    **_family("vgg16", {"VGG16": 224}),
    **_family("vgg19", {"VGG19": 224}),
    **_family("resnet", {"ResNet50": 224, "ResNet101": 224, "ResNet152": 224}),
    **_family("resnet_v2", {"ResNet50V2": 224, "ResNet101V2": 224, "ResNet152V2": 224}),
    **_family("densenet", {"DenseNet121": 224, "DenseNet169": 224, "DenseNet201": 224}),
    **_family("mobilenet", {"MobileNet": 224}),
    **_family("mobilenet_v2", {"MobileNetV2": 224}),
    **_family("mobilenet_v3", {"MobileNetV3Small": 224, "MobileNetV3Large": 224}),
    **_family("inception_v3", {"InceptionV3": 299}, minimum=75),
    **_family("inception_resnet_v2", {"InceptionResNetV2": 299}, minimum=75),
    **_family("xception", {"Xception": 299}, minimum=71),
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
    ),
}
