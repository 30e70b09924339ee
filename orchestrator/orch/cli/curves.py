"""Learning curves: in the terminal with plotext, as a picture with matplotlib."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.cli.door import cannot_write
from orch.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from orch_db.records import EpochRecord

HEIGHT = 14  # lines of a plot
WIDEST = 120  # columns of both plots together
SHOWN = (("accuracy", "val_accuracy"), ("loss", "val_loss"))
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def draw(epochs: Sequence[EpochRecord]) -> str:
    """Accuracy and loss over the epochs, training and validation, side by side or stacked."""
    from rich.console import Console

    columns = min(Console().width if sys.stdout.isatty() else WIDEST, WIDEST)
    side_by_side = columns >= 100
    width = columns // 2 - 1 if side_by_side else columns
    plots = [_plot(epochs, pair, width).splitlines() for pair in SHOWN]
    if not side_by_side:
        return "\n".join("\n".join(plot) for plot in plots) + "\n"
    rows = zip(*plots, strict=True)
    return "\n".join(f"{left}  {right}".rstrip() for left, right in rows) + "\n"


def _plot(epochs: Sequence[EpochRecord], pair: tuple[str, str], width: int) -> str:
    import plotext

    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    plotext.clear_figure()
    plotext.theme("clear" if plain else "pro")
    plotext.plotsize(width, HEIGHT)
    plotext.title(pair[0])
    x = [each.epoch for each in epochs]
    for name, label, marker in ((pair[0], "training", "braille"), (pair[1], "validation", "•")):
        y = [each.metrics[name] for each in epochs]
        plotext.plot(x, y, label=label, marker=marker)
    for begin in _stage_starts(epochs):
        plotext.vline(begin)
    step = max(1, len(x) // 8)
    plotext.xticks(x[::step])
    drawn = plotext.build().rstrip("\n")
    return _ESCAPE.sub("", drawn) if plain else drawn


def _stage_starts(epochs: Sequence[EpochRecord]) -> list[float]:
    """Where a stage but the first begins, between its first epoch and the one before."""
    pairs = itertools.pairwise(epochs)
    return [right.epoch - 0.5 for left, right in pairs if left.stage != right.stage]


def check(file: Path) -> None:
    """Refuse a file that cannot be written before anything is shown.

    Raises:
        UsageError: it is no .png, or its folder is not there.
    """
    if file.suffix.lower() != ".png":
        raise UsageError(f"{file} does not end in .png", f"--png {file.with_suffix('.png')}")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"the folder {file.parent} does not exist; nothing was written")


def save(file: Path, title: str, epochs: Sequence[EpochRecord]) -> None:
    """Write both plots as a PNG picture.

    Raises:
        NotFoundError: there is no epoch to draw.
        StorageError: the file cannot be written.
    """
    if not epochs:
        raise NotFoundError(f"there is no epoch to draw; {file} was not written", "orch trials")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes: Any = figure.subplots(1, 2)
    for axis, pair in zip(axes, SHOWN, strict=True):
        for name, label in zip(pair, ("training", "validation"), strict=True):
            axis.plot(
                [e.epoch for e in epochs], [e.metrics[name] for e in epochs], ".-", label=label
            )
        for begin in _stage_starts(epochs):
            axis.axvline(begin, color="grey", linestyle=":")
        axis.set(xlabel="epoch", ylabel=pair[0])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise cannot_write(file, error) from error
