"""The store: arrays on disk, found by what they contain, shared by every trial and process.

An array is built once per key, in shards, by as many processes as need it at the same time. Its
manifest, with size and SHA-256 of every shard, comes last, so that an array without a manifest
is not there. A file that is not what its manifest says is set aside and built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from orch.home import locked, sync_folder, write_json
from orch.training import eviction, shards
from orch.training.eviction import MANIFEST
from orch.training.shards import DATA, LOCK, Compute, Layout

Key = Mapping[str, Any]
Identity = tuple[int, int]
"""The inode of a file and when it was last written, in nanoseconds."""


class ArrayStore:
    """Content-addressed arrays under one folder, that takes `limit` bytes at most.

    Where the limit is 0 it is half of what the disk has for it.
    """

    def __init__(
        self,
        folder: Path,
        verify: bool = True,
        limit: int = 0,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called now and then while what was stored is checked."""
        self._folder = folder
        self._verify = verify
        self._limit = limit
        self._beat = beat
        self._checked: dict[str, Identity] = {}
        self._held: dict[str, IO[Any]] = {}

    def build(
        self, key: Key, layout: Layout, compute: Compute, title: str = "", user: str = "nobody"
    ) -> Generator[int, None, NDArray[Any]]:
        """Return the array of `key`, memory-mapped and read-only, building it if need be.

        Yields how many rows are there after each shard, and while other processes fill it.
        What was checked before by this store is not checked again. It stays on disk until
        `release`; others may have to go to make room for it. `title` and `user` are for people.

        Raises:
            StorageError: it does not fit beside what is in use.
            OSError: the disk is full or cannot be written; nothing is published.
        """
        name = address(key)
        place = self._folder / name[:2] / name
        place.mkdir(parents=True, exist_ok=True)
        if name not in self._held:
            self._held[name] = eviction.hold(place)
        array = self._read(place)
        eviction.note_use(place, user, hit=array is not None)
        if array is None:
            started = time.monotonic()
            self._begin(place, layout, user)
            yield from shards.fill(place, layout, compute, (place / MANIFEST).exists)
            _publish(place, key, layout, title, time.monotonic() - started)
            array = _map(place)
            self._note_checked(place)
        return array

    def has(self, key: Key) -> bool:
        """Tell whether the array of a key was published; it may turn out to be damaged."""
        name = address(key)
        return (self._folder / name[:2] / name / MANIFEST).exists()

    def missing(self, key: Key, size: int, user: str = "nobody") -> int:
        """How many of the `size` bytes of an array have no room in the store yet: none where it
        was published; where it is being filled, or `user` has begun to, what is not reserved.
        """
        if self.has(key):
            return 0
        name = address(key)
        return max(0, size - eviction.reserved(self._folder / name[:2] / name, user))

    def room(self, user: str = "nobody") -> int:
        """How many more bytes the store can take on for `user`, who deletes what others left."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return eviction.obtainable(self._folder, self._limit, user)

    def release(self) -> None:
        """Let others delete what was read here, when they need room."""
        for file in self._held.values():
            file.close()
        self._held.clear()

    def _begin(self, place: Path, layout: Layout, user: str) -> None:
        """Make room and reserve it; one process at a time, or each would delete for itself."""
        with locked(self._folder / LOCK):
            part = place / shards.PART
            missing = layout.bytes - (part.stat().st_size if part.exists() else 0)
            if missing > 0 and not (place / MANIFEST).exists():
                eviction.make_room(self._folder, missing, self._limit, user)
            shards.begin(place, layout, (place / MANIFEST).exists)

    def _read(self, place: Path) -> NDArray[Any] | None:
        """Map a published array; set it aside and return None where it is damaged.

        It is checked without a lock: others may read it meanwhile, and none deletes what is held.
        """
        while True:
            with locked(place / LOCK):
                seen = _identity(place)
            if seen is None and not (place / MANIFEST).exists():
                return None
            if seen is not None and (self._checked.get(place.name) == seen or self._intact(place)):
                self._checked[place.name] = seen
                return _map(place)
            with locked(place / LOCK):
                if _identity(place) == seen:  # nobody has set it aside and made it again
                    _set_aside(place)
                    return None

    def _note_checked(self, place: Path) -> None:
        seen = _identity(place)
        if seen is not None:
            self._checked[place.name] = seen

    def _intact(self, place: Path) -> bool:
        """Tell whether a published array is what its manifest says."""
        try:
            manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text())
            whole = (place / DATA).stat().st_size == manifest["bytes"]
            return whole and (not self._verify or _sums(place / DATA, manifest, self._beat))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False


def address(key: Key) -> str:
    """The name of a key: SHA-256 of its canonical JSON."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _publish(place: Path, key: Key, layout: Layout, title: str, seconds: float) -> None:
    """Make a filled part the array; another process that filled it too may have been first."""
    with locked(place / LOCK):
        if (place / MANIFEST).exists():
            return
        part = place / shards.PART
        manifest = {
            "title": title,
            "key": dict(key),
            "rows": layout.shape[0],
            "bytes": part.stat().st_size,
            "header": hashlib.sha256(shards.header(layout)).hexdigest(),
            "shards": [
                [(stop - start) * layout.row_bytes, digest]
                for (start, stop), digest in zip(
                    layout.shards, shards.digests(place, layout), strict=True
                )
            ],
            "seconds": round(seconds, 3),
        }
        for unfinished in place.glob(f".{MANIFEST}.*"):  # of a process that was killed here
            unfinished.unlink()
        os.replace(part, place / DATA)
        try:
            sync_folder(place)
            write_json(place / MANIFEST, manifest)
        except OSError:
            os.replace(place / DATA, part)
            raise
        shards.forget(place)


def _sums(path: Path, manifest: Mapping[str, Any], beat: Callable[[], None]) -> bool:
    """Tell whether header and shards of a file have the SHA-256 that its manifest says."""
    parts = [*manifest["shards"]]
    header = manifest["bytes"] - sum(size for size, _ in parts)
    with path.open("rb") as file:
        for size, digest in ([header, manifest["header"]], *parts):
            beat()
            if hashlib.sha256(file.read(size)).hexdigest() != digest:
                return False
    return True


def _identity(place: Path) -> Identity | None:
    """What tells a published file from another of its name; None where none is there."""
    try:
        found = (place / DATA).stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_mtime_ns) if (place / MANIFEST).exists() else None


def _map(place: Path) -> NDArray[Any]:
    return np.load(place / DATA, mmap_mode="r")


def _set_aside(place: Path) -> None:
    """Keep a damaged array for a look, out of the way, and forget that it was published."""
    (place / MANIFEST).unlink(missing_ok=True)
    if (place / DATA).exists():
        os.replace(place / DATA, place / f"damaged-{time.time_ns()}.npy")
