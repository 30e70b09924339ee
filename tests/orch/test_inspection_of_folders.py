from __future__ import annotations

from pathlib import Path

import pytest
from own_files import clip, folder, own, picture

from orch.errors import DataError
from orch.inspection.folders import inspect_folder
from orch.testing import silent


def test_a_folder_is_inspected_where_it_is(tmp_path: Path) -> None:
    root = folder(tmp_path / "x" / "up", {"a": 12, "b": 12})
    (root / "a" / "broken.jpg").write_text("no picture")
    picture(root / "b" / "again.png", 0)  # the first of a, pixel for pixel
    report, splits, classes = inspect_folder(own(tmp_path / "x"), silent)
    assert (report.examples, len(splits["train"].labels), classes) == (26, 25, ("a", "b"))
    (broken,) = report.of("undecodable")
    assert broken.examples[0].file == "up/a/broken.jpg"
    assert broken.examples[0].label == "a"
    (twice,) = report.of("duplicate-across-classes")
    assert [each.file for each in twice.examples] == ["up/a/0.png", "up/b/again.png"]
    assert report.folder == str(tmp_path / "x")
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]


def test_sounds_are_inspected_too(tmp_path: Path) -> None:
    for at in range(3):
        clip(tmp_path / "x" / "low" / f"{at}.wav", 200 + 50 * at)
        clip(tmp_path / "x" / "high" / f"{at}.wav", 4000 + 500 * at)
    clip(tmp_path / "x" / "high" / "same.wav", 200)
    report, _, _ = inspect_folder(own(tmp_path / "x", "audio"), silent)
    (twice,) = report.of("duplicate-across-classes")
    assert [each.file for each in twice.examples] == ["high/same.wav", "low/0.wav"]


def test_a_folder_without_classes_is_no_dataset(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "0.png")
    with pytest.raises(DataError, match="holds no examples in class folders"):
        inspect_folder(own(tmp_path / "x"), silent)
