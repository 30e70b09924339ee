"""Cats vs dogs: the 2,800 images of Asirra that a well-known walk-through trains on."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orch.contracts import DatasetFacts, Progress, Recipe, Split
from orch.errors import DataError
from orch_datasets import image_files, toolkit

FOLDERS = {"cat": "cats", "dog": "dogs"}
FLAT = re.compile(r"(cat|dog)\.(\d+)\.jpg\Z")
HEAD = {
    "pooling": "flatten",
    "head_units": 256,
    "dropout": 0.5,
    "output": "sigmoid",
    "start": "random",
    "batch_size": 16,
}
BOTTLENECK = Recipe(
    name="bottleneck",
    title="a head on stored VGG16 features, nothing else trains",
    strategy="feature-extraction",
    params={**HEAD, "learning_rate": 1e-4, "epochs": 15},
    reported="about 90 %",
    accuracy=0.90,
    train_examples=2000,
)
FINE_TUNED = Recipe(
    name="fine-tune",
    title="the bottleneck head first, then block 5 with it",
    strategy="two-stage",
    params={
        **HEAD,
        "head_learning_rate": 1e-4,
        "head_epochs": 15,
        "head_batch_size": 16,
        "frozen_layers": 15,
        "optimizer": "sgd",
        "learning_rate": 1e-4,
        "momentum": 0.9,
        "epochs": 20,
    },
    reported="93.25 % last, 94.13 % best epoch",
    accuracy=0.9413,
    train_examples=2000,
)
PARTS = {"train": range(1000), "validation": range(1000, 1400)}  # numbers of each animal


class CatsVsDogs:
    """Reads train|validation/cats|dogs/*.jpg, or Kaggle's flat folder of cat.0.jpg, dog.0.jpg."""

    api = 1
    facts = DatasetFacts(
        name="cats-vs-dogs",
        title="Dogs vs. Cats, 2,000 to train and 800 to validate",
        classes=("cat", "dog"),
        image_size=(150, 150),
        licence="research use",
        homepage="https://www.kaggle.com/c/dogs-vs-cats/data",
        citation="Elson et al., Asirra: A CAPTCHA that Exploits Interest-Aligned Manual Image "
        "Categorization, 2007",
        recipes=(BOTTLENECK, FINE_TUNED),
    )

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Copy the images of both splits from a local archive or folder.

        Raises:
            DataError: no source was given, or nothing in it is this dataset.
        """
        if source is None:
            raise DataError(
                f"cats-vs-dogs cannot be fetched without a login: {self.facts.homepage}",
                "download train.zip there, then: orch datasets add cats-vs-dogs --from train.zip",
            )
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
            toolkit.unpacked(source, Path(scratch), progress) as content,
        ):
            for split in PARTS:
                image_files.keep(_find(content, split), folder, split, progress)

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve "train" and "validation"."""
        return image_files.open_files(folder, self.facts.classes)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen image file."""
        return toolkit.decode_image(path)


def _find(content: Path, split: str) -> Iterator[tuple[Path, str]]:
    inside = sorted(path for path in content.iterdir() if path.is_dir())
    for root in (content, *inside):
        if (root / split / "cats").is_dir():
            files = toolkit.class_files(root / split, tuple(FOLDERS.values()))
            yield from ((path, tuple(FOLDERS)[label]) for path, label in files)
            return
        flat = sorted(path for path in root.iterdir() if FLAT.match(path.name))
        if flat:
            yield from _numbered(flat, PARTS[split])
            return
    raise DataError(
        f"{content} holds neither {split}/cats and {split}/dogs nor files like cat.0.jpg",
        "orch datasets add cats-vs-dogs --from PATH, with Kaggle's train.zip or such a folder",
    )


def _numbered(files: list[Path], numbers: range) -> Iterator[tuple[Path, str]]:
    for path in files:
        found = FLAT.match(path.name)
        if found and int(found.group(2)) in numbers:
            yield path, found.group(1)
