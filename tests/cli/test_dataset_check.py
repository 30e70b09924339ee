"""`orch datasets check` and `orch datasets show --png`: what is printed, and with which code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
from PIL import Image

from orch import registry
from orch.cli import contact_sheet, output
from orch.cli.contact_sheet import evenly, layout
from orch.errors import DataError, StorageError
from orch_datasets.toolkit import ArraySplit

Orch = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Pictures, and a plugin `folders` that takes them."""
    planted.install_plugin(tmp_path / "site", monkeypatch)
    yield planted.write(tmp_path / "pictures", {"train": 12, "validation": 3})
    registry.forget()


def check(orch: Orch, root: Path, *words: str) -> Any:
    added = orch("datasets", "add", "folders", "--from", str(root))
    assert added.code == 0, added.err
    return orch("datasets", "check", "folders", *words)


def test_nothing_wrong(orch: Orch, root: Path) -> None:
    ran = check(orch, root)
    assert ran.code == 0, ran.err
    head, where, empty, none = ran.out.splitlines()
    assert head == "folders: 45 examples (train 36, validation 9), 3 classes"
    assert where.startswith("files are in /")
    assert empty == ""
    assert none.startswith("none: undecodable, duplicate across classes, duplicate across splits,")
    assert "nothing is wrong with folders. Next: orch sweep folders" in ran.err


def test_warnings_alone_are_no_error(orch: Orch, root: Path) -> None:
    for number in range(5):
        shutil.copy(root / f"train/ant/{number:03}.png", root / f"train/ant/copy{number}.png")
    ran = check(orch, root)
    assert ran.code == 0, ran.err
    assert "warning      5  the same picture again in one class and split" in ran.out
    assert "    train/ant/000.png = train/ant/copy0.png\n" in ran.out
    assert "    and 2 more: --json\n" in ran.out
    assert "folders has 5 warnings, no error. Next: orch sweep folders" in ran.err


def test_an_error_is_data_and_says_what_helps(orch: Orch, root: Path) -> None:
    for place in ("train/ant", "train/bee"):
        shutil.copy(root / "train/ant/000.png", root / place / "copy.png")
    (root / "train/cow/000.png").write_bytes(b"nothing")
    ran = check(orch, root)
    assert ran.code == 4
    assert "error        1  cannot be decoded" in ran.out
    # of three that are the same, those in different classes come first
    assert "    train/ant/000.png = train/bee/copy.png = train/ant/copy.png\n" in ran.out
    assert ran.err.endswith(
        "error: folders has 2 errors and 0 warnings; nothing was changed\n"
        "  try: orch datasets check folders --json, which names every file\n"
    )


def test_json_names_everything(orch: Orch, root: Path) -> None:
    shutil.copy(root / "train/ant/000.png", root / "train/bee/copy.png")
    ran = check(orch, root, "--json")
    assert ran.code == 4
    document = json.loads(ran.out)
    assert document["schema_version"] == 1
    assert document["dataset"] == "folders"
    assert len(document["digest"]) == 64
    assert (document["examples"], document["errors"], document["warnings"]) == (46, 1, 0)
    assert document["counts"]["duplicate-across-classes"] == 1
    assert document["findings"] == [
        {
            "kind": "duplicate-across-classes",
            "severity": "error",
            "summary": "ant and bee",
            "examples": [
                {"file": "train/ant/000.png", "split": "train", "index": 0, "class": "ant"},
                {"file": "train/bee/copy.png", "split": "train", "index": 24, "class": "bee"},
            ],
        }
    ]
    assert (Path(document["folder"]) / "train/ant/000.png").is_file()


def test_names_of_files_cannot_steer_the_terminal(orch: Orch, root: Path) -> None:
    (root / "train/ant/\x1b[2Jgone.png").write_bytes(b"")
    ran = check(orch, root)
    assert ran.code == 4
    assert "[2Jgone.png" in ran.out
    assert "\x1b" not in ran.out + ran.err


def test_options_choose_the_split(orch: Orch) -> None:
    assert orch("datasets", "add", "digits").code == 0
    ran = orch("datasets", "check", "digits", "--split", "random")
    assert ran.code == 2
    assert "digits" in ran.err
    ran = orch("datasets", "check", "digits", "--json")
    assert json.loads(ran.out)["dataset_options"] == {}


@pytest.mark.parametrize("name", ["cifar10", "cifra10"])
def test_what_is_not_there(orch: Orch, name: str) -> None:
    ran = orch("datasets", "check", name)
    assert ran.code == 3
    assert "cifar10" in ran.err


def test_a_terminal_of_80_columns(orch: Orch, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    for number in range(4):
        shutil.copy(root / "train/ant/000.png", root / f"validation/cow/{'long' * 9}{number}.png")
    monkeypatch.setattr(
        output,
        "console",
        lambda stderr=False: Console(
            stderr=stderr, width=80, force_terminal=True, color_system=None
        ),
    )
    ran = check(orch, root)
    assert ran.code == 4
    lines = ran.out.splitlines()
    assert 70 < max(map(len, lines)) <= 80
    at = next(n for n, line in enumerate(lines) if "train/ant/000.png =" in line)
    assert lines[at + 1].startswith("    = validation/cow/long")


# ── the contact sheet ───────────────────────────────────────────────────────────────────────


def test_a_sheet_has_a_row_for_each_class(orch: Orch, root: Path, tmp_path: Path) -> None:
    assert orch("datasets", "add", "folders", "--from", str(root)).code == 0
    ran = orch("datasets", "show", "folders", "--png", str(tmp_path / "sheet.png"))
    assert ran.code == 0, ran.err
    assert f"{tmp_path / 'sheet.png'} is written" in ran.err
    assert "Class folders" in ran.out
    plan = layout(3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape == (*plan.size, 3)
    with Image.open(root / "train/bee/011.png") as last:
        small = last.resize((96, 72), Image.Resampling.BILINEAR)
    top, left = plan.place(1)
    x = left + contact_sheet.LABEL + 7 * (plan.cell + contact_sheet.GAP)
    assert np.array_equal(pixels[top + 12 : top + 84, x : x + 96], np.asarray(small))


def test_a_sheet_of_many_classes_says_which_it_shows(tmp_path: Path) -> None:
    images = np.zeros((210, 4, 4, 3), np.uint8)
    split = ArraySplit(images, np.arange(210))
    names = [f"class {number} $x^2$" for number in range(210)]
    file = tmp_path / "sheet.png"
    contact_sheet.save(file, "many", {"train": split}, names)
    with Image.open(file) as sheet:
        assert (sheet.height, sheet.width) == layout(210).size
    texts = list(contact_sheet._texts(layout(210), "many", {"train": split.labels}, names))
    assert texts[0][2] == "many: train 210; 210 classes; the first 200 of 210"
    assert len(texts) == 1 + 2 * 200


@pytest.mark.parametrize("classes", [1, 2, 12, 13, 25, 26, 100, 200, 1000])
def test_no_rows_of_a_sheet_overlap(classes: int) -> None:
    plan = layout(classes)
    height, width = plan.size
    places = [plan.place(row) for row in range(plan.classes)]
    assert len(set(places)) == min(classes, 200)
    for top, left in places:
        assert top + plan.cell <= height
        assert left + plan.block <= width
    assert width <= 4000


@pytest.mark.parametrize(
    ("count", "chosen"), [(0, []), (2, [0, 1]), (4, [0, 1, 2, 3]), (31, [0, 10, 20, 30])]
)
def test_examples_are_chosen_evenly(count: int, chosen: list[int]) -> None:
    assert evenly(range(count), 4) == chosen


def test_what_does_not_decode_is_grey_on_the_sheet() -> None:
    split = planted.Nameless([DataError("no")], [0])
    (square,) = contact_sheet._pictures("few", split, [0], 64)
    assert (square == 211).all()


def test_a_sheet_that_cannot_be_written(orch: Orch, tmp_path: Path) -> None:
    assert orch("datasets", "add", "digits").code == 0
    ran = orch("datasets", "show", "digits", "--png", "sheet.jpg")
    assert ran.code == 2
    assert "sheet.jpg does not end in .png" in ran.err
    (tmp_path / "folder.png").mkdir()
    split = ArraySplit(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(StorageError, match=r"folder\.png cannot be written"):
        contact_sheet.save(tmp_path / "folder.png", "few", {"train": split}, ["ant"])
    ran = orch("datasets", "show", "cifar10", "--png", "sheet.png")
    assert ran.code == 3
    assert "orch datasets add cifar10" in ran.err
    assert not (tmp_path / "sheet.png").exists()
