"""Inspecting a dataset: each planted fault is found, and nothing else."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance

from orch import catalog, installing
from orch.errors import DataError, PluginError
from orch.home import Home
from orch.inspection import duplicates, proportions
from orch.inspection.inspect import inspect
from orch.inspection.report import KINDS, Report
from orch.testing import silent
from orch_datasets.image_files import FileSplit

CLASSES = planted.CLASSES


def look(root: Path) -> Report:
    return inspect("folders", planted.splits(root), CLASSES, silent)


def files(report: Report, kind: str) -> list[list[str | None]]:
    return [[example.file for example in found.examples] for found in report.of(kind)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of different pictures: 12 to train on and 3 to validate."""
    return planted.write(tmp_path / "pictures", {"train": 12, "validation": 3})


def only(report: Report, *kinds: str) -> None:
    assert Counter(found.kind for found in report.findings) == Counter(kinds)


def test_nothing_is_found_where_nothing_is_wrong(root: Path) -> None:
    report = look(root)
    assert report == Report(examples=45, folder=str(root), findings=())


def test_files_that_do_not_decode_are_named_and_the_rest_is_read(root: Path) -> None:
    (root / "train/ant/000.png").write_bytes(b"this is no picture")
    whole = (root / "train/bee/001.png").read_bytes()
    (root / "train/bee/001.png").write_bytes(whole[: len(whole) // 2])
    (root / "validation/cow/002.png").write_bytes(b"")
    shutil.copy(root / "train/cow/000.png", root / "train/cow/again.png")
    report = look(root)
    only(report, "undecodable", "undecodable", "undecodable", "duplicate")
    named = [["train/ant/000.png"], ["train/bee/001.png"], ["validation/cow/002.png"]]
    assert files(report, "undecodable") == named
    assert all("does not decode" in found.summary for found in report.of("undecodable"))
    assert report.count("error") == 3
    assert report.count("warning") == 1


@pytest.mark.parametrize(
    ("copy", "kind", "severity"),
    [
        ("train/ant/copy.png", "duplicate", "warning"),
        ("train/bee/copy.png", "duplicate-across-classes", "error"),
        ("validation/ant/copy.png", "duplicate-across-splits", "error"),
    ],
)
def test_exact_duplicates(root: Path, copy: str, kind: str, severity: str) -> None:
    with Image.open(root / "train/ant/004.png") as image:
        image.save(root / copy, compress_level=1)  # other bytes, the same pixels
    assert (root / copy).read_bytes() != (root / "train/ant/004.png").read_bytes()
    report = look(root)
    only(report, kind)
    assert files(report, kind) == [sorted(["train/ant/004.png", copy])]
    assert KINDS[kind].severity == severity


def test_a_group_across_both_is_found_under_both(root: Path) -> None:
    for copy in ("train/bee/copy.png", "validation/ant/copy.png"):
        shutil.copy(root / "train/ant/004.png", root / copy)
    report = look(root)
    only(report, "duplicate-across-classes", "duplicate-across-splits")
    assert [found.summary for found in report.findings] == ["ant and bee", "train and validation"]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


CHANGES = {
    "half the size": lambda image: image.resize((80, 60)),
    "twice the size": lambda image: image.resize((320, 240)),
    "JPEG at a low quality": lambda image: jpeg(image, 25),
    "5 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "cropped by 2 %": lambda image: image.crop((2, 1, 158, 119)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("train/cow", "near-duplicate"),
        ("train/bee", "near-duplicate-across-classes"),
        ("validation/cow", "near-duplicate-across-splits"),
    ],
)
def test_near_duplicates(root: Path, change: str, place: str, kind: str) -> None:
    with Image.open(root / "train/cow/007.png") as image:
        CHANGES[change](image).save(root / place / "changed.png")
    report = look(root)
    only(report, kind)
    assert files(report, kind) == [sorted(["train/cow/007.png", f"{place}/changed.png"])]
    assert KINDS[kind].severity == "warning"


def test_another_colour_is_another_picture(root: Path) -> None:
    for name, colour in {"stop": (220, 20, 20), "go": (20, 220, 20)}.items():
        image = Image.new("RGB", (160, 120), "white")
        image.paste(colour, (50, 30, 110, 90))
        image.save(root / f"train/ant/{name}.png")
    only(look(root))


def test_small_pictures_are_not_compared_for_likeness(tmp_path: Path) -> None:
    for side, found in ((15, 0), (16, 1)):
        image = np.asarray(planted.picture(1, side, side))
        brighter = np.minimum(image, 250) + np.uint8(5)
        split = planted.Nameless([image, brighter], [0, 0])
        report = inspect("few", {"train": split}, ("ant",), silent)
        assert len(report.of("near-duplicate")) == found


def test_a_tiny_class_and_one_that_is_missing(root: Path) -> None:
    for number in range(9, 12):
        (root / f"train/bee/{number:03}.png").unlink()
    report = look(root)
    only(report, "tiny-class")
    assert report.findings[0].summary == "train: bee has 9 examples"
    served = planted.splits(root)["validation"]
    assert isinstance(served, FileSplit)
    without = {"train": served.take(np.arange(6).repeat(2)), "test": served.take(np.arange(3))}
    summaries = [found.summary for found in inspect("x", without, CLASSES, silent).findings]
    assert "test: cow has no examples" in summaries


@pytest.mark.parametrize(("largest", "found"), [(100, 0), (101, 1)])
def test_imbalance(largest: int, found: int) -> None:
    counts = {"ant": largest, "bee": 10, "cow": 40, "none": 0}
    findings = list(proportions.imbalance("train", counts))
    assert len(findings) == found
    for each in findings:
        assert each.summary == "train: ant has 101, bee 10: 10.1 times as many"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((700, 520), "larger"),
        ((36, 27), "smaller"),
        ((330, 80), "wider"),
        ((60, 150), "taller"),
    ],
)
def test_an_outlier_of_size(root: Path, size: tuple[int, int], words: str) -> None:
    planted.picture(999, *size).save(root / "train/ant/odd.png")
    report = look(root)
    only(report, "size-outlier")
    assert files(report, "size-outlier") == [["train/ant/odd.png"]]
    assert report.findings[0].summary == f"{size[0]} × {size[1]} pixels, {words} than 160 × 120"


def test_examples_without_files_are_named_by_split_and_row() -> None:
    images: list[np.ndarray | Exception] = [np.asarray(planted.picture(n)) for n in range(12)]
    images[3] = DataError("the third is damaged")
    images[5] = images[4]
    split = planted.Nameless(images, [0] * 12)
    report = inspect("few", {"train": split}, ("ant",), silent)
    only(report, "undecodable", "duplicate")
    named = [[example.name for example in found.examples] for found in report.findings]
    assert named == [["train 3 (ant)"], ["train 4 (ant)", "train 5 (ant)"]]
    assert report.findings[0].summary == "the third is damaged"
    assert report.folder is None


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), r"an example \(0\) that is float32 \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\), not uint8 \(height, width, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (ValueError("of its own"), "the dataset 'few' raised ValueError: of its own"),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_blamed(served, words: str) -> None:
    with pytest.raises(PluginError, match=words) as caught:
        inspect("few", {"train": planted.Nameless([served], [0])}, ("ant",), silent)
    assert caught.value.exit_code == 6


def test_labels_and_files_that_do_not_fit_are_refused(root: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(PluginError, match="labels that are not whole numbers from 0 to 0"):
        inspect("few", {"train": planted.Nameless([image], [1])}, ("ant",), silent)
    served = planted.splits(root)["train"]
    assert isinstance(served, FileSplit)
    short = FileSplit(served.paths[:2], served.labels)
    with pytest.raises(PluginError, match="names not one file for each label of train"):
        inspect("few", {"train": short}, CLASSES, silent)


@pytest.mark.parametrize("tile", [(1024, 4096), (2, 3)])
def test_near_finds_what_comparing_all_pairs_finds(
    tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "TILE", tile)
    monkeypatch.setattr(duplicates, "PAIRS", tile[0])
    rng = np.random.default_rng(0)
    kinds = [np.asarray(planted.picture(seed, 32, 32)) for seed in (1, 2, 3)]
    order = rng.permutation(np.repeat([0, 1, 2], [4, 1, 3]))
    noisy = [kinds[kind] // 2 + rng.integers(0, 4, (32, 32, 3), np.uint8) for kind in order]
    found = duplicates.near(np.stack(noisy), np.arange(len(order)), silent)
    expected = [np.flatnonzero(order == kind).tolist() for kind in (0, 2)]
    assert sorted(found) == sorted(expected)


PIXELS = arrays(np.uint8, (2, 3, 4, 4, 3))


@given(PIXELS)
def test_likeness_is_symmetric_and_at_most_one(pixels: np.ndarray) -> None:
    there, back = (duplicates.correlation(*pair) for pair in (pixels, pixels[::-1]))
    assert np.array_equal(there, back)
    assert (np.abs(there) <= 1 + 1e-5).all()


@given(st.lists(st.sampled_from([b"", b"a", b"b", b"c"])))
def test_groups_hold_every_row_with_a_digest_once(digests: list[bytes]) -> None:
    groups = duplicates.exact(digests)
    rows = sorted(row for group in groups for row in group)
    assert rows == [row for row, digest in enumerate(digests) if digest]
    assert all(len({digests[row] for row in group}) == 1 for group in groups)
    assert len(groups) == len(set(digests) - {b""})


def test_the_order_of_examples_does_not_change_the_report(root: Path) -> None:
    for copy in ("train/bee/copy.png", "validation/ant/copy.png", "train/ant/copy.png"):
        shutil.copy(root / "train/ant/004.png", root / copy)
    (root / "train/ant/000.png").write_bytes(b"")
    with Image.open(root / "train/cow/007.png") as image:
        image.resize((80, 60)).save(root / "train/cow/half.png")
    planted.picture(999, 700, 520).save(root / "train/cow/odd.png")
    served = planted.splits(root)
    first = inspect("folders", served, CLASSES, silent)
    assert len(first.findings) == 5
    rng = np.random.default_rng(0)
    for _ in range(3):
        shuffled = {
            name: split.take(rng.permutation(len(split.labels)))
            for name, split in reversed(served.items())
            if isinstance(split, FileSplit)
        }
        assert said(inspect("folders", shuffled, CLASSES, silent)) == said(first)


def said(report: Report) -> list[tuple[str, str, list[str]]]:
    """A report without the rows of its examples."""
    return [
        (found.kind, found.summary, [each.name for each in found.examples])
        for found in report.findings
    ]


@pytest.mark.real_data
def test_pokemon_has_one_picture_in_two_classes(real_data: Path, tmp_path: Path) -> None:
    report = real("pokemon", real_data / "pokemon.tar", tmp_path)
    assert len(report.of("duplicate-across-classes")) == 16
    assert not report.of("undecodable")


@pytest.mark.real_data
def test_ravdess_has_no_error_and_no_clips_that_are_taken_for_one(
    real_data: Path, tmp_path: Path
) -> None:
    """Its one warning is true: actor 7's two takes of one sentence are the same file."""
    report = real("ravdess", real_data / "ravdess.tar", tmp_path)
    assert report.count("error") == 0
    only(report, "duplicate")
    (found,) = report.findings
    assert found.summary == "happy in train"


def real(name: str, source: Path, folder: Path) -> Report:
    home = Home(folder / "home")
    installed = installing.install(home, name, source, silent)
    return inspect(name, catalog.open_splits(home, name), installed.classes, silent)
