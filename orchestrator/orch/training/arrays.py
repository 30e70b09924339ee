"""The store: arrays on disk, found by what they contain, shared by every trial and process.

An array is built once per key. It is written beside its place, flushed and renamed; its
manifest, with size and SHA-256, comes last, so that an array without a manifest is not there.
One process builds a key at a time (flock); the others wait. A file that is not what its
manifest says is set aside and built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.home import locked, sync_folder, write_json

DATA = "data.npy"
MANIFEST = "manifest.json"

Key = Mapping[str, Any]
Fill = Callable[[NDArray[Any]], None]


class ArrayStore:
    """Content-addressed arrays under one folder."""

    def __init__(self, folder: Path, verify: bool = True) -> None:
        self._folder = folder
        self._verify = verify
        self._opened: dict[str, NDArray[Any]] = {}

    def get_or_build(
        self, key: Key, shape: tuple[int, ...], dtype: str, fill: Fill
    ) -> NDArray[Any]:
        """Return the array of `key`, memory-mapped and read-only, building it if need be.

        `fill` receives a writable array of that shape and dtype and writes every element.
        What was opened before by this store is not checked again.

        Raises:
            OSError: the disk is full or cannot be written; nothing is published.
        """
        name = address(key)
        if name not in self._opened:
            self._opened[name] = self._open_or_build(name, key, shape, dtype, fill)
        return self._opened[name]

    def has(self, key: Key) -> bool:
        """Tell whether the array of a key was published; it may turn out to be damaged."""
        name = address(key)
        return name in self._opened or (self._folder / name[:2] / name / MANIFEST).exists()

    def _open_or_build(
        self, name: str, key: Key, shape: tuple[int, ...], dtype: str, fill: Fill
    ) -> NDArray[Any]:
        place = self._folder / name[:2] / name
        place.mkdir(parents=True, exist_ok=True)
        with locked(place / "lock"):
            array = self._read(place)
            if array is None:
                _write(place, key, shape, dtype, fill)
                array = _map(place)
        return array

    def _read(self, place: Path) -> NDArray[Any] | None:
        """Map a published array; set it aside and return None where it is damaged."""
        if not (place / MANIFEST).exists():
            return None
        if self._intact(place):
            return _map(place)
        _set_aside(place)
        return None

    def _intact(self, place: Path) -> bool:
        """Tell whether a published array is what its manifest says."""
        try:
            manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text())
            whole = (place / DATA).stat().st_size == manifest["bytes"]
            return whole and (not self._verify or _sha256(place / DATA) == manifest["sha256"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False


def address(key: Key) -> str:
    """The name of a key: SHA-256 of its canonical JSON."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _write(place: Path, key: Key, shape: tuple[int, ...], dtype: str, fill: Fill) -> None:
    temporary = place / f".{DATA}.part"
    started = time.monotonic()
    try:
        array = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), shape)
        with temporary.open("rb+") as file:  # a full disk must say so now, not kill us later
            os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        fill(array)
        array.flush()
        del array
        manifest = {
            "key": dict(key),
            "bytes": temporary.stat().st_size,
            "sha256": _sha256(temporary),
            "seconds": round(time.monotonic() - started, 3),
        }
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, place / DATA)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(place)
    write_json(place / MANIFEST, manifest)


def _map(place: Path) -> NDArray[Any]:
    return np.load(place / DATA, mmap_mode="r")


def _set_aside(place: Path) -> None:
    """Keep a damaged array for a look, out of the way, and forget that it was published."""
    (place / MANIFEST).unlink(missing_ok=True)
    if (place / DATA).exists():
        os.replace(place / DATA, place / f"damaged-{time.time_ns()}.npy")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
