"""What the store holds, who uses it, and what goes first when room is needed.

Each array has a folder. A process with a trial that reads or fills the array holds a shared lock
on it; what nobody holds may be deleted, the least recently used first.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from orch.errors import StorageError
from orch.home import locked
from orch.training import shards
from orch.training.shards import DATA

MANIFEST = "manifest.json"
HELD = "held"  # locked by those that use the array
USES = "uses"  # a file for each user, a byte for each time it read the array

State = Literal["stored", "unfinished", "damaged"]


@dataclass(frozen=True)
class Stored:
    """What one folder of the store holds.

    `bytes` is what it takes of the disk, `seconds` what filling it took, `hits` how often it was
    read instead of computed, `users` by whom, `last_used` a time of the system's clock.
    """

    address: str
    place: Path
    state: State
    title: str
    rows: int
    bytes: int
    seconds: float
    hits: int
    users: tuple[str, ...]
    last_used: float
    held: bool


def stored(folder: Path) -> list[Stored]:
    """Everything that takes room in the store, what was used last first."""
    found = (_stored(place) for place in folder.glob("??/*"))
    return sorted((each for each in found if each), key=lambda each: -each.last_used)


def hold(place: Path) -> IO[Any]:
    """Keep others from deleting an array until the file that is returned is closed."""
    file = (place / HELD).open("a")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def note_use(place: Path, user: str, hit: bool) -> None:
    """Remember that `user` needs the array; a `hit` was there and not computed for it."""
    (place / USES).mkdir(exist_ok=True)
    with (place / USES / user).open("ab") as file:
        file.write(b"." if hit else b"")
    os.utime(place / USES)


def capacity(folder: Path, limit: int) -> int:
    """How many bytes the store may take: `limit`, or where that is 0, half of what it could.

    That is half of the disk's free room and its own together.
    """
    return limit or (shutil.disk_usage(folder).free + _total(stored(folder))) // 2


def obtainable(folder: Path, limit: int, user: str) -> int:
    """How many bytes the store can take on for `user`, if need be by deleting what others left."""
    there = stored(folder)
    free = shutil.disk_usage(folder).free
    most = limit or (free + _total(there)) // 2
    kept = _total(each for each in there if each.held or user in each.users)
    return max(0, min(most - kept, free + _total(there) - kept))


def reserved(place: Path, user: str) -> int:
    """What an array that is being filled takes already and `user` may count on."""
    found = _stored(place)
    if found is None or found.state != "unfinished":
        return 0
    return found.bytes if found.held or user in found.users else 0


def make_room(folder: Path, needed: int, limit: int, user: str) -> None:
    """Delete what was used least recently until `needed` more bytes fit.

    What `user` itself has used stays: a sweep whose trials took turns in deleting what the next
    one needs would compute everything again and again.

    Raises:
        StorageError: they do not fit beside what is in use.
    """
    there = stored(folder)
    taken = _total(there)
    on_disk = shutil.disk_usage(folder).free + taken
    most = limit or on_disk // 2
    for each in reversed(there):
        if taken + needed <= min(most, on_disk):
            break
        if user not in each.users and delete(each):
            taken -= each.bytes
    if taken + needed > most:
        raise StorageError(
            f"{needed:,} bytes do not fit into the store: it may take {most:,}, "
            f"{taken:,} are in use; nothing was lost",
            "set ORCH_CACHE_BYTES higher, or sweep with a --limit",
        )


def delete(entry: Stored) -> bool:
    """Delete an array unless a process uses it; tell whether it is gone."""
    place = entry.place
    try:
        with locked(place / HELD, wait=False), locked(place / shards.LOCK):
            (place / MANIFEST).unlink(missing_ok=True)  # first: what has none is not there
            shards.forget(place)
            for file in place.glob("*.npy"):
                file.unlink(missing_ok=True)
            shutil.rmtree(place / USES, ignore_errors=True)
    except BlockingIOError:
        return False
    return True


def _total(entries: Iterable[Stored]) -> int:
    return sum(each.bytes for each in entries)


def _stored(place: Path) -> Stored | None:
    """What a folder holds; None where it takes no room, or is deleted while we look."""
    sizes = {path.name: size for path, size in _sizes(place)}
    content = sum(sizes.values())
    if not content:
        return None
    manifest = _manifest(place)
    state: State = "stored" if manifest else "unfinished" if shards.PART in sizes else "damaged"
    users = dict(_sizes(place / USES))
    return Stored(
        address=place.name,
        place=place,
        state=state,
        title=str(manifest.get("title", "")),
        rows=int(manifest.get("rows", 0)),
        bytes=content,
        seconds=float(manifest.get("seconds", 0.0)),
        hits=sum(users.values()),
        users=tuple(sorted(path.name for path in users)),
        last_used=_last_used(place),
        held=_is_held(place),
    )


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files of a folder that hold arrays or uses, and their bytes."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            path = Path(entry.path)
            if folder.name == USES or path.name.startswith(DATA) or path.suffix == ".npy":
                with suppress(FileNotFoundError):
                    yield path, entry.stat().st_size


def _manifest(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((place / MANIFEST).read_text()))
    except (OSError, ValueError):
        return {}


def _last_used(place: Path) -> float:
    times = [0.0]
    for name in (USES, MANIFEST, shards.PART):
        with suppress(FileNotFoundError):
            times.append((place / name).stat().st_mtime)
    return max(times)


def _is_held(place: Path) -> bool:
    try:
        with locked(place / HELD, wait=False):
            return False
    except BlockingIOError:
        return True
