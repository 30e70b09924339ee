"""RAVDESS: emotional speech of 24 actors, seen as mel spectrograms."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orch.contracts import (
    Choice,
    DatasetFacts,
    Int,
    Option,
    Progress,
    Recipe,
    Source,
    Split,
)
from orch.errors import DataError
from orch_datasets import downloads, sound, toolkit
from orch_datasets.sound import Samples, Spectrogram

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-\d\d-\d\d-\d\d-(\d\d)\Z")
SPEECH = "01"  # the second field; songs are another dataset
RANDOM_FRACTION, RANDOM_SEED = 0.2, 0

FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""The actors of each fold of Luna-Jiménez et al., "Multimodal Emotion Recognition on RAVDESS
Dataset Using Transfer Learning" (2021), by which others can be compared with."""

DEFAULT = Spectrogram()
OPTIONS = (
    Option(
        "split",
        "actor",
        Choice(("actor", "random")),
        "actor: nobody is heard in training and validation; random: a stratified fifth",
    ),
    Option(
        "fold", 0, Int(0, 4), "which fifth of the actors validates", only_with={"split": "actor"}
    ),
    *sound.OPTIONS,
)
HEAD = {
    "pooling": "flatten",
    "head_units": 512,
    "dropout": 0.5,
    "head_units_2": 256,
    "start": "random",
}
TRAINING = {
    "frozen_layers": 15,
    "batch_size": 1,
    "learning_rate": 5e-5,
    "schedule": "plateau",
    "decay": 0.6,
    "plateau_patience": 8,
    "minimum_rate": 5e-5,
}
AS_PUBLISHED = {"split": "random", "colours": "magma"}
EXTRACTION = Recipe(
    name="feature-extraction",
    title="VGG16 frozen, two dense layers on its features",
    strategy="feature-extraction",
    params={**HEAD, "learning_rate": 1e-4, "batch_size": 16, "epochs": 30},
    reported="69 %",
    accuracy=0.69,
    train_examples=1152,
    options=AS_PUBLISHED,
)
FINE_TUNED = Recipe(
    name="fine-tune",
    title="block 5 trains with the same head",
    strategy="fine-tune",
    params={**HEAD, **TRAINING, "epochs": 50},
    reported="78 %",
    accuracy=0.78,
    train_examples=1152,
    options=AS_PUBLISHED,
)
AUGMENTED = Recipe(
    name="fine-tune-augmented",
    title="the same on spectrograms that are zoomed, turned, moved and slanted",
    strategy="augmented",
    params={
        **HEAD,
        **TRAINING,
        "epochs": 100,
        "zoom": 0.2,
        "rotation": 30.0,
        "shift": 0.2,
        "shear": 0.2,
    },
    reported="70 %",
    accuracy=0.70,
    train_examples=1152,
    options=AS_PUBLISHED,
)


@dataclass(frozen=True)
class Ravdess:
    """Reads Actor_NN/03-01-EE-II-SS-RR-NN.wav (or .flac), keeps 16 kHz mono."""

    split: str = "actor"
    fold: int = 0
    trim: float = DEFAULT.trim
    mel_bands: int = DEFAULT.mel_bands
    window: int = DEFAULT.window
    hop: int = DEFAULT.hop
    decibels: float = DEFAULT.decibels
    level: str = DEFAULT.level
    colours: str = DEFAULT.colours

    api = 1
    facts = DatasetFacts(
        name="ravdess",
        title="Emotional speech of 24 actors as spectrograms, eight emotions",
        classes=EMOTIONS,
        image_size=(224, 224),
        licence="CC BY-NC-SA 4.0",
        homepage="https://zenodo.org/records/1188976",
        source=Source(
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
            checksum="md5:bc696df654c87fed845eb13823edef8a",
            bytes=208_468_073,
        ),
        citation="Livingstone and Russo, The Ryerson Audio-Visual Database of Emotional Speech "
        "and Song (RAVDESS), PLoS ONE 13(5), 2018",
        options=OPTIONS,
        recipes=(EXTRACTION, FINE_TUNED, AUGMENTED),
    )

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Keep every clip at 16 kHz, from a local archive or folder or from the publisher.

        Raises:
            DataError: there is no clip, or one that is damaged or not named as RAVDESS names them.
        """
        assert self.facts.source is not None
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            scratch = Path(name)
            source = downloads.obtain(self.facts.source, source, scratch, progress)
            with toolkit.unpacked(source, scratch, progress) as content:
                _keep(list(_clips(content)), folder, progress)

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve "train" and "validation", divided by actor or at random."""
        labels, actors, ends = (np.load(folder / f"{n}.npy") for n in ("labels", "actors", "ends"))
        samples = np.load(folder / "samples.npy", mmap_mode="r")
        if self.split == "actor":
            held = np.isin(actors, FOLDS[self.fold])
            rows = np.flatnonzero(~held), np.flatnonzero(held)
        else:
            rows = toolkit.stratified(labels, RANDOM_FRACTION, RANDOM_SEED)
        if not (len(rows[0]) and len(rows[1])):
            raise DataError(
                f"the clips of ravdess are all by actors on one side of fold {self.fold}",
                "choose another fold, or --split random",
            )
        return {
            split: ClipSplit(samples, ends, chosen, labels[chosen], self._spectrogram)
            for split, chosen in zip(("train", "validation"), rows, strict=True)
        }

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen clip as a spectrogram."""
        return sound.picture(sound.resampled(*sound.read_clip(path)), self._spectrogram)

    @property
    def _spectrogram(self) -> Spectrogram:
        return Spectrogram(
            self.trim,
            self.mel_bands,
            self.window,
            self.hop,
            self.decibels,
            self.level,
            self.colours,
        )


@dataclass(frozen=True)
class ClipSplit:
    """A split whose examples are clips out of one long array of samples, int16."""

    samples: Samples
    ends: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    spectrogram: Spectrogram

    def image(self, index: int) -> NDArray[np.uint8]:
        """One clip as a spectrogram, uint8 (mel_bands, columns, 3)."""
        row = int(self.rows[index])
        start = int(self.ends[row - 1]) if row else 0
        return sound.picture(self.samples[start : self.ends[row]], self.spectrogram)


def _clips(content: Path) -> Iterator[tuple[Path, int, int]]:
    """Every spoken clip with its emotion and actor, by name; copies of one name count once."""
    paths = {
        path.stem: path
        for path in sorted(content.rglob("*"), reverse=True)
        if path.suffix.lower() in sound.SUFFIXES and not path.name.startswith(".")
    }
    if not paths:
        raise DataError(
            f"{content} holds no clip ({', '.join(sound.SUFFIXES)}); nothing was changed",
            "orch datasets add ravdess --from PATH, with Audio_Speech_Actors_01-24.zip or a folder",
        )
    for _, path in sorted(paths.items()):
        fields = NAME.match(path.stem)
        if fields is None:
            raise DataError(f"{path} is not named as RAVDESS names its clips: 03-01-EE-…-NN")
        if not 1 <= int(fields[3]) <= len(EMOTIONS):
            raise DataError(
                f"{path} has the unknown emotion {fields[3]}: 01 to {len(EMOTIONS):02} are known",
                f"remove or rename {path.name}",
            )
        if fields[2] == SPEECH:
            yield path, int(fields[3]) - 1, int(fields[4])


def _keep(clips: list[tuple[Path, int, int]], folder: Path, progress: Progress) -> None:
    toolkit.require_pairs([label for _, label, _ in clips], EMOTIONS)
    parts: list[Samples] = []
    first_rate = 0
    for count, (path, _, _) in enumerate(clips):
        samples, rate = sound.read_clip(path)
        first_rate = first_rate or rate
        if rate != first_rate:
            raise DataError(
                f"{path} has {rate:,} Hz, the clips before it {first_rate:,}; nothing was changed",
                "give clips of one rate",
            )
        parts.append(sound.resampled(samples, rate))
        if count % 50 == 0:
            progress("reading clips", count, len(clips))
    toolkit.save_array(folder / "samples.npy", np.concatenate(parts))
    toolkit.save_array(folder / "ends.npy", np.cumsum([len(part) for part in parts]))
    for name, at in (("labels", 1), ("actors", 2)):
        toolkit.save_array(folder / f"{name}.npy", np.array([clip[at] for clip in clips], np.int64))
