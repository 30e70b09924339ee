from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_files import add
from PIL import Image

from orch import catalog
from orch.errors import DataError, PluginError
from orch.home import Home
from orch.kinds import LabelTable

NAMES = ("a/b", "cat")
SIZES = {"train": 6, "val": 2, "test": 3, "unsupervised": 1}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No library asks its server, or keeps what it read beyond the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def shade(split: str, at: int) -> int:
    return 10 * at + len(split)


def hugging_face(split: str, count: int, **more: Any) -> Any:
    """A split in the library's own types."""
    import datasets

    pixels = [np.full((9, 8, 3), shade(split, at), np.uint8) for at in range(count)]
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=list(NAMES)), **more}
    columns = {
        "picture": [Image.fromarray(each) for each in pixels],
        "kind": [at % 2 for at in range(count)],
        **{name: [at % 2 for at in range(count)] for name in more},
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def saved(folder: Path, **more: Any) -> Path:
    import datasets

    whole = {name: hugging_face(name, count, **more) for name, count in SIZES.items()}
    datasets.DatasetDict(whole).save_to_disk(str(folder))
    return folder


def parquet(folder: Path) -> Path:
    for name in ("train", "test"):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        hugging_face(name, SIZES[name]).to_parquet(str(folder / "data" / f"{name}-0-of-1.parquet"))
    return folder


def shades(home: Home) -> Mapping[str, list[tuple[int, int]]]:
    """The shade and label of every example."""
    splits = catalog.open_splits(home, "mine")
    return {
        name: [
            (int(split.image(at)[0, 0, 0]), int(label))
            for at, label in enumerate(np.asarray(split.labels).tolist())
        ]
        for name, split in splits.items()
    }


def expected(names: Mapping[str, str]) -> dict[str, list[tuple[int, int]]]:
    return {
        ours: [(shade(theirs, at), at % 2) for at in range(SIZES[theirs])]
        for theirs, ours in names.items()
    }


ALL = {"train": "train", "val": "validation", "test": "test"}


def test_a_saved_dataset_of_hugging_face(home: Home, tmp_path: Path) -> None:
    installed = add(home, f"hf://{saved(tmp_path / 'saved')}")
    assert installed.classes == NAMES
    assert installed.source.startswith("hf://")
    assert shades(home) == expected(ALL)


def test_parquet_files_as_the_hub_has_them(home: Home, tmp_path: Path) -> None:
    add(home, f"hf://{parquet(tmp_path / 'repository')}")
    assert shades(home) == expected({"train": "train", "test": "test"})


def test_of_several_labels_one_is_named(home: Home, tmp_path: Path) -> None:
    import datasets

    source = f"hf://{saved(tmp_path / 'x', fine=datasets.ClassLabel(names=['0', '1']))}"
    with pytest.raises(DataError, match=r"several of labels \(kind, fine\)") as caught:
        add(home, source)
    assert "--label-column" in caught.value.hint
    assert add(home, source, labels=LabelTable("", None, "fine")).classes == ("0", "1")
    with pytest.raises(DataError, match="has no column 'coarse'; it has picture, kind, fine"):
        add(home, source, labels=LabelTable("", None, "coarse"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A dataset prepared by TensorFlow Datasets."""
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=list(NAMES)),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {
                name.replace("val", "validation"): self._generate_examples(name) for name in SIZES
            }

        def _generate_examples(self, split: str) -> Any:
            for at in range(SIZES[split]):
                image = np.full((9, 8, 3), shade(split, at), np.uint8)
                yield at, {"image": image, "label": at % 2}

    builder = Tiny(data_dir=str(tmp_path / "tfds"))
    builder.download_and_prepare()
    return Path(builder.data_path)


def test_a_prepared_dataset_of_tensorflow(home: Home, tiny: Path) -> None:
    installed = add(home, f"tfds://{tiny}")
    assert installed.classes == NAMES
    assert {split: sorted(each) for split, each in shades(home).items()} == expected(ALL)


@pytest.mark.parametrize(
    ("address", "library"), [("hf://no-such/thing", "Hugging Face"), ("tfds://no_such", "Tensor")]
)
def test_what_is_not_there_is_one_line(home: Home, address: str, library: str) -> None:
    with pytest.raises(DataError, match=f"{library}.* could not read {address}: ") as caught:
        add(home, address)
    assert "\n" not in caught.value.message
    assert catalog.own_names(home) == []


@pytest.mark.parametrize(
    ("address", "extra"), [("hf://x", "huggingface"), ("tfds://x", "tfds")], ids=["hf", "tfds"]
)
def test_a_library_that_is_not_installed(
    home: Home, monkeypatch: pytest.MonkeyPatch, address: str, extra: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name in ("datasets", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PluginError, match="is not installed") as caught:
        add(home, address)
    assert caught.value.hint == f"pip install 'orch-sweeps[{extra}]'"
    assert caught.value.exit_code == 6


def test_another_library_is_not_known(home: Home) -> None:
    with pytest.raises(Exception, match="no gallery is called 'kaggle'"):
        add(home, "kaggle://x")
