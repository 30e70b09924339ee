"""Label tables: a CSV or Parquet file with a path and a class in every row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from orch.errors import DataError
from orch.kinds import LabelTable

PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "audio", "clip")
LABELS = ("label", "class", "category", "target", "species", "class_name")


@dataclass(frozen=True)
class Row:
    """What one row says; rows count from 1, the header of a CSV file is row 1."""

    number: int
    path: str
    label: str
    split: str | None


def read_table(table: LabelTable) -> Iterator[Row]:
    """The rows of a label table.

    Raises:
        DataError: it cannot be read, lacks a column, or has an empty field.
    """
    place = Path(table.path)
    if not place.is_file():
        raise DataError(
            f"{place} does not exist; nothing was changed", "name a CSV or Parquet file"
        )
    columns, rows = _parquet(place) if _is_parquet(place) else _csv(place)
    chosen = (
        _column(place, columns, table.path_column, PATHS, "--path-column"),
        _column(place, columns, table.label_column, LABELS, "--label-column"),
        *(_exact(place, columns, name, "--split-column") for name in _given(table.split_column)),
    )
    for number, row in rows:
        values = [_field(place, number, columns[at], row, at) for at in chosen]
        yield Row(number, values[0], values[1], values[2] if len(values) > 2 else None)


def _given(name: str | None) -> list[str]:
    return [] if name is None else [name]


def _is_parquet(place: Path) -> bool:
    with place.open("rb") as file:
        return file.read(4) == b"PAR1"


def _csv(place: Path) -> tuple[list[str], Iterator[tuple[int, Sequence[Any]]]]:
    try:
        text = place.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{place} is no CSV file in UTF-8 ({error}); nothing was changed"
        ) from error
    if not rows:
        raise DataError(f"{place} is empty; nothing was changed", "give it a header and rows")
    numbered = ((number, row) for number, row in enumerate(rows[1:], 2) if row)
    return [name.strip() for name in rows[0]], numbered


def _delimiter(text: str) -> str:
    """What stands between the fields of the header, most often."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _parquet(place: Path) -> tuple[list[str], Iterator[tuple[int, Sequence[Any]]]]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        read = parquet.read_table(place)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{place} is damaged ({error}); nothing was changed") from error
    columns = [read.column(at).to_pylist() for at in range(read.num_columns)]
    return list(read.column_names), enumerate(zip(*columns, strict=True), 1)


def _column(
    place: Path, columns: list[str], name: str | None, usual: Sequence[str], option: str
) -> int:
    """Where the named column is, or the only one with a usual name."""
    if name is not None:
        return _exact(place, columns, name, option)
    likely = [at for at, each in enumerate(columns) if each.lower() in usual]
    if len(likely) != 1:
        raise DataError(
            f"{place} does not say which of its columns is meant: {', '.join(columns)}",
            f"name it with {option}",
        )
    return likely[0]


def _exact(place: Path, columns: list[str], name: str, option: str) -> int:
    if name not in columns:
        raise DataError(
            f"{place} has no column {name!r}; it has {', '.join(columns)}",
            f"name one of them with {option}",
        )
    return columns.index(name)


def _field(place: Path, number: int, column: str, row: Sequence[Any], at: int) -> str:
    text = str(row[at]).strip() if at < len(row) and row[at] is not None else ""
    if not text:
        raise DataError(f"{place}, row {number}: {column} is empty; nothing was changed")
    return text
