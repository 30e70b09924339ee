"""The one folder that holds everything orch keeps, and the way files get into it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from orch.errors import StorageError


@dataclass(frozen=True)
class Home:
    """The layout of the home folder. Building one creates nothing."""

    root: Path

    @property
    def database(self) -> Path:
        """The default SQLite database."""
        return self.root / "orch.db"

    @property
    def backups(self) -> Path:
        """Copies of the database, each with its instant."""
        return self.root / "backups"

    @property
    def datasets(self) -> Path:
        """One folder for each installed dataset."""
        return self.root / "datasets"

    @property
    def weights(self) -> Path:
        """Pretrained weights, each with its digest beside it."""
        return self.root / "weights"

    @property
    def store(self) -> Path:
        """Decoded examples and features, by content."""
        return self.root / "store"

    @property
    def checkpoints(self) -> Path:
        """What the best trials of each sweep trained."""
        return self.root / "checkpoints"

    @property
    def running(self) -> Path:
        """What trials that are not over need to go on where they are."""
        return self.checkpoints / "running"

    @property
    def stacks(self) -> Path:
        """What the threads of a process did that was ended because it hung."""
        return self.logs / "stacks"

    @property
    def timings(self) -> Path:
        """What networks cost on this machine, measured."""
        return self.root / "timings"

    @property
    def plugins(self) -> Path:
        """What plugins said of themselves, and why some are blocked."""
        return self.root / "plugins"

    @property
    def locks(self) -> Path:
        """Files that processes lock while they work on the same thing; their content is nothing."""
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        """What Ray and the workers wrote, by sweep."""
        return self.root / "logs"

    def create(self) -> None:
        """Make the root folder, for its owner only.

        Raises:
            StorageError: it cannot be made or written to.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                return
        except OSError as error:
            raise StorageError(
                f"the home folder {self.root} cannot be written: {error.strerror or error}",
                "choose another with ORCH_HOME=FOLDER",
            ) from None


@contextmanager
def locked(path: Path, wait: bool = True) -> Generator[None]:
    """Hold a lock that ends with the process, whatever ends it.

    Raises:
        BlockingIOError: `wait` is False and another process holds it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


@contextmanager
def publishing(path: Path) -> Generator[IO[bytes]]:
    """A file to write; it takes the place of `path` once it is whole and flushed to disk.

    Until then it lies beside, and what raises deletes it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Publish a small JSON file."""
    with publishing(path) as file:
        file.write(json.dumps(document, indent=1, sort_keys=True).encode())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
