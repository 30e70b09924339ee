"""Folders as users have them: pictures and sounds, made on the spot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from orch import installing
from orch.catalog import Installed
from orch.home import Home
from orch.kinds import LabelTable, OwnData
from orch.testing import silent

RATE = 16_000


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """A picture of one shade with a mark of its own, (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    pixels[:8, :8] = 255 - shade
    Image.fromarray(pixels).save(path)
    return path


def folder(root: Path, counts: Mapping[str, int], suffix: str = ".png") -> Path:
    """Class folders: `counts` says how many pictures are in each folder below `root`."""
    for shade, (place, count) in enumerate(counts.items()):
        for at in range(count):
            picture(root / place / f"{at}{suffix}", 40 * shade + at)
    return root


def clip(path: Path, hertz: float, rate: int = RATE, seconds: float = 0.5) -> Path:
    """A tone as a sound file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(rate * seconds)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time), rate)
    return path


def table(path: Path, rows: Iterable[Iterable[str]], between: str = ",") -> Path:
    """A CSV file; the first row is its header."""
    path.write_text("".join(between.join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def own(source: Path | str, kind: str = "images", **said: Any) -> OwnData:
    """What a user says of files of theirs; `labels` may be a table's path."""
    labels = said.pop("labels", None)
    named = LabelTable(str(labels)) if isinstance(labels, Path) else labels
    return OwnData("mine", kind, str(source), labels=named, **said)


def add(home: Home, source: Path | str, kind: str = "images", **said: Any) -> Installed:
    """Add files of the user's own as the dataset "mine"."""
    return installing.install_own(home, own(source, kind, **said), silent)[0]
