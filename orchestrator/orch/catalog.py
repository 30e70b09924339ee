"""The datasets there are: those of plugins and the user's own, and what is present of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orch import probing, registry
from orch.contracts import Dataset, DatasetFacts, Split, Value
from orch.errors import DataError, NotFoundError, OrchError, PluginError
from orch.home import Home
from orch.kinds import LabelTable, OwnData

MANIFEST = "manifest.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a dataset may be called: it is the name of a folder, and a word in a terminal."""


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
    own: OwnData | None = None
    """What the user said of it, where it is their own data and no plugin's."""

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
    if not NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        document["classes"] = tuple(document["classes"])
        document["splits"] = {each: tuple(count) for each, count in document["splits"].items()}
        document["name"] = name  # the folder's: it may have been renamed
        document["own"] = _own(name, document.get("own"))
        found = Installed(**document)
        if type(found.digest) is not str or type(found.bytes) is not int:
            raise TypeError("digest or bytes")
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path} is damaged; the data beside it was not touched", _anew(name)
        ) from None


def _anew(name: str) -> str:
    """What to type so that a dataset whose manifest is lost is there again."""
    own = "" if name in registry.dataset_names() else "FOLDER --name "
    return f"orch datasets add {own}{name}"


def _own(name: str, document: dict[str, Any] | None) -> OwnData | None:
    if document is None:
        return None
    document["name"] = name
    labels, size = document["labels"], document["image_size"]
    document["labels"] = LabelTable(**labels) if labels else None
    document["image_size"] = tuple(size) if size else None
    return OwnData(**document)


def names(home: Home) -> list[str]:
    """The names of all datasets: those of plugins, and the user's own. Imports none."""
    return sorted({*registry.dataset_names(), *own_names(home)})


def own_names(home: Home) -> list[str]:
    """The names of the user's own datasets."""
    places = home.datasets.iterdir() if home.datasets.is_dir() else ()
    return sorted(place.name for place in places if _is_own(home, place.name))


def installed_names(home: Home) -> list[str]:
    """The names of what is present."""
    return [name for name in names(home) if (home.datasets / name / MANIFEST).is_file()]


def _is_own(home: Home, name: str) -> bool:
    try:
        installed = find(home, name)
    except DataError:  # damaged: a plugin's can be added again, any other is still listed
        return name not in registry.dataset_names()
    return installed is not None and installed.own is not None


def load(home: Home, name: str, options: Mapping[str, Value] | None = None) -> Dataset:
    """A dataset by name, the user's own or a plugin's, built with these options.

    Raises:
        NotFoundError: no dataset has that name.
        DataError: it is the user's own and damaged.
        PluginError: its plugin cannot be imported or breaks the contract.
    """
    if name in registry.dataset_names():
        return registry.load_dataset(name, options)
    installed = find(home, name)
    if installed is None or installed.own is None:
        raise NotFoundError.among("dataset", name, names(home), "orch datasets lists all")
    own, folder = installed.own, content(home, installed)
    with registry.blaming("kind", own.kind):
        return registry.load_kind(own.kind).dataset(own, folder, options or {})


def facts(home: Home, name: str, patience: float = probing.PATIENCE) -> DatasetFacts:
    """The facts of one dataset; a plugin is asked in a process of its own, and nothing imported.

    Raises:
        NotFoundError, DataError: as `load`.
        BlockedError: its plugin cannot be used.
    """
    if name in registry.dataset_names():
        return probing.facts(home, registry.DATASETS, name, patience)
    return load(home, name).facts


def known(home: Home, patience: float) -> tuple[dict[str, DatasetFacts], dict[str, str]]:
    """The facts of every dataset by name, and of those that cannot be used a line that says why.

    Plugins are asked in processes of their own, for at most `patience` seconds.
    """
    asked = probing.datasets(home, patience)
    found, why = dict(asked.facts), {each.name: str(each) for each in asked.blocked}
    for name in own_names(home):
        try:
            found[name] = load(home, name).facts
        except OrchError as error:
            why[name] = f"{error.message}; {error.hint}"
    return dict(sorted(found.items())), why


def brought_by(home: Home, name: str) -> str:
    """The distribution that brought a dataset, as "name version"."""
    if name in registry.dataset_names():
        return registry.version(registry.DATASETS, name)
    installed = find(home, name)
    own = installed.own if installed else None
    return registry.version(registry.KINDS, own.kind) if own else "unknown"


def content(home: Home, installed: Installed) -> Path:
    """The folder that holds an installed dataset's files; its name is the digest's beginning."""
    return home.datasets / installed.name / installed.digest[:16]


def digest(home: Home, installed: Installed, options: Mapping[str, Value]) -> str:
    """The identity of what a dataset serves: its content, read by this version of its plugin,
    under these options. With the first version and without options it is the content's digest.
    """
    reader = load(home, installed.name).facts.version
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
        PluginError: its plugin cannot be used, or serves labels that its classes do not have.
    """
    installed = find(home, name)
    if installed is None:
        raise NotFoundError(f"{name} is not installed", f"orch datasets add {name}")
    folder = content(home, installed)
    _check_unchanged(installed, folder)
    with registry.blaming("dataset", name):
        dataset = load(home, name, options)
        splits = dataset.open(folder)
        for split, served in splits.items():
            check_labels(dataset.facts, split, served)
        return splits


def check_labels(facts: DatasetFacts, split: str, served: Split) -> None:
    """Make sure that a split's labels are those of the dataset's classes.

    Raises:
        PluginError: they are not whole numbers, or out of range.
    """
    import numpy as np

    labels, classes = np.asarray(served.labels), len(facts.classes)
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or (len(labels) and not 0 <= labels.min() <= labels.max() < classes)
    ):
        raise PluginError(
            f"the dataset {facts.name!r} serves labels in {split!r} that are not "
            f"whole numbers from 0 to {classes - 1}",
            f"orch plugins check {facts.name}",
        )


def _check_unchanged(installed: Installed, folder: Path) -> None:
    """Compare files' sizes with what was added, and where others keep them, all that is newer."""
    seen = [(path, path.stat()) for path in files(folder)]
    own, size = installed.own, sum(stat.st_size for _, stat in seen)
    if own is not None and own.link:
        added = datetime.fromisoformat(installed.installed_at).timestamp()
        newer = [path for path, stat in seen if stat.st_ctime >= added and path.is_symlink()]
        same = not newer or content_digest(folder, [path for path, _ in seen]) == installed.digest
        if size != installed.bytes or not same:
            gone = sorted(path for path in folder.rglob("*") if not path.exists())
            raise DataError(
                f"files in {own.source} have changed since {installed.name} was added: "
                + ("; ".join([*_some(gone, "gone"), *_some(newer, "newer")]) or "their sizes"),
                f"orch datasets add {installed.name} takes them as they are now, as new data",
            )
    if size != installed.bytes:
        raise DataError(
            f"{folder} is damaged: it has not the {installed.bytes:,} bytes it was added with",
            f"orch datasets add {installed.name}",
        )


def _some(links: list[Path], how: str) -> list[str]:
    """What happened to linked files, with the first of them: "2 gone, such as /data/a/1.png"."""
    return [f"{len(links)} {how}, such as {links[0].readlink()}"] if links else []


def files(folder: Path) -> list[Path]:
    """Every file below a folder, in order of path; what is linked counts as what it links to."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def content_digest(folder: Path, files: list[Path]) -> str:
    """SHA-256 over the relative path and content of every file, in order of path."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return total.hexdigest()
