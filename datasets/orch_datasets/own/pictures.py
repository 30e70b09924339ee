"""Pictures of a user's own: every format that Pillow reads by itself."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Dataset, DatasetFacts, Option, Progress, Value
from orch.errors import DataError
from orch.kinds import Omitted, OwnData
from orch_datasets.own import files
from orch_datasets.toolkit import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

NOT_READ = {"EPS", "MPEG", "PDF", "WMF", "BUFR", "GRIB", "HDF5"}
"""Formats that Pillow passes to other programs, or knows by name alone."""

LARGEST, STEP = 224, 32
LOOK_SIZE = 256
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError)


class Pictures:
    """The kind of dataset whose files are pictures."""

    api = 1
    title = "pictures, in any format that Pillow reads"
    options: tuple[Option, ...] = ()

    def keep(
        self, own: OwnData, source: Path, folder: Path, progress: Progress
    ) -> tuple[Omitted, ...]:
        """Copy or link the pictures of a folder or archive."""
        return files.keep(own, source, folder, progress, accepts, look)

    def dataset(self, own: OwnData, folder: Path, options: Mapping[str, Value]) -> Dataset:
        """The pictures that were kept."""
        index = files.read_index(folder)
        facts = DatasetFacts(
            name=own.name,
            title=f"pictures of your own, {len(index.classes)} classes",
            classes=index.classes,
            image_size=own.image_size or suitable(index.size),
            licence="yours",
            homepage="",
        )
        return files.OwnDataset(own, facts, index, decode, self)


def suitable(size: tuple[int, int]) -> tuple[int, int]:
    """The square that pictures of this median (height, width) are resized to: the smaller side
    in whole steps of 32 pixels, from 32 to the 224 that most networks were trained at.
    """
    side = min(LARGEST, max(STEP, -(-min(size) // STEP) * STEP))
    return side, side


def accepts(path: Path) -> bool:
    """Whether a file is called as a picture is."""
    return path.suffix.lower() in _suffixes()


def look(path: Path) -> tuple[int, int]:
    """Decode a picture, at reduced size where its format can; its (height, width).

    Raises:
        DataError: as `decode`.
    """
    with _opened(path) as image:
        size = image.height, image.width
        image.draft("RGB", (LOOK_SIZE, LOOK_SIZE))
        image.load()
    return size


def decode(path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 (height, width, 3), RGB: upright, as its camera says; on white where
    it is transparent; the first of several.

    Raises:
        DataError: it does not decode or has more than MAX_PIXELS pixels; the file is named.
    """
    with _opened(path) as image:
        return np.asarray(_rgb(image), np.uint8)


@contextmanager
def _opened(path: Path) -> Generator[Image]:
    """Opens a picture; whatever its decoder raises is a DataError that names the file."""
    from PIL import Image as images

    try:
        with images.open(path, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} has {image.width} × {image.height} pixels: too many")
            yield image
    except (*UNDECODABLE, images.DecompressionBombError) as error:
        raise DataError(
            f"{path} does not decode as an image ({_said(error, path)}); nothing was changed",
            "repair or remove that file, then run the same command again",
        ) from error


def _said(error: BaseException, path: Path) -> str:
    return str(error).replace(f" {str(path)!r}", "")


def _rgb(image: Image) -> Image:
    from PIL import Image as images
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return _levels(upright).convert("RGB")
    if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        seen = upright.convert("RGBA")
        return images.alpha_composite(images.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return upright.convert("RGB")


def _levels(image: Image) -> Image:
    """16 bits, or numbers of any range, as 8 bits: 65,535 is white, or else the largest is."""
    from PIL import Image as images

    shade = np.asarray(image, np.float64)
    white = 65535.0 if image.mode.startswith("I;16") else max(float(shade.max()), 1.0)
    return images.fromarray(np.clip(shade * (255.0 / white), 0, 255).astype(np.uint8))


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - NOT_READ))


@cache
def _suffixes() -> frozenset[str]:
    from PIL import Image

    Image.init()
    known = set(_formats())
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in known
    )
