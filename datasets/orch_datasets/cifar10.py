"""CIFAR-10: 60,000 colour images of 32 × 32 pixels in ten classes."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import DatasetFacts, Progress, Recipe, Source, Split
from orch.errors import DataError
from orch_datasets import downloads, toolkit

BATCHES = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
PIXELS = 32 * 32 * 3

HEAD = {
    "pooling": "average",
    "head_units": 512,
    "dropout": 0.2,
    "head_units_2": 256,
    "dropout_2": 0.2,
    "start": "random",
    "batch_size": 128,
    "epochs": 30,
}
CONSTANT = Recipe(
    name="constant-lr",
    title="all of VGG16 trains, at a low constant rate",
    strategy="fine-tune",
    params={**HEAD, "frozen_layers": 0, "learning_rate": 0.001 / 31},
    reported="92.05 %",
    accuracy=0.9205,
    train_examples=50_000,
)
DECAY = Recipe(
    name="decay",
    title="all of VGG16 trains, at a rate of 0.001 / (1 + 30 × epoch)",
    strategy="fine-tune",
    params={
        **HEAD,
        "frozen_layers": 0,
        "learning_rate": 0.001,
        "schedule": "inverse-time",
        "decay": 30.0,
    },
    reported="80.9 %",
    accuracy=0.809,
    train_examples=50_000,
)
FROZEN = Recipe(
    name="frozen",
    title="VGG16 frozen, as the text of constant-lr says but its code does not",
    strategy="feature-extraction",
    params={**HEAD, "learning_rate": 0.001 / 31},
    reported="none",
    accuracy=None,
    train_examples=50_000,
)


class Cifar10:
    """Reads the canonical pickled batches, or class folders of JPEG or PNG files."""

    api = 1
    facts = DatasetFacts(
        name="cifar10",
        title="CIFAR-10",
        classes=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        image_size=(32, 32),
        upsample=2,
        licence="none stated; cite the report",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        source=Source(
            url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            checksum="sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            bytes=170_498_071,
        ),
        recipes=(FROZEN, CONSTANT, DECAY),
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    )

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Write both splits as arrays, from a local archive or folder or from the publisher.

        Raises:
            DataError: nothing there is a CIFAR-10, or a part of it is missing or damaged.
        """
        published = self.facts.source
        assert published is not None
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            scratch = Path(name)
            source = downloads.obtain(published, source, scratch, progress)
            with toolkit.unpacked(source, scratch, progress) as content:
                _read(content, folder, self.facts.classes, progress)

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve "train" and "test"."""
        return toolkit.load_splits(folder)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen image file."""
        return toolkit.decode_image(path)


def _read(content: Path, folder: Path, classes: tuple[str, ...], progress: Progress) -> None:
    for root in (content, *sorted(path for path in content.iterdir() if path.is_dir())):
        if (root / "data_batch_1").is_file():
            for split, names in BATCHES.items():
                progress(f"reading {split}", 0, None)
                toolkit.save_split(folder, split, *_read_batches(root, names))
            return
        if (root / "train").is_dir():
            for split in BATCHES:
                images, labels = _read_folders(root / split, classes, split, progress)
                toolkit.save_split(folder, split, images, labels)
            return
    raise DataError(
        f"{content} holds neither data_batch_1 … test_batch nor train/<class>/ folders",
        "orch datasets add cifar10 --from PATH, with cifar-10-python.tar.gz or such a folder",
    )


def _read_folders(
    root: Path, classes: tuple[str, ...], split: str, progress: Progress
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = toolkit.class_files(root, classes)
    images = np.empty((len(files), 32, 32, 3), np.uint8)
    for row, (path, _) in enumerate(files):
        image = toolkit.decode_image(path)
        if image.shape != (32, 32, 3):
            raise DataError(f"{path} is {image.shape[1]} × {image.shape[0]} pixels, not 32 × 32")
        images[row] = image
        if row % 1000 == 0:
            progress(f"reading {split}", row, len(files))
    return images, np.array([label for _, label in files], np.int64)


def _read_batches(
    root: Path, names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batches = [_read_batch(root / name) for name in names]
    return (
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
    )


def _read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one batch: data uint8 (n, 3072), channels first, and a list of n labels."""
    if not path.is_file():
        raise DataError(f"{path} is missing; nothing was changed")
    try:
        with path.open("rb") as file:
            batch: Any = _BatchUnpickler(file, encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} is not a CIFAR-10 batch ({error}); nothing was changed") from error
    if labels.ndim != 1 or labels.dtype.kind != "i" or data.dtype != np.uint8:
        raise DataError(f"{path} is not a CIFAR-10 batch: labels {labels.shape}, {data.dtype}")
    if data.shape != (len(labels), PIXELS):
        raise DataError(f"{path} is not a CIFAR-10 batch: {data.dtype} {data.shape}")
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise DataError(f"{path} has labels outside 0 to 9")
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int64)


class _BatchUnpickler(pickle.Unpickler):
    """Admits what the published batches contain and nothing else: arrays of plain numbers."""

    _ADMITTED: Mapping[tuple[str, str], Any] = {
        (module, name): value
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
        for name, value in {
            "_reconstruct": np.empty(0).__reduce__()[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }.items()
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) not in self._ADMITTED:
            raise DataError(
                f"the batch asks for {module}.{name}, which CIFAR-10 does not contain; "
                "it was not loaded"
            )
        return self._ADMITTED[module, name]


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")
