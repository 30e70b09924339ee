"""What comes out of a library of datasets, as files and a table of their labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orch.contracts import Progress
from orch.errors import DataError, PluginError, first_line
from orch_datasets.own.layouts import SPLITS

TABLE = "labels.csv"
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "TIFF": ".tif"}
LABELS = ("label", "labels", "class", "category", "target")


@dataclass(frozen=True)
class Piece:
    """One example: the bytes of an image file, and the name of its class."""

    content: bytes
    label: str


def write(folder: Path, splits: Mapping[str, Iterable[Piece]], progress: Progress) -> None:
    """Write every example of every split, and the table that names them all."""
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "split"))
        for split, pieces in splits.items():
            (folder / split).mkdir()
            for path, label in _written(folder, split, pieces, progress):
                table.writerow((path, label, split))


def _written(
    folder: Path, split: str, pieces: Iterable[Piece], progress: Progress
) -> Iterator[tuple[str, str]]:
    for count, piece in enumerate(pieces):
        path = f"{split}/{count:07}{_suffix(piece.content)}"
        (folder / path).write_bytes(piece.content)
        yield path, piece.label
        if count % 100 == 0:
            progress(f"bringing {split}", count, None)


def _suffix(content: bytes) -> str:
    """How files of this format are called; what is none is found when it is decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            return SUFFIXES.get(image.format or "", f".{(image.format or 'png').lower()}")
    except (UnidentifiedImageError, OSError, ValueError):
        return ".png"


def encoded(pixels: Any) -> bytes:
    """An image, uint8 (height, width) or (height, width, 1 or 3), as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8).squeeze()).save(file, "PNG")
    return file.getvalue()


def known_splits(address: str, names: Iterable[str]) -> dict[str, str]:
    """What each split of a library is called here; those with other names are left out.

    Raises:
        DataError: none of them is there to train on.
    """
    found = {name: SPLITS[name.lower()] for name in names if name.lower() in SPLITS}
    if "train" not in found.values():
        raise DataError(f"{address} has no split to train on; it has {', '.join(names) or 'none'}")
    return found


def chosen(address: str, what: str, wanted: str | None, fit: list[str], there: list[str]) -> str:
    """The one column that is meant: the one that was named, or the only one that fits.

    Raises:
        DataError: there is none, or several.
    """
    if wanted is not None:
        if wanted in there:
            return wanted
        raise DataError(f"{address} has no column {wanted!r}; it has {', '.join(there)}")
    if len(fit) != 1:
        several = f"several of {what}s ({', '.join(fit)})" if fit else f"none of {what}s"
        raise DataError(
            f"{address} has, among its columns {', '.join(there)}, {several}",
            "name it with --label-column" if what == "label" else "it is no dataset of images",
        )
    return fit[0]


@contextmanager
def blaming(library: str, extra: str, address: str) -> Generator[None]:
    """Turn what a library of datasets raises into one line.

    Raises:
        PluginError: the library is not installed.
        DataError: it has no such dataset, cannot reach it, or cannot read it.
    """
    try:
        yield
    except ImportError as error:
        raise PluginError(
            f"{address} is read with {library}, which is not installed ({first_line(error)})",
            f"pip install 'orch-sweeps[{extra}]'",
        ) from error
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{library} could not read {address}: {first_line(error)}; nothing was added",
            "see whether that is its name, and whether this machine is connected",
        ) from error
