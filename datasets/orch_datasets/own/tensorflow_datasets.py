"""Datasets of images from TensorFlow Datasets: tfds://."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orch.contracts import Progress
from orch_datasets.own import gallery
from orch_datasets.own.gallery import Piece


class TensorFlowDatasets:
    """Reads `tfds://name`, `tfds://name/configuration:version`, or a prepared folder's path.

    https://www.tensorflow.org/datasets/api_docs/python/tfds/builder; where datasets are kept is
    the library's own choice, or TFDS_DATA_DIR.
    """

    api = 1
    title = "TensorFlow Datasets"

    def bring(
        self, address: str, folder: Path, label_column: str | None, progress: Progress
    ) -> None:
        """Write the images of a dataset and the table of their labels."""
        shown = f"tfds://{address}"
        with gallery.blaming("TensorFlow Datasets", "tfds", shown):
            progress(f"fetching {shown}", 0, None)
            builder = _prepared(address)
            names = gallery.known_splits(shown, list(builder.info.splits))
            image, label = _columns(shown, builder.info.features, label_column)
            splits = {name: _pieces(builder, there, image, label) for there, name in names.items()}
            gallery.write(folder, splits, progress)


def _prepared(address: str) -> Any:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    place = Path(address).expanduser()
    if (place / "dataset_info.json").is_file():
        return tfds.builder_from_directory(str(place))
    builder = tfds.builder(address)
    builder.download_and_prepare()
    return builder


def _columns(address: str, features: Any, wanted: str | None) -> tuple[str, str]:
    import tensorflow_datasets as tfds

    there = list(features)
    images = [name for name in there if isinstance(features[name], tfds.features.Image)]
    named = [name for name in there if isinstance(features[name], tfds.features.ClassLabel)]
    return (
        gallery.chosen(address, "image", None, images, there),
        gallery.chosen(address, "label", wanted, named, there),
    )


def _pieces(builder: Any, split: str, image: str, label: str) -> Iterator[Piece]:
    import tensorflow_datasets as tfds

    feature = builder.info.features[label]
    names = isinstance(feature, tfds.features.ClassLabel)
    raw = builder.as_dataset(split=split, decoders={image: tfds.decode.SkipDecoding()})
    for row in tfds.as_numpy(raw):
        content = row[image]
        yield Piece(
            content if isinstance(content, bytes) else gallery.encoded(content),
            feature.int2str(row[label]) if names else _text(row[label]),
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
