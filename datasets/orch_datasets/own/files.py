"""How users' files are kept: copied or linked under their own names, listed in one index."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import DatasetFacts, Progress, Split
from orch.errors import DataError
from orch.kinds import Kind, Omitted, OwnData
from orch_datasets import toolkit
from orch_datasets.own import layouts
from orch_datasets.own.layouts import Accepts, Labelled

INDEX, FILES = "index.json", "files"
BATCH = 64  # files between two reports of progress

Reader = Callable[[Path], NDArray[np.uint8]]
Size = tuple[int, int]
Look = Callable[[Path], Size]
"""Decodes a file to be sure of it; gives its (height, width) in pixels."""


@dataclass(frozen=True)
class FilesSplit:
    """A split whose examples are files of any size."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    reader: Reader

    def image(self, index: int) -> NDArray[np.uint8]:
        """One example, uint8 (height, width, 3), RGB."""
        return self.reader(self.paths[index])


@dataclass(frozen=True)
class Index:
    """What is kept: the classes, every file's class and split, the files' median size."""

    classes: tuple[str, ...]
    examples: tuple[Labelled, ...]
    size: Size


@dataclass(frozen=True)
class OwnDataset:
    """A dataset of a user's own files."""

    own: OwnData
    facts: DatasetFacts
    index: Index
    reader: Reader
    kind: Kind

    api = 1

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Keep the files of `source`, or of where they were added from, anew."""
        self.kind.keep(self.own, source or Path(self.own.source), folder, progress)

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve the splits there are, each in order of path."""
        return dict(self._splits(folder))

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen file as an example."""
        return self.reader(path)

    def _splits(self, folder: Path) -> Iterator[tuple[str, FilesSplit]]:
        number = {name: at for at, name in enumerate(self.index.classes)}
        for split in ("train", "validation", "test"):
            chosen = [each for each in self.index.examples if each.split == split]
            if chosen:
                paths = tuple(folder / FILES / each.path for each in chosen)
                labels = np.array([number[each.label] for each in chosen], np.int64)
                yield split, FilesSplit(paths, labels, self.reader)


# ── keeping ─────────────────────────────────────────────────────────────────────────────────


def keep(
    own: OwnData, source: Path, folder: Path, progress: Progress, accepts: Accepts, look: Look
) -> tuple[Omitted, ...]:
    """Copy or link the labelled files of a folder or archive into `folder`, with their index.

    Raises:
        DataError: as `orch.kinds.Kind.keep`.
    """
    if own.link and not source.is_dir():
        raise DataError(
            f"{source} is no folder, so its files cannot stay where they are; nothing was changed",
            "leave --link out: the archive is unpacked into orch's own folder",
        )
    with toolkit.unpacked(source, folder, progress) as content:
        found = layouts.find(content, own.labels, accepts)
        sizes, omitted = _looked(content, found, look, progress)
        _admit(own, source, omitted, len(found))
        whole = tuple(each for each in found if each.path in sizes)
        layouts.check(source, whole)
        for count, each in enumerate(whole):
            _place(content / each.path, folder / FILES / each.path, own.link)
            if count % BATCH == 0:
                progress("keeping the files", count, len(whole))
    _write_index(folder / INDEX, whole, list(sizes.values()))
    return omitted


def _looked(
    content: Path, found: Sequence[Labelled], look: Look, progress: Progress
) -> tuple[dict[PurePosixPath, Size], tuple[Omitted, ...]]:
    """Decode every file, on all cores: the size of each, and those that do not decode."""
    sizes: dict[PurePosixPath, Size] = {}
    omitted: list[Omitted] = []

    def one(each: Labelled) -> Size | DataError:
        path = content / each.path
        if not layouts.is_there(path):
            return DataError(f"{path} is not there")
        try:
            return look(path)
        except DataError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(found), BATCH):
            batch = found[start : start + BATCH]
            for each, seen in zip(batch, threads.map(one, batch), strict=True):
                if isinstance(seen, DataError):
                    omitted.append(_omitted(each, seen, content))
                else:
                    sizes[each.path] = seen
            progress("reading", start + len(batch), len(found))
    return sizes, tuple(omitted)


def _omitted(example: Labelled, error: DataError, content: Path) -> Omitted:
    said = error.message.removeprefix(f"{content / example.path} ")
    why = said.removesuffix("; nothing was changed")
    return Omitted(str(example.path), example.label, example.split, why)


def _admit(own: OwnData, source: Path, omitted: Sequence[Omitted], files: int) -> None:
    if not omitted or (own.skip_broken and len(omitted) < files):
        return
    first = omitted[0]
    which = f"{len(omitted)} of {files} files" if len(omitted) < files else f"all {files} files"
    see = f"orch datasets check {own.words}"
    raise DataError(
        f"{which} in {source} cannot be used, the first is {first.path}: {first.why}; "
        "nothing was changed",
        f"--skip-broken leaves them out; to see them: {see}" if len(omitted) < files else "",
    )


def _place(path: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(path.resolve())
    else:
        shutil.copyfile(path, target)


# ── the index ───────────────────────────────────────────────────────────────────────────────


def _write_index(path: Path, examples: Sequence[Labelled], sizes: Sequence[Size]) -> None:
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    document = {
        "schema_version": 1,
        "classes": _ordered({each.label for each in examples}),
        "size": [height, width],
        "examples": [[str(each.path), each.label, each.split] for each in examples],
    }
    path.write_text(json.dumps(document, indent=0), encoding="ascii")


def _ordered(classes: set[str]) -> list[str]:
    """By number where all are numbers, else by name."""
    if all(name.isdecimal() for name in classes):
        return sorted(classes, key=lambda name: (int(name), name))
    return sorted(classes)


def read_index(folder: Path) -> Index:
    """What is kept in a folder.

    Raises:
        DataError: the index is gone or damaged.
    """
    path = folder / INDEX
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
        examples = tuple(Labelled(PurePosixPath(p), c, s) for p, c, s in document["examples"])
        height, width = document["size"]
        return Index(tuple(document["classes"]), examples, (int(height), int(width)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); add the dataset again") from error
