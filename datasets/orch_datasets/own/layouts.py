"""Where the labelled files of a folder are: class folders, with or without splits, or a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from orch.errors import DataError
from orch.kinds import LabelTable
from orch_datasets.own.tables import Row, read_table

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
LEAST_IN_CLASS = 2

Accepts = Callable[[Path], bool]
"""Says by its name whether a file may be an example."""


@dataclass(frozen=True)
class Labelled:
    """One file, relative to the folder it was found in, its class and its split."""

    path: PurePosixPath
    label: str
    split: str


def find(folder: Path, labels: LabelTable | None, accepts: Accepts) -> tuple[Labelled, ...]:
    """Every labelled file of a folder, in order of path; a file that a table names may be gone.

    Raises:
        DataError: there are none, in no layout that is known, or too few to train and judge.
    """
    found = _of_table(folder, labels) if labels else _of_folders(folder, accepts)
    listed = tuple(sorted(found, key=lambda each: each.path))
    check(folder, listed)
    return listed


# ── class folders ───────────────────────────────────────────────────────────────────────────


def _of_folders(folder: Path, accepts: Accepts) -> Iterator[Labelled]:
    root = _root(folder, accepts)
    splits = {each.name: SPLITS.get(each.name.lower()) for each in _folders(root)}
    if splits and all(splits.values()) and "train" in splits.values():
        for name, split in splits.items():
            yield from _classes(folder, root / name, split or "train", accepts)
    else:
        yield from _classes(folder, root, "train", accepts)


def _root(folder: Path, accepts: Accepts) -> Path:
    """The folder itself, or the only folder in it, as archives often hold one."""
    inside = _folders(folder)
    if len(inside) == 1 and _folders(inside[0]) and not any(_files(folder, accepts)):
        return inside[0]
    return folder


def _classes(folder: Path, root: Path, split: str, accepts: Accepts) -> Iterator[Labelled]:
    for place in _folders(root):
        for path in _below(place, accepts):
            yield Labelled(PurePosixPath(path.relative_to(folder)), place.name, split)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))
    )


def _files(folder: Path, accepts: Accepts) -> Iterator[Path]:
    return (
        each
        for each in folder.iterdir()
        if _seen(PurePath(each.name)) and each.is_file() and accepts(each)
    )


def _below(folder: Path, accepts: Accepts) -> Iterator[Path]:
    for each in folder.rglob("*"):
        if _seen(each.relative_to(folder)) and each.is_file() and accepts(each):
            yield each


def _seen(path: PurePath) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in path.parts)


# ── label tables ────────────────────────────────────────────────────────────────────────────


def _of_table(folder: Path, table: LabelTable) -> Iterator[Labelled]:
    said: dict[PurePosixPath, Row] = {}
    for row in read_table(table):
        path = _inside(folder, table, row)
        former = said.setdefault(path, row)
        if (former.label, former.split) != (row.label, row.split):
            raise DataError(
                f"{table.path}, row {row.number}: {row.path} is {row.label!r} here and "
                f"{former.label!r} in row {former.number}; nothing was changed",
                "give every file one label and one split",
            )
    if not said:
        raise DataError(
            f"{table.path} has a header and no row; nothing was changed",
            "give every file a row with its path and its class",
        )
    if not any(is_there(folder / path) for path in said):
        row = next(iter(said.values()))
        raise DataError(
            f"{table.path}: none of its {len(said)} files is in {folder}, not even {row.path} of "
            f"row {row.number}; nothing was changed",
            "write paths relative to the folder that you add, or choose another --path-column",
        )
    for path, row in said.items():
        yield Labelled(path, row.label, _split(table, row))


def is_there(path: Path) -> bool:
    """Whether a path that a table names is a file; one that no disk can hold is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _inside(folder: Path, table: LabelTable, row: Row) -> PurePosixPath:
    """The row's path, which must be below the folder."""
    path = PurePosixPath(row.path.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{table.path}, row {row.number}: {row.path} is not below {folder}; "
            "nothing was changed",
            "write paths relative to the folder that you add",
        )
    return path


def _split(table: LabelTable, row: Row) -> str:
    if row.split is None:
        return "train"
    split = SPLITS.get(row.split.lower())
    if split is None:
        raise DataError(
            f"{table.path}, row {row.number}: {row.split!r} is no split; nothing was changed",
            "splits are train, validation and test",
        )
    return split


# ── what must be there ──────────────────────────────────────────────────────────────────────


def check(folder: Path, found: Iterable[Labelled]) -> None:
    """Make sure that every class can be trained and judged.

    Raises:
        DataError: fewer than two classes, or a class with too few training examples.
    """
    listed = list(found)
    classes = {each.label for each in listed}
    if len(classes) < 2:
        raise DataError(_too_few_classes(folder, sorted(classes)), _HOW)
    trained = Counter(each.label for each in listed if each.split == "train")
    judged = any(each.split == "validation" for each in listed)
    least = 1 if judged else LEAST_IN_CLASS
    for name in sorted(classes):
        if trained[name] < least:
            what = "to train on" if judged else "to train on and be judged by"
            raise DataError(
                f"the class {name!r} of {folder} has {trained[name]} of the {least} training "
                f"examples that it takes {what}; nothing was changed",
                f"add examples of {name!r}, or leave the class out",
            )


_HOW = (
    "give every class a folder of its files (of sounds with --kind audio), or name a table: "
    "--labels labels.csv --path-column file --label-column class"
)


def _too_few_classes(folder: Path, classes: list[str]) -> str:
    if classes:
        return f"{folder} has examples of one class alone, {classes[0]!r}; nothing was changed"
    held = f"{folder} holds no examples in class folders"
    found = Counter(
        each.suffix.lower()
        for each in folder.rglob("*")
        if _seen(each.relative_to(folder)) and each.is_file()
    )
    if found:
        held += ", but " + ", ".join(
            f"{count} {suffix or 'other'}" for suffix, count in found.most_common(2)
        )
    return f"{held}; nothing was changed"
