"""How datasets get into the home folder, and out of it.

A dataset is installed into a temporary folder, read once and renamed to its digest; the
manifest that names this digest comes last, so a dataset is there whole or not at all.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from orch import catalog, registry
from orch.catalog import Installed
from orch.contracts import Dataset, Progress, Split, Value
from orch.errors import DataError, NotFoundError, PluginError, StorageError, UsageError
from orch.home import Home, locked, sync_folder, write_json
from orch.kinds import LabelTable, Omitted, OwnData

BROUGHT = ("path", "label", "split")  # columns of the table that a gallery writes


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
    there = catalog.find(home, name) if name not in registry.dataset_names() else None
    if there is not None and there.own is not None:
        own = replace(there.own, source=str(source.absolute()) if source else there.own.source)
        return install_own(home, own, progress, options)[0]
    dataset = catalog.load(home, name, options)

    def fill(fresh: Path) -> Installed:
        with registry.blaming("dataset", name, OSError):
            dataset.install(fresh, source, progress)
            return _describe(dataset, fresh, str(source or "canonical"))

    return _replace(home, name, fill)


def install_own(
    home: Home, own: OwnData, progress: Progress, options: Mapping[str, Value] | None = None
) -> tuple[Installed, tuple[Omitted, ...]]:
    """Add a user's own files as a dataset, replacing what was added under its name.

    Returns what was left out too.

    Raises:
        UsageError: the name cannot be one, or is a plugin's.
        NotFoundError: there is no such kind of files, or no such library of datasets.
        DataError: the files are damaged or in no known layout; what was added before stays.
        StorageError: as `install`.
    """
    _check_name(own.name)
    kind = registry.load_kind(own.kind)
    omitted: tuple[Omitted, ...] = ()

    def fill(fresh: Path) -> Installed:
        nonlocal omitted
        with (
            _brought(own, fresh.parent, progress) as (said, source),
            registry.blaming("kind", own.kind, OSError),
        ):
            omitted = kind.keep(said, source, fresh, progress)
            dataset = kind.dataset(own, fresh, options or {})
            return replace(_describe(dataset, fresh, own.source), own=own)

    return _replace(home, own.name, fill), omitted


def _check_name(name: str) -> None:
    if name in registry.dataset_names():
        brought = registry.version(registry.DATASETS, name)
        raise UsageError(
            f"{name} is the name of a dataset of {brought}; nothing was changed",
            "choose another name",
        )
    if not catalog.NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a dataset's name; nothing was changed",
            "write small letters, digits, '.', '-' and '_', such as garden-birds",
        )


@contextmanager
def _brought(own: OwnData, scratch: Path, progress: Progress) -> Generator[tuple[OwnData, Path]]:
    """The user's folder or archive; or what a library of datasets has, as files and a table."""
    word, mark, address = own.source.partition("://")
    if not mark:
        yield own, Path(own.source)
        return
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        column = own.labels.label_column if own.labels else None
        gallery = registry.load_gallery(word)
        with registry.blaming("gallery", word, OSError):
            gallery.bring(address, folder, column, progress)
        yield replace(own, labels=LabelTable(str(folder / "labels.csv"), *BROUGHT)), folder


def remove(home: Home, name: str) -> int:
    """Delete an installed dataset's files, never what they link to; returns how many bytes.

    Raises:
        NotFoundError: it is not installed.
        StorageError: the files cannot be deleted.
    """
    place = home.datasets / name
    if not catalog.NAME.fullmatch(name) or not place.is_dir():
        raise NotFoundError.among(
            "installed dataset", name, catalog.installed_names(home), "orch datasets"
        )
    with (
        locked(home.locks / f"dataset-{name}"),
        tempfile.TemporaryDirectory(dir=home.datasets) as to,
    ):
        size = sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())
        place.rename(Path(to) / name)
    return size


def check_renaming(home: Home, former: str, name: str) -> None:
    """Make sure that a dataset can be called otherwise; nothing is changed.

    Raises:
        NotFoundError: there is none of that name.
        UsageError: the new name cannot be one, or is taken.
    """
    if former not in catalog.own_names(home):
        hint = "orch datasets lists all"
        raise NotFoundError.among("dataset of your own", former, catalog.own_names(home), hint)
    _check_name(name)
    if (home.datasets / name).exists():
        raise UsageError(f"there is a dataset {name} already; nothing was renamed", "another name")


def rename(home: Home, former: str, name: str) -> None:
    """Call a user's own dataset otherwise.

    Raises:
        NotFoundError, UsageError: as `check_renaming`.
    """
    check_renaming(home, former, name)
    with locked(home.locks / f"dataset-{former}"):
        (home.datasets / former).rename(home.datasets / name)
        sync_folder(home.datasets)


def _replace(home: Home, name: str, fill: Callable[[Path], Installed]) -> Installed:
    """Install what `fill` puts into a fresh folder in place of what was installed."""
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
            installed = fill(fresh)
            _publish(fresh, catalog.content(home, installed))
            write_json(place / catalog.MANIFEST, asdict(installed))
            _remove_former(place, keep={catalog.content(home, installed), Path(folder)})
    except OSError as error:
        raise _disk_error(error, home, name) from error
    except DataError as error:
        raise DataError(error.message, error.hint.replace("NAME", name)) from error
    finally:
        with suppress(OSError):  # nothing was added: no empty folder is left
            place.rmdir()
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
        name = dataset.facts.name
        raise PluginError(
            f"the dataset {name!r} serves no split called 'train'; nothing was changed",
            registry.advice("dataset", name),
        )
    files = catalog.files(folder)
    began = datetime.now(UTC)  # what changes while it is hashed is newer
    return Installed(
        name=dataset.facts.name,
        digest=catalog.content_digest(folder, files),
        source=source,
        installed_at=began.isoformat(timespec="seconds"),
        bytes=sum(path.stat().st_size for path in files),
        classes=dataset.facts.classes,
        splits={split: _counts(dataset, split, served) for split, served in splits.items()},
    )


def _counts(dataset: Dataset, split: str, served: Split) -> tuple[int, ...]:
    import numpy as np

    catalog.check_labels(dataset.facts, split, served)
    counts = np.bincount(np.asarray(served.labels), minlength=len(dataset.facts.classes))
    for name, count in zip(dataset.facts.classes, counts.tolist(), strict=True):
        if not count and split == "train":
            raise DataError(
                f"the class {name!r} of {dataset.facts.name} has no training example; "
                "nothing was changed",
                "add examples of it, or leave the class out of the dataset's classes",
            )
    return tuple(counts.tolist())
