"""scikit-learn's bundled handwritten digits: 1,797 images of 8 × 8 pixels, no network needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import DatasetFacts, Progress, Split
from orch.errors import DataError
from orch_datasets import toolkit

TEST_FRACTION = 0.2
SPLIT_SEED = 0


class Digits:
    """A stratified fifth of the images is the test split; the grey value is in all channels."""

    api = 1
    facts = DatasetFacts(
        name="digits",
        title="Handwritten digits (scikit-learn)",
        classes=tuple("0123456789"),
        image_size=(32, 32),
        licence="CC BY 4.0",
        homepage="https://archive.ics.uci.edu/dataset/80",
        backbone="vgg-mini",
        embedded=True,
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998",
    )

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Write the bundled images as arrays.

        Raises:
            DataError: a source was given; this dataset comes with orch.
        """
        if source is not None:
            raise DataError("digits comes with orch; it is not added from a file")
        from sklearn.datasets import load_digits

        progress("copying", 0, None)
        bundled: Any = load_digits()
        grey, labels = bundled.data, bundled.target
        pixels = np.round(grey.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
        images = np.repeat(pixels, 3, axis=3)
        train, test = toolkit.stratified(labels, TEST_FRACTION, SPLIT_SEED)
        toolkit.save_split(folder, "train", images[train], labels[train])
        toolkit.save_split(folder, "test", images[test], labels[test])

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve "train" (1,438) and "test" (359)."""
        return toolkit.load_splits(folder)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen image file."""
        return toolkit.decode_image(path)
