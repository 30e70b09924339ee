"""The contract of data that users have themselves: kinds of files, and places to bring them from.

A **kind** turns a user's own files into a dataset: pictures, sounds. A **gallery** brings a
dataset from a library of datasets into a folder of files with a table, which a kind then reads.
Both are found by entry point (`orch.kinds`, `orch.galleries`), as dataset plugins are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from orch.contracts import Dataset, Option, Progress, Value

USUAL_KIND = "images"
"""The kind of a user's own files where they do not say."""


@dataclass(frozen=True)
class LabelTable:
    """A CSV or Parquet file that names a file and its class in every row.

    Paths in it are relative to the folder that is added. A column that is None is guessed from
    its usual names; `split_column` None means that the table says nothing of splits. `path` is
    empty where a library of datasets has the table itself.
    """

    path: str
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None


@dataclass(frozen=True)
class OwnData:
    """What a user said of their own data when it was added; kept beside it.

    `source` is an absolute path, or an address such as "hf://name". `image_size` is the
    (height, width) in pixels that examples are resized to, None for what suits the files. With
    `link` the files stay where they are; with `skip_broken` those that do not decode are left
    out.
    """

    name: str
    kind: str
    source: str
    labels: LabelTable | None = None
    image_size: tuple[int, int] | None = None
    link: bool = False
    skip_broken: bool = False

    @property
    def words(self) -> str:
        """What names these files on a command line: the source, their kind, their labels."""
        table = None if "://" in self.source else self.labels  # a library has its own
        stated = {
            "--kind": self.kind if self.kind != USUAL_KIND else None,
            "--labels": table.path if table else None,
            "--path-column": table.path_column if table else None,
            "--label-column": table.label_column if table else None,
            "--split-column": table.split_column if table else None,
        }
        given = [word for flag, value in stated.items() if value for word in (flag, value)]
        return shlex.join([self.source, *given])


@dataclass(frozen=True)
class Omitted:
    """A file that was left out, its class and split, and why, in one line."""

    path: str
    label: str
    split: str
    why: str


@runtime_checkable
class Kind(Protocol):
    """Makes datasets of one kind of files."""

    api: int
    title: str
    options: tuple[Option, ...]

    def keep(
        self, own: OwnData, source: Path, folder: Path, progress: Progress
    ) -> tuple[Omitted, ...]:
        """Put the labelled files of `source` under `folder`, which exists and is empty.

        Each is decoded once. What is written must depend on the content of the files, their
        names and their labels alone. Returns what was left out.

        Raises:
            DataError: there are no labelled files, or some do not decode and `skip_broken`
                is not set.
        """
        ...

    def dataset(self, own: OwnData, folder: Path, options: Mapping[str, Value]) -> Dataset:
        """The dataset that `keep` put into `folder`.

        Raises:
            DataError: what is in the folder is damaged.
        """
        ...


@runtime_checkable
class Gallery(Protocol):
    """Brings datasets from a library of datasets, such as Hugging Face's."""

    api: int
    title: str

    def bring(
        self, address: str, folder: Path, label_column: str | None, progress: Progress
    ) -> None:
        """Write the dataset at `address` (what stands behind "hf://") as image files.

        Beside them goes `labels.csv` with the columns path, label and split; paths are below
        `folder`, splits "train", "validation" and "test".

        Raises:
            DataError: there is no such dataset, or it is not one of labelled images.
            PluginError: the library is not installed; the hint says how to install it.
        """
        ...
