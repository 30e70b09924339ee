"""Filling one array on disk, a shard of rows at a time, by one process or by several at once.

A shard is claimed (flock), computed, written and flushed; a marker that names its rows and holds
their SHA-256 comes last. A process that is killed leaves its claim and the markers of what it
had finished; whoever comes next goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.errors import StorageError
from orch.home import locked, publishing

DATA = "data.npy"
PART = f"{DATA}.part"
LOCK = "lock"  # held for a moment, while files of the folder change their names
MARKERS = "shards"
SHARD_BYTES = 32 * 2**20
MOST_ROWS = 512  # of a shard, so that progress is seen where rows are small and slow
LEAST_SHARDS = 16  # where the step allows it, so that all workers have something to fill
WAIT = 0.1  # seconds between looks at what other processes fill

Compute = Callable[[int, int], NDArray[Any]]
"""The rows from start to stop, (stop - start, …); called for one shard at a time."""


@dataclass(frozen=True)
class Layout:
    """The shape and type of an array, and how many rows a shard has, a multiple of `step`."""

    shape: tuple[int, ...]
    dtype: str
    step: int = 1

    @property
    def row_bytes(self) -> int:
        """What one row takes."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape[1:], dtype=np.int64))

    @property
    def bytes(self) -> int:
        """What the rows of the array take."""
        return self.shape[0] * self.row_bytes

    @property
    def shards(self) -> list[tuple[int, int]]:
        """The rows of each shard, from and to."""
        total = self.shape[0]
        fit = min(MOST_ROWS, SHARD_BYTES // max(1, self.row_bytes), total // LEAST_SHARDS)
        rows = max(1, fit // self.step) * self.step
        return [(start, min(start + rows, total)) for start in range(0, total, rows)]


def fill(
    place: Path, layout: Layout, compute: Compute, published: Callable[[], bool]
) -> Generator[int, None, None]:
    """Compute what is missing of an array that was begun, yielding how many rows are there.

    Returns when all rows are there, or when another process has `published` the array and with
    it removed the markers. It may be closed between shards.

    Raises:
        OSError: the disk is full or cannot be written; shards that are done stay.
        StorageError: the array was removed meanwhile, by hand.
    """
    while not published() and (missing := _missing(place, layout)):
        worked = False
        for shard in missing:
            if _fill_one(place, layout, shard, compute):
                worked = True
                yield _done(place, layout)
        if not worked:
            _require_begun(place, published)
            time.sleep(WAIT)
            yield _done(place, layout)


def _require_begun(place: Path, published: Callable[[], bool]) -> None:
    """Make sure that there is something to wait for.

    Raises:
        StorageError: the array was removed while it was filled.
    """
    with suppress(FileNotFoundError), locked(place / LOCK):
        if (place / PART).exists() or published():
            return
    raise StorageError(
        f"{place} was removed while it was filled; nothing else was lost",
        "leave the store to orch cache clear",
    )


def _missing(place: Path, layout: Layout) -> list[tuple[int, int]]:
    return [shard for shard in layout.shards if not _marker(place, shard).exists()]


def digests(place: Path, layout: Layout) -> list[str]:
    """The SHA-256 of every shard, in order, once all are there."""
    return [_marker(place, shard).read_text() for shard in layout.shards]


def header(layout: Layout) -> bytes:
    """What an `.npy` file of this layout begins with."""
    import io

    stream = io.BytesIO()
    content = np.lib.format.header_data_from_array_1_0(np.empty(0, layout.dtype))
    np.lib.format.write_array_header_1_0(stream, {**content, "shape": layout.shape})
    return stream.getvalue()


def begin(place: Path, layout: Layout, published: Callable[[], bool]) -> None:
    """Reserve the room for an array, unless another process has.

    Raises:
        OSError: the disk is full, which must be said now.
    """
    part, size = place / PART, len(header(layout)) + layout.bytes
    with locked(place / LOCK):
        if published():
            return
        (place / MARKERS).mkdir(exist_ok=True)
        if not part.exists() and (place / DATA).exists():  # killed just before it was published
            os.replace(place / DATA, part)
        if part.exists() and part.stat().st_size == size:
            return
        forget(place)
        (place / MARKERS).mkdir(exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(header(layout))
                file.flush()
                os.posix_fallocate(file.fileno(), 0, size)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def forget(place: Path) -> None:
    """Delete a part and its markers, markers first."""
    for marker in sorted((place / MARKERS).glob("*")):
        marker.unlink(missing_ok=True)
    _tidy(place)
    (place / PART).unlink(missing_ok=True)


def _tidy(place: Path) -> None:
    with suppress(OSError):  # gone, or a process that looks again has just claimed a shard
        (place / MARKERS).rmdir()


def _fill_one(place: Path, layout: Layout, shard: tuple[int, int], compute: Compute) -> bool:
    """Fill a shard if nobody else has or does; tell whether it was filled here."""
    start, stop = shard
    marker = _marker(place, shard)
    claim = marker.with_suffix(".claim")
    with ExitStack() as held:
        try:
            held.enter_context(locked(claim, wait=False))
        except (BlockingIOError, FileNotFoundError):  # claimed, or tidied by who published it
            return False
        if not (place / PART).exists():  # published meanwhile: leave no claim behind
            claim.unlink(missing_ok=True)
            _tidy(place)
            return False
        if marker.exists():
            return False
        values = np.ascontiguousarray(compute(start, stop), layout.dtype)
        if values.shape != (stop - start, *layout.shape[1:]):
            raise ValueError(f"rows {start} to {stop} came as {values.shape}")
        try:
            _write(place / PART, len(header(layout)) + start * layout.row_bytes, values)
            with publishing(marker) as file:
                file.write(hashlib.sha256(values.data.cast("B")).hexdigest().encode())
        except FileNotFoundError:  # published and tidied by another meanwhile
            return False
        return True


def _write(path: Path, offset: int, values: NDArray[Any]) -> None:
    content = values.data.cast("B") if values.size else memoryview(b"")
    handle = os.open(path, os.O_WRONLY)
    try:
        while content:
            written = os.pwrite(handle, content, offset)
            content, offset = content[written:], offset + written
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _marker(place: Path, shard: tuple[int, int]) -> Path:
    return place / MARKERS / f"{shard[0]}-{shard[1]}"


def _done(place: Path, layout: Layout) -> int:
    """How many rows are there."""
    return sum(b - a for a, b in layout.shards if _marker(place, (a, b)).exists())
