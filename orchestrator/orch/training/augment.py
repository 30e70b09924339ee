"""Augmentation as Keras layers: it runs on the device, in training only."""

from __future__ import annotations

from typing import Any

from orch.contracts import Augmentation


def layers(wanted: Augmentation) -> list[Any]:
    """The layers that change float images (n, height, width, 3) as `wanted` says.

    They keep shape and range: what comes in from outside is the nearest pixel, and values
    between pixels are interpolated linearly.
    """
    import keras.layers as kl

    from_edge: dict[str, Any] = {"fill_mode": "nearest", "interpolation": "bilinear"}
    found: list[Any] = []
    if wanted.flip:
        found.append(kl.RandomFlip("horizontal"))
    if wanted.zoom:
        found.append(kl.RandomZoom((-wanted.zoom, wanted.zoom), **from_edge))
    if wanted.rotation:
        found.append(kl.RandomRotation(wanted.rotation / 360, **from_edge))
    if wanted.shift:
        found.append(kl.RandomTranslation(wanted.shift, wanted.shift, **from_edge))
    if wanted.shear:
        found.append(kl.RandomShear(wanted.shear, wanted.shear, **from_edge))
    return found
