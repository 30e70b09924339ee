"""Pokémon of the first generation, the five classes of a published walk-through."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orch.contracts import DatasetFacts, Progress, Recipe, Split
from orch.errors import DataError
from orch_datasets import image_files, toolkit

VALIDATION_FRACTION = 0.2
SPLIT_SEED = 0
ALL = "all"
HEAD = {"pooling": "flatten", "head_units": 256}
TRANSFER = Recipe(
    name="transfer",
    title="VGG16 frozen, the classification layers trained",
    strategy="feature-extraction",
    params={**HEAD, "learning_rate": 1e-3, "batch_size": 32, "epochs": 20},
    reported="curves only",
    accuracy=None,
    train_examples=1143,
)
FINE_TUNED = Recipe(
    name="fine-tune",
    title="goes on from transfer with a much lower rate and smaller batches",
    strategy="two-stage",
    params={
        **HEAD,
        "head_learning_rate": 1e-3,
        "head_epochs": 20,
        "head_batch_size": 32,
        "frozen_layers": 15,
        "learning_rate": 1e-5,
        "batch_size": 16,
        "epochs": 30,
    },
    reported="curves only",
    accuracy=None,
    train_examples=1143,
)


class Pokemon:
    """Reads one folder of images for each class; a stratified fifth is the validation split."""

    api = 1
    facts = DatasetFacts(
        name="pokemon",
        title="Pokémon, generation one, five classes",
        classes=("Bulbasaur", "Charmander", "Mewtwo", "Pikachu", "Squirtle"),
        image_size=(128, 128),
        licence="images from the web, © their owners; research use",
        homepage="https://www.kaggle.com/datasets/thedagger/pokemon-generation-one",
        recipes=(TRANSFER, FINE_TUNED),
    )

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Copy the images of the five classes from a local archive or folder.

        Raises:
            DataError: no source was given, or a class is missing in it.
        """
        if source is None:
            raise DataError(
                f"pokemon cannot be fetched without a login: {self.facts.homepage}",
                "download it there, then: orch datasets add pokemon --from archive.zip",
            )
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
            toolkit.unpacked(source, Path(scratch), progress) as content,
        ):
            files = toolkit.class_files(self._root(content), self.facts.classes)
            toolkit.require_pairs([label for _, label in files], self.facts.classes)
            named = ((path, self.facts.classes[label]) for path, label in files)
            image_files.keep(named, folder, ALL, progress)

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve "train" and "validation": stratified, seeded, four to one."""
        whole = image_files.open_split(folder / ALL, self.facts.classes)
        train, validation = toolkit.stratified(whole.labels, VALIDATION_FRACTION, SPLIT_SEED)
        return {"train": whole.take(train), "validation": whole.take(validation)}

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen image file."""
        return toolkit.decode_image(path)

    def _root(self, content: Path) -> Path:
        """The folder that holds the class folders: the content, or the one folder that does."""
        inside = sorted(path for path in content.iterdir() if path.is_dir())
        for root in (content, *inside):
            if (root / self.facts.classes[0]).is_dir():
                return root
        return content
