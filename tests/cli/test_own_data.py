"""Data of one's own from the command line: what is said, and with which exit code."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from own_files import clip, folder, picture, table


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photographs in it, and a home of its own."""
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    folder(tmp_path / "My Photos", {"wren": 3, "robin": 3})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_error(ran, code: int, *words: str) -> None:
    assert ran.code == code, ran.err
    assert len([line for line in ran.err.splitlines() if line.startswith("error: ")]) == 1
    for word in words:
        assert word in ran.err, f"{word!r} is not in {ran.err!r}"


def test_a_folder_is_added_listed_and_shown(orch) -> None:
    added = orch("datasets", "add", "./My Photos", "--name", "birds")
    assert added.code == 0
    assert "birds is added: 2 classes, train 6, digest" in added.err
    assert "Next: orch sweep birds" in added.err
    assert added.out == ""
    (row,) = (
        each
        for each in json.loads(orch("datasets", "--json").out)["datasets"]
        if each["name"] == "birds"
    )
    assert row["present"]
    assert (row["classes"], row["splits"]) == (["robin", "wren"], {"train": 6})
    shown = orch("datasets", "show", "birds").out
    assert "My Photos" in shown
    assert "copied" in shown


def test_a_folder_gives_its_name_where_none_is_said(orch) -> None:
    assert "my-photos is added" in orch("datasets", "add", "./My Photos").err


def test_sounds_tables_links_and_sizes(orch, here: Path) -> None:
    for name in ("low", "high"):
        for at in range(2):
            clip(here / "clips" / name / f"{at}.wav", 200 + at)
    assert orch("datasets", "add", "./clips", "--name", "calls", "--kind", "audio").code == 0
    rows = [("f", "c")] + [(f"{n}/{at}.png", n[0]) for n in ("wren", "robin") for at in range(3)]
    table(here / "l.csv", rows)
    words = ["--labels", "l.csv", "--path-column", "f", "--label-column", "c", "--link"]
    linked = orch("datasets", "add", "./My Photos", "--name", "b", *words, "--image-size", "40x64")
    assert linked.code == 0, linked.err
    shown = orch("datasets", "show", "b").out
    assert "40 × 64" in shown
    assert "linked, where they are" in shown


def test_broken_files_are_left_out_when_that_is_wanted(orch, here: Path) -> None:
    (here / "My Photos" / "wren" / "x.jpg").write_text("no picture")
    one_error(
        orch("datasets", "add", "./My Photos", "--name", "birds"),
        4,
        "1 of 7 files",
        "wren/x.jpg",
        "--skip-broken",
    )
    ran = orch("datasets", "add", "./My Photos", "--name", "birds", "--skip-broken")
    assert ran.code == 0
    assert "left out: wren/x.jpg: does not decode as an image" in ran.err
    checked = orch("datasets", "check", "./My Photos")
    one_error(checked, 4, "my-photos has 1 error")
    assert "wren/x.jpg" in checked.out


def test_a_check_of_a_folder_that_is_well_says_what_is_next(orch, here: Path) -> None:
    for place in ("a", "b"):
        for at in range(12):
            picture(here / "well" / place / f"{at}.png", 11 * at + (place == "a"), (40 + at, 90))
    ran = orch("datasets", "check", "./well", "--json")
    assert json.loads(ran.out)["counts"]["undecodable"] == 0
    assert "orch datasets add ./well" in orch("datasets", "check", "./well").err


def test_the_check_that_is_advised_finds_the_broken_file(orch, here: Path) -> None:
    (here / "My Photos" / "bad one.png").write_text("no picture")
    rows = [("f", "c"), ("bad one.png", "w"), *((f"wren/{at}.png", "w") for at in range(3))]
    table(here / "my labels.csv", [*rows, *((f"robin/{at}.png", "r") for at in range(3))])
    columns = ["--path-column", "f", "--label-column", "c"]
    ran = orch("datasets", "add", "./My Photos", "--labels", "my labels.csv", *columns)
    one_error(ran, 4, "1 of 7 files", "bad one.png: does not decode")
    *_, advised = ran.err.strip().partition("to see them: orch ")
    assert orch(*shlex.split(advised)).out.count("bad one.png") == 1


def test_not_one_file_that_decodes(orch, here: Path) -> None:
    for name in ("a", "b"):
        (here / "bad" / name).mkdir(parents=True)
        for at in range(2):
            (here / "bad" / name / f"{at}.png").write_text("no picture")
    said = "all 4 files in", "the first is a/0.png: does not decode as an image"
    for flags in ([], ["--skip-broken"]):
        one_error(orch("datasets", "add", "./bad", *flags), 4, *said)


def test_tables_that_name_nothing(orch, here: Path) -> None:
    table(here / "l.csv", [("file", "class")])
    one_error(
        orch("datasets", "add", "./My Photos", "--labels", "l.csv"), 4, "has a header and no row"
    )
    table(here / "l.csv", [("file", "class"), ("x" * 5000, "a"), ("\0", "b")])
    one_error(
        orch("datasets", "add", "./My Photos", "--labels", "l.csv"), 4, "none of its 2 files is in"
    )


def test_a_damaged_manifest_is_mended_by_adding_the_folder_again(orch, here: Path) -> None:
    orch("datasets", "add", "./My Photos", "--name", "birds")
    (here / "home" / "datasets" / "birds" / "manifest.json").write_text("{")
    ran = orch("sweep", "birds")
    one_error(ran, 4, "manifest.json is damaged", "orch datasets add FOLDER --name birds")
    assert orch("datasets", "add", "./My Photos", "--name", "birds").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add", "./absent"], 4, ["./absent does not exist"]),
        (["add", "My Photos"], 3, ["no dataset is called", "orch datasets add './My Photos'"]),
        (["add", "./My Photos", "--name", "digits"], 2, ["digits is the name of a dataset"]),
        (["add", "./My Photos", "--name", "No"], 2, ["'No' cannot be a dataset's name"]),
        (["add", "./My Photos", "--kind", "video"], 3, ["no kind is called 'video'", "images"]),
        (["add", "./My Photos", "--kind", "audio"], 4, ["holds no examples"]),
        (["add", "./My Photos", "--image-size", "huge"], 2, ["--image-size 'huge' is no size"]),
        (["add", "./My Photos", "--image-size", "9"], 2, ["32 to 1024"]),
        (["add", "./My Photos", "--label-column", "x"], 2, ["--labels labels.csv"]),
        (["add", "./My Photos", "--labels", "no.csv"], 4, ["no.csv does not exist"]),
        (["add", "./My Photos", "--from", "x"], 2, ["leave it out"]),
        (["add", "./My Photos", "-D", "fold=1"], 2, ["-D is chosen when you sweep"]),
        (["add", "digits", "--link"], 2, ["digits knows its own files"]),
        (["add", "kaggle://x"], 3, ["no gallery is called 'kaggle'"]),
        (["rename", "digits", "x"], 3, ["no dataset of your own is called 'digits'"]),
        (["remove", "absent"], 3, ["no installed dataset is called 'absent'"]),
        (["check", "absent"], 3, ["no dataset is called 'absent'"]),
        (["check", "hf://cats"], 2, ["not here yet", "orch datasets add hf://cats --name cats"]),
        (["check", "absent", "--kind", "audio"], 3, ["no dataset is called 'absent'"]),
        (["check", "My Photos", "--kind", "audio"], 3, ["orch datasets add './My Photos'"]),
        (["add", "new", "--from", "My Photos"], 3, ["orch datasets add 'My Photos' --name new"]),
        (["add", "absent", "--link"], 3, ["no dataset is called 'absent'"]),
        (["check", "./absent"], 4, ["./absent does not exist"]),
        (["check", "digits", "--kind", "audio"], 2, ["digits knows its own files"]),
    ],
)
def test_wrong_words(orch, words: list[str], code: int, said: list[str]) -> None:
    one_error(orch("datasets", *words), code, *said)


def test_renaming_and_removing(orch, here: Path) -> None:
    orch("datasets", "add", "./My Photos", "--name", "birds")
    again = "My Photos' --name birds, with the words it is to have now"
    one_error(orch("datasets", "add", "birds", "--link"), 2, "birds was added already", again)
    renamed = orch("datasets", "rename", "birds", "garden")
    assert (renamed.code, renamed.err) == (0, "birds is called garden now, in 0 sweeps too\n")
    one_error(orch("datasets", "remove", "garden"), 2, "say --yes", "nothing was changed")
    removed = orch("datasets", "remove", "garden", "--yes")
    assert removed.code == 0
    assert "garden is removed" in removed.err
    one_error(orch("datasets", "show", "garden"), 3, "no dataset is called 'garden'")
    assert (here / "My Photos" / "wren" / "0.png").exists()


def test_names_of_files_cannot_reach_the_terminal(orch, here: Path) -> None:
    bad = here / "My Photos" / "wren" / "\x1b[31mred\x1b]0;x\x07.png"
    bad.write_text("no picture")
    for words in (["add", "./My Photos", "--skip-broken"], ["check", "./My Photos"]):
        ran = orch("datasets", *words)
        assert "\x1b" not in ran.err + ran.out
        assert "\x07" not in ran.err + ran.out
        assert "red" in ran.err + ran.out
