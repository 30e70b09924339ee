"""A contact sheet: one row for each class, a few of its training examples, as one PNG picture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.cli.door import cannot_write
from orch.cli.output import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orch.contracts import Split

DPI = 100
GAP = 4  # pixels between pictures
LABEL = 190  # pixels for the name of a class and its counts
TITLE = 34
LETTERS = 24  # of a class's name, before it is cut off
CLASSES = 200  # on one sheet
TEXT_SIZE, SMALL = 9, 7  # points


@dataclass(frozen=True)
class Layout:
    """Rows of classes in columns: `cell` pixels a picture, `each` pictures a class."""

    classes: int
    rows: int
    each: int
    cell: int

    @property
    def block(self) -> int:
        """The width of one column in pixels: label, pictures, and a gap."""
        return LABEL + self.each * (self.cell + GAP) + 4 * GAP

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the sheet in pixels."""
        columns = -(-self.classes // self.rows)
        return TITLE + min(self.rows, self.classes) * (self.cell + GAP), columns * self.block

    def place(self, row: int) -> tuple[int, int]:
        """Where the row of a class begins: y and x in pixels."""
        column, line = divmod(row, self.rows)
        return TITLE + line * (self.cell + GAP), column * self.block


def layout(classes: int) -> Layout:
    """A sheet on which so many classes can be read: smaller and fewer pictures for more."""
    shown = min(classes, CLASSES)
    if shown <= 12:
        return Layout(shown, 12, 8, 96)
    return Layout(shown, 25, 8, 64) if shown <= 25 else Layout(shown, 25, 4, 64)


def evenly(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows: the first, the last, and what lies evenly between."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(at * (len(rows) - 1) / (count - 1))] for at in range(count)]


def save(file: Path, name: str, splits: Mapping[str, Split], classes: Sequence[str]) -> None:
    """Write the sheet of a dataset, its examples out of "train".

    Raises:
        PluginError: the dataset breaks its contract.
        StorageError: the file cannot be written.
    """
    import numpy as np
    from matplotlib.figure import Figure

    labels = {split: np.asarray(served.labels) for split, served in splits.items()}
    plan = layout(len(classes))
    height, width = plan.size
    canvas = np.full((height, width, 3), 255, np.uint8)
    for row in range(plan.classes):
        chosen = evenly(np.flatnonzero(labels["train"] == row).tolist(), plan.each)
        _draw(canvas, plan, row, _pictures(name, splits["train"], chosen, plan.cell))
    figure: Any = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(canvas)
    for x, y, text, points in _texts(plan, name, labels, classes):
        at = x / width, 1 - y / height
        figure.text(*at, clean(text), fontsize=points, va="center", parse_math=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # boxes for what no font has
            figure.savefig(file, dpi=DPI, format="png")
    except OSError as error:
        raise cannot_write(file, error) from error


def _draw(
    canvas: NDArray[np.uint8], plan: Layout, row: int, pictures: Iterator[NDArray[np.uint8]]
) -> None:
    """Put a class's pictures in their cells, each in the middle of its own."""
    top, left = plan.place(row)
    for at, picture in enumerate(pictures):
        height, width, _ = picture.shape
        y = top + (plan.cell - height) // 2
        x = left + LABEL + at * (plan.cell + GAP) + (plan.cell - width) // 2
        canvas[y : y + height, x : x + width] = picture


def _pictures(
    name: str, split: Split, rows: Sequence[int], cell: int
) -> Iterator[NDArray[np.uint8]]:
    """Examples that fit a cell; one that does not decode is a grey square."""
    import numpy as np
    from PIL import Image

    from orch import registry
    from orch.errors import DataError

    for row in rows:
        try:
            with registry.blaming("dataset", name):
                picture = Image.fromarray(np.ascontiguousarray(split.image(row)))
        except DataError:
            picture = Image.new("RGB", (cell, cell), "lightgrey")
        scale = cell / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
        yield np.asarray(picture.resize(size, how))


def _texts(
    plan: Layout, name: str, labels: Mapping[str, NDArray[np.int64]], classes: Sequence[str]
) -> Iterator[tuple[float, float, str, int]]:
    """What is written on the sheet: x and y in pixels from the upper left, text, points."""
    cut = f"; the first {plan.classes} of {len(classes):,}" if len(classes) > plan.classes else ""
    counts = ", ".join(f"{split} {len(each):,}" for split, each in labels.items())
    yield 2 * GAP, TITLE / 2, f"{name}: {counts}; {len(classes):,} classes{cut}", TEXT_SIZE + 1
    for row in range(plan.classes):
        top, left = plan.place(row)
        middle, x = top + plan.cell / 2, left + 2 * GAP
        label = classes[row]
        short = label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"
        counts = " · ".join(f"{s} {int((each == row).sum()):,}" for s, each in labels.items())
        yield x, middle - 8, short, TEXT_SIZE
        yield x, middle + 8, counts, SMALL
