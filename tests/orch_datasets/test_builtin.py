from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orch import catalog, installing, registry
from orch.errors import DataError, OrchError
from orch.home import Home
from orch.testing import DatasetContract, silent
from orch_datasets import downloads

CLASSES = registry.load_dataset("cifar10").facts.classes
Batches = dict[str, Any]


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which wrote the published batches."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes | str) -> None:
        content = text.encode("ascii") if isinstance(text, str) else text
        if len(content) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def python2(batch: Any) -> bytes:
    """Pickle as the published batches are: by Python 2, with an old NumPy."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(batch)
    return buffer.getvalue().replace(b"numpy._core", b"numpy.core")


def python3(batch: Any) -> bytes:
    """Pickle as somebody would who wrote the batches anew."""
    return pickle.dumps(batch, protocol=2)


def pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def tiny() -> Batches:
    """Two images in each training batch, so that each class has one, and three to test."""
    batches: Batches = {
        f"data_batch_{n}": {b"data": pixels(2, n), b"labels": [2 * n - 2, 2 * n - 1]}
        for n in range(1, 6)
    }
    batches["test_batch"] = {b"data": pixels(3, 6), b"labels": [9, 0, 3]}
    for name, batch in batches.items():
        batch[b"batch_label"] = name.encode()
        batch[b"filenames"] = [b"x.png"] * len(batch[b"labels"])
    return batches


def canonical(
    path: Path, batches: Batches | None = None, dump: Callable[[Any], bytes] = python2
) -> Path:
    """Write an archive in the published layout; a batch of bytes is written as it is."""
    with tarfile.open(path, "w:gz") as archive:
        for name, batch in {**(batches or tiny()), "readme.html": b"<html>"}.items():
            content = batch if isinstance(batch, bytes) else dump(batch)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def class_folders(root: Path) -> Path:
    """One image of each class to train on, and one to test."""
    for split, seed in (("train", 1), ("test", 2)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            picture(folder / "0001.png", seed=seed * 100 + label)
    return root


def picture(path: Path, size: tuple[int, int] = (32, 32), seed: int = 0) -> Path:
    height, width = size
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


# ── the contract ────────────────────────────────────────────────────────────────────────────


class TestDigits(DatasetContract):
    name = "digits"


class TestCifar10AsPublished(DatasetContract):
    name = "cifar10"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return canonical(tmp_path_factory.mktemp("source") / "cifar.tar.gz")


class TestCifar10PickledByPython3(DatasetContract):
    name = "cifar10"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return canonical(tmp_path_factory.mktemp("source") / "cifar.tar.gz", dump=python3)


class TestCifar10AsClassFolders(DatasetContract):
    name = "cifar10"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return class_folders(tmp_path_factory.mktemp("source"))


# ── digits ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def add(home: Home, source: Path | None, name: str = "cifar10") -> catalog.Installed:
    return installing.install(home, name, source, silent)


def refused(home: Home, source: Path, words: str | None = None) -> DataError:
    with pytest.raises(DataError, match=words) as caught:
        add(home, source)
    assert caught.value.exit_code == 4
    assert catalog.find(home, "cifar10") is None
    assert [
        path for path in home.root.rglob("*") if path.is_file() and path.parent != home.locks
    ] == []
    return caught.value


def test_digits_are_scikit_learns_in_grey(home: Home) -> None:
    from sklearn.datasets import load_digits

    add(home, None, "digits")
    splits = catalog.open_splits(home, "digits")
    bundled: Any = load_digits()
    assert sum(len(split.labels) for split in splits.values()) == len(bundled.target) == 1797
    image = splits["train"].image(0)
    assert image.shape == (8, 8, 3)
    assert (image[..., :1] == image).all()
    grey = (bundled.images * 255 / 16).round().astype(np.uint8)
    places = [n for n in range(1797) if np.array_equal(grey[n], image[..., 0])]
    assert splits["train"].labels[0] in bundled.target[places]


def test_digits_are_not_added_from_a_file(home: Home, tmp_path: Path) -> None:
    (tmp_path / "digits.tar").touch()
    with pytest.raises(DataError, match="digits comes with orch; it is not added") as caught:
        add(home, tmp_path / "digits.tar", "digits")
    assert caught.value.exit_code == 4


# ── CIFAR-10 as published ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dump", [python2, python3])
def test_pixels_and_labels_survive_in_order(
    home: Home, tmp_path: Path, dump: Callable[[Any], bytes]
) -> None:
    batches = tiny()
    red, green, blue = 0, 1024, 2048
    batches["data_batch_3"][b"data"][1] = 0
    for channel, value in ((red, 10), (green, 20), (blue, 30)):
        batches["data_batch_3"][b"data"][1, channel + 5 * 32 + 7] = value  # row 5, column 7
    installed = add(home, canonical(tmp_path / "x.tar.gz", batches, dump))
    assert installed.examples == {"train": 10, "test": 3}
    splits = catalog.open_splits(home, "cifar10")
    image = splits["train"].image(5)  # the second of the third batch
    assert image[5, 7].tolist() == [10, 20, 30]
    assert image.sum() == 60
    assert splits["train"].labels.tolist() == list(range(10))
    assert splits["test"].labels.tolist() == [9, 0, 3]
    first = batches["test_batch"][b"data"][0].reshape(3, 32, 32)
    assert np.array_equal(splits["test"].image(0), np.moveaxis(first, 0, 2))


def test_the_published_bytes_are_what_python_2_wrote() -> None:
    content = python2(tiny()["data_batch_1"])
    assert b"cnumpy.core.multiarray\n_reconstruct" in content
    assert b"_codecs" not in content
    assert pickle.SHORT_BINSTRING + b"\x04data" in content


@pytest.mark.parametrize("within", ["", "cifar-10-batches-py", "mine"])
def test_a_folder_of_batches_is_read_too(home: Home, tmp_path: Path, within: str) -> None:
    root = tmp_path / "source"
    (root / within).mkdir(parents=True)
    for name, batch in tiny().items():
        (root / within / name).write_bytes(python2(batch))
    assert add(home, root).examples == {"train": 10, "test": 3}


def test_archive_and_folder_of_the_same_content_are_one_dataset(tmp_path: Path) -> None:
    for name, batch in tiny().items():
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / name).write_bytes(python3(batch))
    one = add(Home(tmp_path / "one"), canonical(tmp_path / "x.tar.gz"))
    assert add(Home(tmp_path / "two"), tmp_path / "source").digest == one.digest


def test_without_a_source_the_published_one_is_fetched(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(published: Any, folder: Path, progress: Any) -> Path:
        fetched.append(published.url)
        return canonical(folder / "cifar-10-python.tar.gz")

    monkeypatch.setattr(downloads, "fetch", fetch)
    assert add(home, None).source == "canonical"
    assert fetched == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.proof}'",)


@pytest.mark.parametrize("where", ["data_batch_1", "test_batch"])
def test_a_malicious_batch_is_refused_and_not_executed(
    home: Home, tmp_path: Path, where: str
) -> None:
    proof = tmp_path / "proof"
    batches = tiny()
    batches[where][b"extra"] = Evil(proof)
    error = refused(home, canonical(tmp_path / "x.tar.gz", batches, python3), "posix.system")
    assert "it was not loaded" in error.message
    assert not proof.exists()
    pickle.loads(python3(batches[where]))
    assert proof.exists(), "the batch was harmless: this test proves nothing"


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "subprocess Popen",
        "numpy fromfile",
        "numpy load",
        "numpy.core.multiarray scalar",
        "numpy.testing._private.utils runstring",
        "_codecs decode",
    ],
)
def test_a_batch_may_ask_for_nothing_but_arrays(home: Home, tmp_path: Path, name: str) -> None:
    module, _, attribute = name.partition(" ")
    batches = {**tiny(), "data_batch_2": f"c{module}\n{attribute}\n.".encode()}
    refused(home, canonical(tmp_path / "x.tar.gz", batches), f"asks for {module}.{attribute}")


@pytest.mark.parametrize("name", ["data_batch_3", "data_batch_5", "test_batch"])
def test_a_missing_batch_is_named(home: Home, tmp_path: Path, name: str) -> None:
    batches = tiny()
    del batches[name]
    refused(home, canonical(tmp_path / "x.tar.gz", batches), f"{name} is missing")


NOT_A_BATCH: dict[str, Any] = {
    "empty": b"",
    "text": b"hello",
    "truncated": python2(tiny()["data_batch_1"])[:-2000],
    "a list": [1, 2],
    "no data": {b"labels": [0]},
    "no labels": {b"data": pixels(1)},
    "text keys": {"data": pixels(1), "labels": [0]},
    "pixels of 28 × 28": {b"data": np.zeros((2, 784), np.uint8), b"labels": [0, 1]},
    "pixels as a cube": {b"data": np.zeros((2, 3, 32, 32), np.uint8), b"labels": [0, 1]},
    "pixels as floats": {b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]},
    "more pixels than labels": {b"data": pixels(2), b"labels": [0]},
    "labels as floats": {b"data": pixels(2), b"labels": [0.0, 1.0]},
    "labels as text": {b"data": pixels(2), b"labels": [b"cat", b"dog"]},
    "no examples": python2({b"data": pixels(0), b"labels": []}),
}


@pytest.mark.parametrize("batch", NOT_A_BATCH.values(), ids=NOT_A_BATCH)
def test_what_is_no_batch_is_named(home: Home, tmp_path: Path, batch: Any) -> None:
    source = canonical(tmp_path / "x.tar.gz", {**tiny(), "data_batch_4": batch}, python3)
    refused(home, source, "data_batch_4 is not a CIFAR-10 batch")


@pytest.mark.parametrize("labels", [[0, 10], [-1, 0], [0, 99]])
def test_labels_out_of_range_are_named(home: Home, tmp_path: Path, labels: list[int]) -> None:
    batches = tiny()
    batches["data_batch_2"][b"labels"] = labels
    refused(
        home, canonical(tmp_path / "x.tar.gz", batches), "data_batch_2 has labels outside 0 to 9"
    )


@pytest.mark.parametrize("labels", [3, [[0], [1]]], ids=["one number", "a table"])
def test_labels_that_are_no_list_are_named(home: Home, tmp_path: Path, labels: Any) -> None:
    batches = tiny()
    batches["data_batch_2"][b"labels"] = labels
    refused(home, canonical(tmp_path / "x.tar.gz", batches), "data_batch_2")


def test_a_class_nobody_trains_on_is_named(home: Home, tmp_path: Path) -> None:
    batches = tiny()
    batches["data_batch_5"][b"labels"] = [8, 8]
    refused(
        home,
        canonical(tmp_path / "x.tar.gz", batches),
        "'truck' of cifar10 has no training example",
    )


def test_an_archive_of_the_published_name_must_be_the_published_one(
    home: Home, tmp_path: Path
) -> None:
    source = canonical(tmp_path / "cifar-10-python.tar.gz")
    error = refused(home, source, r"is not the published file: its SHA-256 [0-9a-f]{12}… is not")
    assert "6d958be07457" in error.message
    assert "give the folder" in error.hint


def test_a_truncated_archive_is_said(home: Home, tmp_path: Path) -> None:
    source = canonical(tmp_path / "x.tar.gz")
    source.write_bytes(source.read_bytes()[:-5000])
    refused(home, source, "truncated or damaged")


def test_a_folder_of_something_else_is_said(home: Home, tmp_path: Path) -> None:
    (tmp_path / "source" / "birds").mkdir(parents=True)
    error = refused(home, tmp_path / "source", "holds neither data_batch_1 … test_batch nor train/")
    assert "--from PATH" in error.hint


def test_what_does_not_exist_is_said(home: Home, tmp_path: Path) -> None:
    refused(home, tmp_path / "absent", "absent does not exist")
    refused(home, tmp_path / "cifar-10-python.tar.gz", "does not exist")


def test_a_refused_source_leaves_the_dataset_that_is_there(home: Home, tmp_path: Path) -> None:
    former = add(home, canonical(tmp_path / "x.tar.gz"))
    batches = tiny()
    del batches["test_batch"]
    with pytest.raises(OrchError):
        add(home, canonical(tmp_path / "y.tar.gz", batches))
    assert catalog.find(home, "cifar10") == former
    assert len(catalog.open_splits(home, "cifar10")["train"].labels) == 10


# ── CIFAR-10 as class folders ───────────────────────────────────────────────────────────────


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "source")


def test_class_folders_keep_their_pixels(home: Home, tree: Path) -> None:
    picture(tree / "train" / "bird" / "0000.png", seed=5)
    assert add(home, tree).examples == {"train": 11, "test": 10}
    train = catalog.open_splits(home, "cifar10")["train"]
    assert train.labels.tolist() == [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    with Image.open(tree / "train" / "bird" / "0000.png") as image:
        assert np.array_equal(train.image(2), np.asarray(image))


def test_an_archive_of_class_folders_is_read_too(home: Home, tree: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "images.tar.xz", "w:xz") as archive:
        archive.add(tree / "train", "train")
        archive.add(tree / "test", "test")
    assert add(home, tmp_path / "images.tar.xz").examples == {"train": 10, "test": 10}


@pytest.mark.parametrize("size", [(32, 33), (16, 16), (1, 1)])
def test_an_image_of_another_size_is_named(home: Home, tree: Path, size: tuple[int, int]) -> None:
    picture(tree / "train" / "cat" / "odd.png", size)
    words = rf"cat/odd\.png is {size[1]} × {size[0]} pixels, not 32 × 32"
    refused(home, tree, words)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_class_folder_is_named(home: Home, tree: Path, split: str) -> None:
    (tree / split / "frog" / "0001.png").unlink()
    refused(home, tree, f"{split}/frog holds no image")
    (tree / split / "frog").rmdir()
    refused(home, tree, f"{split}/frog is missing: every class needs a folder")


def test_a_missing_split_is_named(home: Home, tree: Path) -> None:
    (tree / "test").rename(tree / "tset")
    refused(home, tree, "test/airplane is missing")


def test_an_image_that_does_not_decode_is_named(home: Home, tree: Path) -> None:
    (tree / "test" / "ship" / "broken.jpg").write_text("not a picture")
    error = refused(home, tree, r"ship/broken\.jpg does not decode as an image")
    assert "repair or remove that file" in error.hint


# ── all of it ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.real_data
def test_all_of_cifar10_is_installed(home: Home, real_data: Path) -> None:
    installed = add(home, real_data / "cifar10-images.tar.xz")
    assert installed.examples == {"train": 50_000, "test": 10_000}
    assert installed.splits == {"train": (5000,) * 10, "test": (1000,) * 10}
    assert installed.classes == CLASSES
    train = catalog.open_splits(home, "cifar10")["train"]
    assert 115 < np.mean([train.image(n).mean() for n in range(0, 50_000, 500)]) < 127
