"""One pass over the examples: of each a digest, a thumbnail and its size are kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from orch import registry
from orch.contracts import FileBacked, Progress, Split
from orch.errors import DataError, PluginError

SIDE = 32  # pixels of a thumbnail
THREADS = min(8, os.cpu_count() or 1)  # which decode files; what decodes them lets go of the GIL
CHUNK = 256  # examples that are read ahead at most
STEP = "reading examples"


@dataclass(frozen=True)
class Fingerprints:
    """What is kept of n examples, 3 KiB each, so that no picture needs to be.

    `digests` are SHA-256 over shape and pixels, empty where an example does not decode, and
    `faults` says why; `thumbnails` is uint8 (n, SIDE, SIDE, 3), bilinear with antialiasing;
    `sizes` int64 (n, 2) is height and width in pixels, 0 where it does not decode.
    """

    digests: list[bytes]
    thumbnails: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    faults: Mapping[int, str]


@dataclass(frozen=True)
class _One:
    digest: bytes
    thumbnail: NDArray[np.uint8]
    size: tuple[int, int]


def take(name: str, splits: Mapping[str, Split], progress: Progress) -> Fingerprints:
    """Read every example of the dataset `name` once, split by split.

    Raises:
        PluginError: the dataset breaks its contract.
    """
    total = sum(len(split.labels) for split in splits.values())
    digests: list[bytes] = []
    thumbnails = np.zeros((total, SIDE, SIDE, 3), np.uint8)
    sizes = np.zeros((total, 2), np.int64)
    faults: dict[int, str] = {}
    progress(STEP, 0, total)
    for row, found in enumerate(each for split in splits.values() for each in _read(name, split)):
        if isinstance(found, _One):
            digests.append(found.digest)
            thumbnails[row], sizes[row] = found.thumbnail, found.size
        else:
            digests.append(b"")
            faults[row] = found
        if row % 100 == 0:
            progress(STEP, row, total)
    return Fingerprints(digests, thumbnails, sizes, faults)


def _read(name: str, split: Split) -> Iterator[_One | str]:
    """The fingerprint of each example in its order, or why it does not decode."""
    rows, one = range(len(split.labels)), partial(_fingerprint, name, split)
    if not isinstance(split, FileBacked):
        yield from map(one, rows)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(rows), CHUNK):
            yield from pool.map(one, rows[start : start + CHUNK])


def _fingerprint(name: str, split: Split, index: int) -> _One | str:
    from PIL import Image

    try:
        with registry.blaming("dataset", name):
            image = np.ascontiguousarray(split.image(index))
    except DataError as error:
        return error.message
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise PluginError(
            f"the dataset {name!r} serves an example ({index}) that is {image.dtype} "
            f"{image.shape}, not uint8 (height, width, 3)"
        )
    height, width, _ = image.shape
    digest = hashlib.sha256(f"{height} {width} ".encode())
    digest.update(image.data)
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _One(digest.digest(), np.asarray(small), (height, width))
