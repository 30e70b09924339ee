"""The datasets that are present: how they get into the home folder, and what is known of them.

A dataset is installed into a temporary folder, read once and renamed to its digest; the
manifest that names this digest comes last, so a dataset is there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch import registry
from orch.contracts import Dataset, Progress, Split, Value
from orch.errors import DataError, NotFoundError, PluginError, StorageError
from orch.home import Home, locked, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Installed:
    """A dataset that is present: its digest and how many examples of each class it has."""

    name: str
    digest: str
    source: str
    installed_at: str
    bytes: int
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[int, ...]]

    @property
    def examples(self) -> dict[str, int]:
        """The number of examples in each split."""
        return {split: sum(counts) for split, counts in self.splits.items()}


def find(home: Home, name: str) -> Installed | None:
    """What is known of an installed dataset, or None.

    Raises:
        DataError: its manifest is damaged.
    """
    path = home.datasets / name / MANIFEST
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        document["classes"] = tuple(document["classes"])
        document["splits"] = {name: tuple(count) for name, count in document["splits"].items()}
        found = Installed(**document)
        if type(found.digest) is not str or type(found.bytes) is not int:
            raise TypeError("digest or bytes")
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path} is damaged; the data beside it was not touched",
            f"orch datasets add {name}",
        ) from None


def content(home: Home, installed: Installed) -> Path:
    """The folder that holds an installed dataset's files; its name is the digest's beginning."""
    return home.datasets / installed.name / installed.digest[:16]


def digest(installed: Installed, options: Mapping[str, Value]) -> str:
    """The identity of what a dataset serves: its content, read by this version of its plugin,
    under these options. With the first version and without options it is the content's digest.
    """
    reader = registry.load_dataset(installed.name).facts.version
    if not options and reader == 1:
        return installed.digest
    text = f"{installed.digest} {reader} {json.dumps(dict(options), sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()


def open_splits(
    home: Home, name: str, options: Mapping[str, Value] | None = None
) -> Mapping[str, Split]:
    """Open an installed dataset's splits.

    Raises:
        NotFoundError: the dataset is not installed.
        DataError: files of it are missing or damaged.
    """
    installed = find(home, name)
    if installed is None:
        raise NotFoundError(f"{name} is not installed", f"orch datasets add {name}")
    folder = content(home, installed)
    if sum(path.stat().st_size for path in _files(folder)) != installed.bytes:
        raise DataError(
            f"{folder} is damaged: it has not the {installed.bytes:,} bytes it was added with",
            f"orch datasets add {name}",
        )
    with registry.blaming("dataset", name):
        return registry.load_dataset(name, options).open(folder)


def install(
    home: Home,
    name: str,
    source: Path | None,
    progress: Progress,
    options: Mapping[str, Value] | None = None,
) -> Installed:
    """Install a dataset, replacing what was installed under its name; count it as `options` say.

    Raises:
        DataError: the source is damaged or incomplete; what was installed before stays.
        StorageError: the disk is full or cannot be written; what was installed before stays.
        PluginError: the plugin serves something other than its contract says.
    """
    dataset = registry.load_dataset(name, options)
    home.create()
    place = home.datasets / name
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            locked(home.locks / f"dataset-{name}"),
            tempfile.TemporaryDirectory(dir=place) as folder,
        ):
            fresh = Path(folder) / "content"
            fresh.mkdir()
            dataset.install(fresh, source, progress)
            installed = _describe(dataset, fresh, str(source or "canonical"))
            _publish(fresh, content(home, installed))
            write_json(place / MANIFEST, asdict(installed))
            _remove_former(place, keep={content(home, installed), Path(folder)})
    except OSError as error:
        raise _disk_error(error, home, name) from error
    except DataError as error:
        raise DataError(error.message, error.hint.replace("NAME", name)) from error
    return installed


def _publish(fresh: Path, final: Path) -> None:
    """Rename fresh content into place; what is there under the same digest may be damaged."""
    if final.exists():
        final.rename(fresh.with_name("former"))  # goes with the temporary folder
    fresh.rename(final)


def _remove_former(place: Path, keep: set[Path]) -> None:
    for entry in place.iterdir():
        if entry.is_dir() and entry not in keep:
            shutil.rmtree(entry, ignore_errors=True)


def _disk_error(error: OSError, home: Home, name: str) -> StorageError:
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(home.root).free
        return StorageError(
            f"no space left in {home.root} while adding {name} ({free:,} bytes free); "
            "nothing was changed",
            "free some space, or choose another folder with ORCH_HOME=FOLDER",
        )
    return StorageError(
        f"{error.filename or home.root}: {error.strerror or error}; {name} was not added",
        "orch doctor",
    )


def _describe(dataset: Dataset, folder: Path, source: str) -> Installed:
    splits = dataset.open(folder)
    if "train" not in splits:
        raise PluginError(f"the dataset {dataset.facts.name!r} serves no split called 'train'")
    files = _files(folder)
    return Installed(
        name=dataset.facts.name,
        digest=_digest(folder, files),
        source=source,
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        bytes=sum(path.stat().st_size for path in files),
        classes=dataset.facts.classes,
        splits={split: _counts(dataset, split, served) for split, served in splits.items()},
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(folder: Path, files: list[Path]) -> str:
    """SHA-256 over the relative path and content of every file, in order of path."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return total.hexdigest()


def _counts(dataset: Dataset, split: str, served: Split) -> tuple[int, ...]:
    import numpy as np

    labels: NDArray[np.int64] = np.asarray(served.labels)
    classes = len(dataset.facts.classes)
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or (len(labels) and not 0 <= labels.min() <= labels.max() < classes)
    ):
        raise PluginError(
            f"the dataset {dataset.facts.name!r} serves labels in {split!r} that are not "
            f"whole numbers from 0 to {classes - 1}"
        )
    counts = np.bincount(labels, minlength=classes)
    for name, count in zip(dataset.facts.classes, counts.tolist(), strict=True):
        if not count and split == "train":
            raise DataError(f"{dataset.facts.name}: the class {name!r} has no training example")
    return tuple(counts.tolist())
