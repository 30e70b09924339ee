"""Sounds of a user's own, seen as mel spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Dataset, DatasetFacts, Progress, Value
from orch.kinds import Omitted, OwnData
from orch_datasets import sound
from orch_datasets.own import files
from orch_datasets.sound import Spectrogram

FORMATS = (*sound.FORMATS, "OGG", "MP3")
SUFFIXES = (*sound.SUFFIXES, ".ogg", ".mp3")
IMAGE_SIZE = (224, 224)


class Sounds:
    """The kind of dataset whose files are sounds."""

    api = 1
    title = "sounds (WAV, FLAC, OGG, MP3), seen as mel spectrograms"
    options = sound.OPTIONS

    def keep(
        self, own: OwnData, source: Path, folder: Path, progress: Progress
    ) -> tuple[Omitted, ...]:
        """Copy or link the sound files of a folder or archive."""
        return files.keep(own, source, folder, progress, accepts, look)

    def dataset(self, own: OwnData, folder: Path, options: Mapping[str, Value]) -> Dataset:
        """The sounds that were kept, as spectrograms."""
        index = files.read_index(folder)
        facts = DatasetFacts(
            name=own.name,
            title=f"sounds of your own, {len(index.classes)} classes",
            classes=index.classes,
            image_size=own.image_size or IMAGE_SIZE,
            licence="yours",
            homepage="",
            options=self.options,
        )
        chosen: dict[str, Any] = dict(options)
        return files.OwnDataset(own, facts, index, partial(heard, Spectrogram(**chosen)), self)


def accepts(path: Path) -> bool:
    """Whether a file is called as a sound is."""
    return path.suffix.lower() in SUFFIXES


def heard(wanted: Spectrogram, path: Path) -> NDArray[np.uint8]:
    """A sound file as its spectrogram, uint8 (mel_bands, columns, 3).

    Raises:
        DataError: it does not decode, is empty or too long; the file is named.
    """
    return sound.picture(sound.resampled(*sound.read_clip(path, FORMATS)), wanted)


def look(path: Path) -> tuple[int, int]:
    """Decode a sound file; the (height, width) of its spectrogram.

    Raises:
        DataError: as `heard`.
    """
    height, width, _ = heard(sound.DEFAULT, path).shape
    return height, width
