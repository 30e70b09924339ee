from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orch import catalog, installing, registry
from orch.contracts import DatasetFacts, Progress, Split
from orch.errors import DataError, NotFoundError, OrchError, PluginError, StorageError
from orch.home import Home
from orch.testing import silent


class ArraySplit:
    """A split of black pixels."""

    def __init__(self, labels: Any) -> None:
        self.labels = np.asarray(labels)

    def image(self, index: int) -> Any:
        return np.zeros((1, 1, 3), np.uint8)


class Toy:
    """A dataset that holds the text it is told and fails when told to."""

    api = 1
    facts = DatasetFacts("toy", "Toy", ("a", "b"), (1, 1), "none", "https://example.org")

    def __init__(self) -> None:
        self.content: dict[str, str] = {"a/x.txt": "one", "y.txt": "two"}
        self.fails: BaseException | None = None
        self.splits: dict[str, Any] = {"train": ArraySplit([0, 1, 1]), "test": ArraySplit([0])}

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        assert list(folder.iterdir()) == []
        for name, text in self.content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        if self.fails:
            raise self.fails

    def open(self, folder: Path) -> Mapping[str, Split]:
        return self.splits


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    dataset = Toy()
    monkeypatch.setattr(registry, "load_dataset", lambda name, options=None: dataset)
    monkeypatch.setattr(registry, "dataset_names", lambda: ["digits", "toy"])
    return dataset


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def add(home: Home, name: str = "toy", source: Path | None = None) -> catalog.Installed:
    return installing.install(home, name, source, silent)


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path, but for the empty ones that are locked."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


def folders(home: Home, name: str = "toy") -> list[str]:
    place = home.datasets / name
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.exists() else []


# ── what is present ─────────────────────────────────────────────────────────────────────────


def test_digits_are_installed_and_found_again(home: Home) -> None:
    assert catalog.find(home, "digits") is None
    installed = add(home, "digits")
    assert catalog.find(home, "digits") == installed
    assert installed.examples == {"train": 1438, "test": 359}
    assert installed.classes == tuple("0123456789")
    assert min(installed.splits["train"]) >= 139
    assert installed.source == "canonical"
    content = catalog.content(home, installed)
    assert installed.bytes == sum(map(len, everything(content).values()))
    splits = catalog.open_splits(home, "digits")
    assert {name: len(split.labels) for name, split in splits.items()} == installed.examples


def test_a_digest_is_of_names_and_bytes_alone(tmp_path: Path, toy: Toy) -> None:
    first = add(Home(tmp_path / "one"))
    toy.content = dict(reversed(toy.content.items()))
    assert add(Home(tmp_path / "two")).digest == first.digest
    toy.content = {"y.txt": "one", "a/x.txt": "two"}
    assert add(Home(tmp_path / "three")).digest != first.digest
    toy.content = {"a/x.txt": "one", "z.txt": "two"}
    assert add(Home(tmp_path / "four")).digest != first.digest


def test_the_digest_of_digits_has_not_changed(home: Home) -> None:
    assert add(home, "digits").digest.startswith("888c5893d2b25f09")


def test_what_is_not_installed_is_not_found(home: Home) -> None:
    with pytest.raises(NotFoundError, match="cifar10 is not installed") as caught:
        catalog.open_splits(home, "cifar10")
    assert caught.value.exit_code == 3
    assert caught.value.hint == "orch datasets add cifar10"
    assert not home.root.exists()


def test_no_such_dataset_creates_nothing(home: Home) -> None:
    with pytest.raises(NotFoundError, match="did you mean digits") as caught:
        add(home, "digit")
    assert caught.value.exit_code == 3
    assert not home.root.exists()


def test_the_home_is_for_its_owner_only(home: Home, toy: Toy) -> None:
    add(home)
    assert home.root.stat().st_mode & 0o077 == 0


# ── a damaged manifest ──────────────────────────────────────────────────────────────────────

DAMAGED = ["", "{", "[]", "null", '{"name": "toy"}', '{"classes": 1, "splits": {}}', "\xff\xfe"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_manifest_is_said_and_mended_by_adding(home: Home, toy: Toy, text: str) -> None:
    installed = add(home)
    before = everything(catalog.content(home, installed))
    manifest = home.datasets / "toy" / "manifest.json"
    manifest.write_bytes(text.encode("latin1"))
    for look in (catalog.find, catalog.open_splits):
        with pytest.raises(DataError, match="is damaged; the data beside it was not") as caught:
            look(home, "toy")
        assert caught.value.exit_code == 4
        assert str(manifest) in caught.value.message
        assert caught.value.hint == "orch datasets add toy"
    assert everything(catalog.content(home, installed)) == before
    assert add(home).digest == installed.digest
    assert catalog.find(home, "toy") is not None


@pytest.mark.parametrize("change", [{"splits": None}, {"splits": [1]}, {"digest": 5}])
def test_a_manifest_with_fields_of_other_types_is_damaged(
    home: Home, toy: Toy, change: dict[str, Any]
) -> None:
    add(home)
    manifest = home.datasets / "toy" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    with pytest.raises(DataError, match="is damaged"):
        catalog.open_splits(home, "toy")


def test_a_manifest_without_its_content_is_said(home: Home) -> None:
    shutil.rmtree(catalog.content(home, add(home, "digits")))
    with pytest.raises(OrchError, match="digits"):
        catalog.open_splits(home, "digits")


# ── adding again ────────────────────────────────────────────────────────────────────────────


def test_adding_again_keeps_one_folder(home: Home, toy: Toy) -> None:
    first = add(home)
    assert folders(home) == [first.digest[:16]]
    again = add(home)
    assert again.digest == first.digest
    assert folders(home) == [first.digest[:16]]


def test_adding_other_content_replaces_the_former(home: Home, toy: Toy, tmp_path: Path) -> None:
    first = add(home)
    toy.content = {"new.txt": "new"}
    second = add(home, source=tmp_path / "mine")
    assert second.digest != first.digest
    assert second.source == str(tmp_path / "mine")
    assert folders(home) == [second.digest[:16]]
    assert everything(catalog.content(home, second)) == {"new.txt": b"new"}
    assert catalog.find(home, "toy") == second


def test_what_a_killed_installation_left_is_swept_away(home: Home, toy: Toy) -> None:
    left = home.datasets / "toy" / ".adding-killed" / "content"
    left.mkdir(parents=True)
    assert catalog.find(home, "toy") is None
    installed = add(home)
    assert folders(home) == [installed.digest[:16]]


def test_adding_again_mends_damaged_content(home: Home, toy: Toy) -> None:
    installed = add(home)
    before = everything(catalog.content(home, installed))
    (catalog.content(home, installed) / "y.txt").write_text("tw0")
    add(home)
    assert everything(catalog.content(home, installed)) == before


# ── adding that fails ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("failure", "expected", "code", "words"),
    [
        (DataError("batch 3 is missing"), DataError, 4, "batch 3 is missing"),
        (OSError(errno.EIO, "Input/output error"), StorageError, 5, "toy was not added"),
        (OSError(errno.ENOSPC, "No space left"), StorageError, 5, "bytes free"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, None, "stop"),
    ],
    ids=["data", "disk", "full", "Ctrl-C"],
)
def test_a_failed_installation_leaves_the_former_one_untouched(
    home: Home,
    toy: Toy,
    failure: BaseException,
    expected: type[BaseException],
    code: int | None,
    words: str,
) -> None:
    former = add(home)
    before = everything(home.root)
    toy.content, toy.fails = {"half.txt": "half"}, failure
    with pytest.raises(expected, match=words) as caught:
        add(home)
    assert getattr(caught.value, "exit_code", None) == code
    assert everything(home.root) == before
    assert folders(home) == [former.digest[:16]]
    assert catalog.find(home, "toy") == former


def test_a_failed_first_installation_leaves_nothing(home: Home, toy: Toy) -> None:
    toy.fails = DataError("no")
    with pytest.raises(DataError):
        add(home)
    assert everything(home.root) == {}
    assert folders(home) == []
    assert catalog.find(home, "toy") is None


@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
def test_a_full_disk_is_said_with_what_is_free(small_disk: Path) -> None:
    home = Home(small_disk / "home")
    with pytest.raises(StorageError) as caught:
        add(home, "digits")
    assert caught.value.exit_code == 5
    assert f"no space left in {home.root} while adding digits" in caught.value.message
    assert "bytes free" in caught.value.message
    assert "nothing was changed" in caught.value.message
    assert "ORCH_HOME" in caught.value.hint
    assert everything(home.root) == {}
    assert catalog.find(home, "digits") is None


@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
def test_a_disk_that_fills_up_leaves_the_former_dataset(small_disk: Path, toy: Toy) -> None:
    home = Home(small_disk / "home")
    former = add(home)
    before = everything(home.root)
    toy.content = {"large.txt": "x" * 2**19}
    with pytest.raises(StorageError, match="bytes free") as caught:
        add(home)
    assert caught.value.exit_code == 5
    assert everything(home.root) == before
    assert catalog.find(home, "toy") == former


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path, toy: Toy) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/home cannot be written: Not a dir") as caught:
        add(Home(tmp_path / "file" / "home"))
    assert caught.value.exit_code == 5
    assert "ORCH_HOME" in caught.value.hint


# ── a dataset that breaks its contract ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("splits", "expected", "code", "words"),
    [
        ({"test": [0, 1]}, PluginError, 6, "no split called 'train'"),
        ({"train": [0, 2]}, PluginError, 6, "'train' that are not whole numbers from 0 to 1"),
        ({"train": [-1, 1]}, PluginError, 6, "not whole numbers from 0 to 1"),
        ({"train": [[0], [1]]}, PluginError, 6, "not whole numbers from 0 to 1"),
        ({"train": [0, 1], "test": [5]}, PluginError, 6, "'test' that are not whole numbers"),
        ({"train": [0, 0]}, DataError, 4, "the class 'b' of toy has no training example"),
    ],
)
def test_labels_are_checked(
    home: Home,
    toy: Toy,
    splits: dict[str, list[int]],
    expected: type[OrchError],
    code: int,
    words: str,
) -> None:
    toy.splits = {name: ArraySplit(labels) for name, labels in splits.items()}
    with pytest.raises(expected, match=words) as caught:
        add(home)
    assert caught.value.exit_code == code
    assert catalog.find(home, "toy") is None
    assert folders(home) == []


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (KeyError("x"), PluginError, "the dataset 'toy' raised KeyError: 'x'"),
        (SystemExit(3), PluginError, "the dataset 'toy' raised SystemExit: 3"),
        (OSError(errno.EIO, "Input/output error"), StorageError, "Input/output error"),
    ],
)
def test_what_fails_while_adding_is_blamed_on_whom_it_should(
    home: Home, toy: Toy, raised: BaseException, expected: type[OrchError], said: str
) -> None:
    toy.fails = raised
    with pytest.raises(expected, match=said):
        add(home)
    assert folders(home) == []


@pytest.mark.parametrize("labels", [[0.0, 1.0], ["a", "b"], []], ids=str)
def test_labels_of_another_type_are_the_plugins_fault(home: Home, toy: Toy, labels: Any) -> None:
    toy.splits = {"train": ArraySplit(labels)}
    with pytest.raises((PluginError, DataError)):
        add(home)


def test_a_test_split_may_lack_a_class(home: Home, toy: Toy) -> None:
    toy.splits["test"] = ArraySplit([1, 1])
    assert add(home).splits["test"] == (0, 2)


def test_the_manifest_is_written_last_and_whole(home: Home, toy: Toy, monkeypatch: Any) -> None:
    former = add(home)
    toy.content = {"new.txt": "new"}

    def refuse(*paths: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError):
        add(home)
    monkeypatch.undo()
    assert catalog.find(home, "toy") == former
    assert everything(catalog.content(home, former)) == {"a/x.txt": b"one", "y.txt": b"two"}
