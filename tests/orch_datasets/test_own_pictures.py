from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import own_files
import pytest
from own_files import add, folder, own, picture, table
from PIL import Image

from orch import catalog, installing
from orch.contracts import FileReader
from orch.errors import DataError, NotFoundError, OrchError, UsageError
from orch.home import Home
from orch.kinds import LabelTable
from orch.testing import silent
from orch_datasets.own import pictures


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def refused(home: Home, source: Path, words: str, **said: Any) -> OrchError:
    with pytest.raises(DataError, match=words) as caught:
        add(home, source, **said)
    assert caught.value.exit_code == 4
    assert catalog.names(home) == ["cats-vs-dogs", "cifar10", "digits", "pokemon", "ravdess"]
    return caught.value


# ── layouts ─────────────────────────────────────────────────────────────────────────────────


def test_class_folders_are_a_dataset(home: Home, tmp_path: Path) -> None:
    installed = add(home, folder(tmp_path / "photos", {"wren": 3, "robin": 2}))
    assert installed.classes == ("robin", "wren")
    assert installed.splits == {"train": (2, 3)}
    assert "mine" in catalog.names(home)
    split = catalog.open_splits(home, "mine")["train"]
    assert np.asarray(split.labels).tolist() == [0, 0, 1, 1, 1]
    assert split.image(0).shape == (40, 48, 3)
    assert split.image(0)[20, 20].tolist() == [40, 40, 40]
    facts = catalog.load(home, "mine").facts
    assert (facts.name, facts.classes, facts.image_size) == ("mine", ("robin", "wren"), (64, 64))


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Train", "val", "testing")])
def test_folders_of_splits_are_splits(home: Home, tmp_path: Path, names: tuple[str, ...]) -> None:
    counts = {f"{split}/{c}": n for split, n in zip(names, (3, 1, 2), strict=True) for c in "ab"}
    installed = add(home, folder(tmp_path / "x", counts))
    assert installed.splits == {"train": (3, 3), "validation": (1, 1), "test": (2, 2)}


def test_a_class_may_be_called_as_a_split_is(home: Home, tmp_path: Path) -> None:
    installed = add(home, folder(tmp_path / "x", {"train": 2, "bus": 2, "test": 3}))
    assert installed.classes == ("bus", "test", "train")
    assert installed.splits == {"train": (2, 3, 2)}


def test_what_is_hidden_or_no_picture_is_not_looked_at(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2, ".git": 2, "__MACOSX/a": 1, "a/.thumbs": 1})
    (root / "a" / "._0.png").write_text("what a Mac leaves")
    (root / "b" / "notes.txt").write_text("not a picture")
    assert add(home, root).splits == {"train": (2, 2)}


def test_pictures_deeper_in_a_class_are_of_it(home: Home, tmp_path: Path) -> None:
    assert add(home, folder(tmp_path / "x", {"a/2024": 1, "a/2025": 2, "b": 2})).splits == {
        "train": (3, 2)
    }


def test_an_archive_with_one_folder_in_it(home: Home, tmp_path: Path) -> None:
    folder(tmp_path / "up" / "photos", {"a": 2, "b": 2})
    packed = shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "up")
    assert add(home, Path(packed)).splits == {"train": (2, 2)}
    with pytest.raises(DataError, match="is no folder, so its files cannot stay where they are"):
        add(home, Path(packed), link=True)


def test_classes_that_are_numbers_stand_in_their_order(home: Home, tmp_path: Path) -> None:
    assert add(home, folder(tmp_path / "x", {"10": 2, "9": 2, "1": 2})).classes == ("1", "9", "10")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "holds no examples in class folders"),
        ({"": 3}, "holds no examples in class folders"),
        ({"a": 3}, "has examples of one class alone, 'a'"),
        ({"a": 3, "b": 1}, "the class 'b' of .* has 1 of the 2 training examples"),
        ({"train/a": 3, "train/b": 3, "validation/c": 1}, "the class 'c' of .* has 0 of the 1"),
    ],
)
def test_too_little_is_refused(
    home: Home, tmp_path: Path, counts: dict[str, int], words: str
) -> None:
    (tmp_path / "x").mkdir()
    assert refused(home, folder(tmp_path / "x", counts), words).hint


def test_what_is_there_instead_is_said(home: Home, tmp_path: Path) -> None:
    root = tmp_path / "x"
    (root / "a").mkdir(parents=True)
    for name in ("1.wav", "2.wav", "3.txt"):
        (root / "a" / name).touch()
    error = refused(home, root, r"no examples in class folders, but 2 \.wav, 1 \.txt; nothing")
    assert "--kind audio" in error.hint


# ── label tables ────────────────────────────────────────────────────────────────────────────

ROWS = [("file", "species"), ("a/0.png", "wren"), ("a/1.png", "robin"), ("b/0.png", "wren")]
LAST = ("b/1.png", "robin")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder(tmp_path / "photos", {"a": 2, "b": 2})


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_table_names_the_classes(home: Home, photos: Path, tmp_path: Path, between: str) -> None:
    labels = table(tmp_path / "labels.csv", [*ROWS, LAST], between)
    installed = add(home, photos, labels=labels)
    assert (installed.classes, installed.splits) == (("robin", "wren"), {"train": (2, 2)})
    labels = np.asarray(catalog.open_splits(home, "mine")["train"].labels).tolist()
    assert labels == [1, 0, 1, 0]


def test_a_parquet_table_does_too(home: Home, photos: Path, tmp_path: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    columns = {"where": ["a/0.png", "a/1.png", "b/0.png", "b/1.png"], "n": [3, 12, 3, 12]}
    place = tmp_path / "labels.bin"
    parquet.write_table(arrow.table({**columns, "part": ["train", "train", "train", "val"]}), place)
    labels = LabelTable(str(place), "where", "n", "part")
    installed = add(home, photos, labels=labels)
    assert installed.classes == ("3", "12")
    assert installed.splits == {"train": (2, 1), "validation": (0, 1)}


@pytest.mark.parametrize(
    ("last", "columns", "words"),
    [
        (LAST, ("path", None, None), "has no column 'path'; it has file, species"),
        (("b/9.png", "robin"), (), "1 of 4 files in .* the first is b/9.png: is not there"),
        (("../secret.png", "robin"), (), r"row 5: \.\./secret\.png is not below"),
        (("/etc/passwd", "robin"), (), "row 5: /etc/passwd is not below"),
        (("a/0.png", "robin"), (), "row 5: a/0.png is 'robin' here and 'wren' in row 2"),
        (("b/1.png", ""), (), "row 5: species is empty"),
        (("b/1.png",), (), "row 5: species is empty"),
        (LAST, (None, None, "species"), "row 2: 'wren' is no split"),
    ],
)
def test_a_row_that_cannot_be_is_named(
    home: Home,
    photos: Path,
    tmp_path: Path,
    last: tuple[str, ...],
    columns: tuple[str | None, ...],
    words: str,
) -> None:
    place = table(tmp_path / "labels.csv", [*ROWS, last])
    refused(home, photos, words, labels=LabelTable(str(place), *columns))


def test_rows_without_a_file_can_be_left_out(home: Home, photos: Path, tmp_path: Path) -> None:
    place = table(tmp_path / "labels.csv", [*ROWS, LAST, ("b/9.png", "robin"), ("8.png", "wren")])
    said = own(photos, labels=LabelTable(str(place)), skip_broken=True)
    installed, omitted = installing.install_own(home, said, silent)
    assert installed.splits == {"train": (2, 2)}
    assert [(each.path, each.why) for each in omitted] == [
        ("8.png", "is not there"),
        ("b/9.png", "is not there"),
    ]


def test_a_table_of_other_files_says_so(home: Home, photos: Path, tmp_path: Path) -> None:
    place = table(tmp_path / "labels.csv", [ROWS[0], ("x/1.png", "wren"), ("x/2.png", "robin")])
    words = "none of its 2 files is in .*, not even x/1.png of row 2"
    assert "--path-column" in refused(home, photos, words, labels=LabelTable(str(place))).hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"x,y\n1,2\n", "does not say which of its columns is meant: x, y"),
        (b"path,file,label\na,b,c\n", "does not say which of its columns is meant"),
        (b"path,label\n\xff\xfe,x\n", "is no CSV file in UTF-8"),
        (b"PAR1 and then nothing", "is damaged"),
        (b"path,label\n", "has a header and no row"),
    ],
)
def test_a_table_that_is_none(
    home: Home, photos: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    refused(home, photos, words, labels=tmp_path / "labels.csv")
    refused(home, photos, "does not exist", labels=tmp_path / "absent.csv")


def test_a_quoted_field_may_hold_a_comma_and_a_line(home: Home, tmp_path: Path) -> None:
    photos = folder(tmp_path / "x", {"a, b": 2, "c": 2})
    (tmp_path / "l.csv").write_text(
        'path,label,said\n"a, b/0.png",a,"two\nlines"\n"a, b/1.png",a,\n\nc/0.png,c,\nc/1.png,c,\n'
    )
    assert add(home, photos, labels=tmp_path / "l.csv").splits == {"train": (2, 2)}


# ── decoding ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "suffix",
    [".bmp", ".gif", ".jpg", ".jp2", ".png", ".ppm", ".tga", ".tif", ".webp", ".avif", ".ico"],
)
def test_what_pillow_reads_is_read(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / f"x{suffix}", 90, (64, 48))
    assert pictures.accepts(path)
    image = pictures.decode(path)
    assert (image.dtype, image.shape[2]) == (np.uint8, 3)
    assert pictures.look(path) == image.shape[:2]
    if suffix != ".ico":
        assert image.shape == (48, 64, 3)
        assert abs(int(image[40, 60, 0]) - 90) <= 3


@pytest.mark.parametrize("suffix", [".eps", ".pdf", ".wmf", ".txt", ".svg", ""])
def test_what_needs_another_program_is_no_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert not pictures.accepts(path)
    with pytest.raises(DataError, match="does not decode as an image"):
        pictures.decode(path)


def test_a_photograph_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned to the right
    Image.new("RGB", (60, 30)).save(tmp_path / "x.jpg", exif=exif)
    assert pictures.decode(tmp_path / "x.jpg").shape == (60, 30, 3)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "x.png")
    assert (pictures.decode(tmp_path / "x.png") == 255).all()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert pictures.decode(tmp_path / "x.png")[0, :, 0].tolist() == [0, 127, 255]


def test_palettes_greys_and_inks_become_rgb(tmp_path: Path) -> None:
    for mode in ("1", "L", "P", "CMYK", "I", "F", "LA"):
        Image.new(mode, (5, 7)).save(tmp_path / f"{mode}.tif")
        assert pictures.decode(tmp_path / f"{mode}.tif").shape == (7, 5, 3)


def test_more_pixels_than_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    for read in (pictures.decode, pictures.look):
        with pytest.raises(DataError, match="has 48 × 40 pixels: too many"):
            read(picture(tmp_path / "x.png"))


@pytest.mark.parametrize(
    ("size", "side"), [((20, 30), 32), ((33, 90), 64), ((96, 96), 96), ((3000, 4000), 224)]
)
def test_the_size_suits_the_pictures(size: tuple[int, int], side: int) -> None:
    assert pictures.suitable(size) == (side, side)


# ── broken files ────────────────────────────────────────────────────────────────────────────


def test_a_broken_file_is_named_or_left_out(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "x", {"a": 3, "b": 2})
    whole = (root / "a" / "2.png").read_bytes()
    (root / "a" / "2.png").write_bytes(whole[: len(whole) // 2])
    error = refused(home, root, "1 of 5 files in .* cannot be used, the first is a/2.png: does not")
    assert "--skip-broken" in error.hint
    installed, omitted = installing.install_own(home, own(root, skip_broken=True), silent)
    assert installed.splits == {"train": (2, 2)}
    assert [each.path for each in omitted] == ["a/2.png"]
    (root / "b" / "1.png").write_text("no")
    with pytest.raises(DataError, match=r"the class 'b' of .* has 1 of the 2"):
        add(home, root, skip_broken=True)


# ── linking, changing, adding again ─────────────────────────────────────────────────────────


def test_links_and_copies_are_the_same_data(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2})
    copied, linked = add(home, root), add(Home(tmp_path / "other"), root, link=True)
    assert copied.digest == linked.digest
    content = catalog.content(Home(tmp_path / "other"), linked)
    assert (content / "files" / "a" / "0.png").is_symlink()
    shutil.rmtree(root)
    assert len(catalog.open_splits(home, "mine")["train"].labels) == 4


@pytest.mark.parametrize("change", ["other", "same size", "gone"])
def test_a_linked_file_that_changed_is_noticed(home: Home, tmp_path: Path, change: str) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2})
    former = add(home, root, link=True)
    catalog.open_splits(home, "mine")
    path = root / "a" / "0.png"
    if change == "gone":
        path.unlink()
    elif change == "other":
        picture(path, 200, (90, 90))
    else:
        long_ago, content = path.stat().st_mtime, path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, (long_ago, long_ago))
    with pytest.raises(DataError, match=r"files in .* have changed since mine was added") as caught:
        catalog.open_splits(home, "mine")
    assert "orch datasets add mine" in caught.value.hint
    how = f": 1 gone, such as {path}" if change == "gone" else " newer, such as "
    assert how in caught.value.message
    if change == "other":
        again = installing.install(home, "mine", None, silent)
        assert again.digest != former.digest
        catalog.open_splits(home, "mine")


def test_touching_a_linked_file_changes_nothing(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2})
    add(home, root, link=True)
    os.utime(root / "a" / "0.png")
    assert len(catalog.open_splits(home, "mine")["train"].labels) == 4


def test_adding_again_takes_the_files_as_they_are_now(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2})
    former = add(home, root, image_size=(96, 128))
    picture(root / "b" / "new.png")
    assert catalog.find(home, "mine") == former
    again = installing.install(home, "mine", None, silent)
    assert again.splits == {"train": (2, 3)}
    assert catalog.load(home, "mine").facts.image_size == (96, 128)
    assert catalog.content(home, again).is_dir()
    assert not catalog.content(home, former).exists()


def test_the_digest_is_of_names_classes_and_bytes(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2})
    digests = [add(home, root).digest, add(home, root, image_size=(32, 32)).digest]
    assert digests[0] == digests[1]
    (root / "a").rename(root / "c")
    digests.append(add(home, root).digest)
    assert len(set(digests)) == 2


def test_a_damaged_index_is_said(home: Home, tmp_path: Path) -> None:
    installed = add(home, folder(tmp_path / "x", {"a": 2, "b": 2}))
    path = catalog.content(home, installed) / "index.json"
    path.write_text(json.dumps({"classes": []}))
    with pytest.raises(DataError, match=r"index.json is damaged"):
        catalog.load(home, "mine")


# ── names ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["digits", "Wrens", "a b", "../x", "", "-x", "x" * 65, "ü"])
def test_a_name_that_cannot_be(home: Home, tmp_path: Path, name: str) -> None:
    root = folder(tmp_path / "x", {"a": 2, "b": 2})
    with pytest.raises(UsageError, match=r"is the name of a dataset of|cannot be a dataset's name"):
        installing.install_own(home, own_files.OwnData(name, "images", str(root)), silent)
    assert not home.datasets.exists() or list(home.datasets.iterdir()) == []


def test_a_kind_that_is_not_there(home: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no kind is called 'video'"):
        add(home, folder(tmp_path / "x", {"a": 2, "b": 2}), kind="video")


def test_a_file_that_was_never_seen_is_read(home: Home, tmp_path: Path) -> None:
    add(home, folder(tmp_path / "x", {"a": 2, "b": 2}))
    dataset = catalog.load(home, "mine")
    assert isinstance(dataset, FileReader)
    assert dataset.read(picture(tmp_path / "new.webp")).shape == (40, 48, 3)
