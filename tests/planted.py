"""Pictures in class folders, and a dataset plugin that serves them as they are."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orch import registry
from orch.contracts import DatasetFacts, Progress, Split
from orch_datasets.image_files import FileSplit
from orch_datasets.toolkit import class_files

CLASSES = ("ant", "bee", "cow")


def picture(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """A picture of its own for each seed: coloured blots."""
    blots = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC)


def write(root: Path, per_class: Mapping[str, int]) -> Path:
    """Class folders of so many different pictures in each split, named by their number."""
    seed = 0
    for split, count in per_class.items():
        for name in CLASSES:
            place = root / split / name
            place.mkdir(parents=True)
            for number in range(count):
                picture(seed).save(place / f"{number:03}.png")
                seed += 1
    return root


def splits(root: Path) -> dict[str, Split]:
    """The pictures of `<split>/<class>/`, none of them decoded yet."""
    served: dict[str, Split] = {}
    for place in sorted(root.iterdir()):
        files = class_files(place, CLASSES)
        labels = np.array([label for _, label in files], np.int64)
        served[place.name] = FileSplit(tuple(path for path, _ in files), labels)
    return served


class Folders:
    """A dataset that takes any files: what is wrong with them is seen when they are read."""

    api = 1
    facts = DatasetFacts(
        name="folders",
        title="Class folders",
        classes=CLASSES,
        image_size=(32, 32),
        licence="none",
        homepage="https://example.org",
    )

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        assert source is not None
        shutil.copytree(source, folder, dirs_exist_ok=True)

    def open(self, folder: Path) -> Mapping[str, Split]:
        return splits(folder)


class Nameless:
    """A split without files, of which some examples do not come as they should."""

    def __init__(self, images: list[NDArray[np.uint8] | Exception], labels: list[int]) -> None:
        self._images = images
        self.labels = np.array(labels, np.int64)

    def image(self, index: int) -> NDArray[np.uint8]:
        """One example; an exception is raised."""
        found = self._images[index]
        if isinstance(found, Exception):
            raise found
        return found


def install_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a distribution with the dataset `folders` on the path."""
    about = folder / "planted_folders-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-folders\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[orch.datasets]\nfolders = planted:Folders")
    monkeypatch.syspath_prepend(folder)
    registry.forget()
