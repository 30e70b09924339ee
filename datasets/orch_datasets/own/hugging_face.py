"""Datasets of images from the Hugging Face Hub, or a folder in that library's format: hf://."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orch.contracts import Progress
from orch_datasets.own import gallery
from orch_datasets.own.gallery import Piece


class HuggingFace:
    """Reads `hf://name` and `hf://name:configuration` with the library `datasets`.

    https://huggingface.co/docs/datasets/loading; code that a dataset brings is never run.
    """

    api = 1
    title = "Hugging Face datasets"

    def bring(
        self, address: str, folder: Path, label_column: str | None, progress: Progress
    ) -> None:
        """Write the images of a dataset and the table of their labels."""
        shown = f"hf://{address}"
        with gallery.blaming("Hugging Face datasets", "huggingface", shown):
            progress(f"fetching {shown}", 0, None)
            found = _loaded(address)
            names = gallery.known_splits(shown, list(found))
            first = next(iter(found.values()))
            image, label = _columns(shown, first.features, label_column)
            splits = {name: _pieces(found[there], image, label) for there, name in names.items()}
            gallery.write(folder, splits, progress)


def _loaded(address: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    name, _, configuration = address.partition(":")
    place = Path(name).expanduser()
    if (place / "dataset_dict.json").is_file():
        return datasets.load_from_disk(str(place))
    return datasets.load_dataset(name, configuration or None)


def _columns(address: str, features: Any, wanted: str | None) -> tuple[str, str]:
    import datasets

    there = list(features)
    images = [name for name in there if isinstance(features[name], datasets.Image)]
    named = [name for name in there if isinstance(features[name], datasets.ClassLabel)]
    usual = [name for name in there if name.lower() in gallery.LABELS]
    return (
        gallery.chosen(address, "image", None, images, there),
        gallery.chosen(address, "label", wanted, named or usual, there),
    )


def _pieces(split: Any, image: str, label: str) -> Iterator[Piece]:
    import datasets

    feature: Any = split.features[label]
    for row in split.cast_column(image, datasets.Image(decode=False)):
        said, file = row[label], row[image]
        name = str(feature.int2str(said) if isinstance(feature, datasets.ClassLabel) else said)
        yield Piece(file["bytes"] or Path(file["path"]).read_bytes(), name)
