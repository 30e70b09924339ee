"""Image files as a dataset's installed form: `<split>/<class>/<file>`, decoded when read."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Progress, Split
from orch_datasets.toolkit import class_files, decode_image


@dataclass(frozen=True)
class FileSplit:
    """A split whose examples are image files of any size."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]

    def image(self, index: int) -> NDArray[np.uint8]:
        """One example, uint8 (height, width, 3), RGB."""
        return decode_image(self.paths[index])

    def take(self, rows: NDArray[np.int64]) -> FileSplit:
        """The examples in these rows, in their order."""
        return FileSplit(tuple(self.paths[row] for row in rows.tolist()), self.labels[rows])


def keep(files: Iterable[tuple[Path, str]], folder: Path, split: str, progress: Progress) -> None:
    """Copy (file, class) pairs into `folder/<split>/<class>/`, each decoded once to be sure.

    Raises:
        DataError: a file does not decode; it is named.
    """
    for count, (path, name) in enumerate(files):
        decode_image(path)
        place = folder / split / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place / path.name)
        if count % 100 == 0:
            progress(f"reading {split}", count, None)


def open_files(folder: Path, classes: tuple[str, ...]) -> Mapping[str, Split]:
    """Serve every split that `keep` wrote."""
    return {place.name: open_split(place, classes) for place in sorted(folder.iterdir())}


def open_split(folder: Path, classes: tuple[str, ...]) -> FileSplit:
    """Serve one split: `folder/<class>/<file>`, by class and then by name."""
    files = class_files(folder, classes)
    labels = np.array([label for _, label in files], np.int64)
    return FileSplit(tuple(path for path, _ in files), labels)
