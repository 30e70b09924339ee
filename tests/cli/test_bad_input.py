"""Every wrong word, file or disk: one line that helps, the right exit code, nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orch_datasets.cifar10 import Cifar10


def one_error(ran, code: int, *words: str) -> None:
    """The command ended with this code and one error line that holds these words."""
    assert ran.code == code, ran.err
    lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ran.err
    for word in words:
        assert word in ran.err, f"{word!r} is not in {ran.err!r}"
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sweep", "digts"], 3, ["no dataset", "'digts'", "did you mean digits"]),
        (["sweep", "digits", "--strategy", "finetune"], 3, ["no strategy", "fine-tune"]),
        (["sweep", "digits", "--backbone", "vgg61"], 3, ["no backbone", "vgg16"]),
        (["sweep"], 2, ["no dataset was named"]),
        (["sweep", "digits", "-S", "epochs"], 2, ["-S epochs says no value"]),
        (["sweep", "digits", "-S", "epochs=int(1;3)"], 2, ["epochs: ", "^"]),
        (["sweep", "digits", "--trials", "0"], 2, ["trials is 0", "least is 1"]),
        (["sweep", "digits", "--trials", "many"], 2, ["--trials", "a whole number"]),
        (["sweep", "digits", "--seed", "-1"], 2, ["seed is -1"]),
        (["sweep", "digits", "--time", "soon"], 2, ["--time 'soon'", "1h30m"]),
        (["sweep", "digits", "--limit", "0"], 2, ["--limit 0"]),
        (["sweep", "digits", "--limit", "3"], 2, ["too few"]),
        (["sweep", "digits", "--sampler", "magic"], 2, ["magic", "tpe"]),
        (["sweep", "--file", "absent.toml"], 2, ["absent.toml"]),
        (["swep", "digits"], 2, ["swep", "sweep"]),
        (["leaderboard", "digts"], 3, ["did you mean digits"]),
        (["leaderboard", "--top", "0"], 2, ["--top 0"]),
        (["trials", "show", "3f2a"], 3, ["no trial", "3f2a", "orch trials"]),
        (["sweeps", "show", "7c1"], 3, ["no sweep", "7c1"]),
        (["sweeps", "resume", "7c1"], 3, ["no sweep", "7c1"]),
        (["sweep", "--file", "wrong.toml"], 2, ["wrong.toml", "'trails'", "did you mean trials"]),
        (["datasets", "add", "cifr10"], 3, ["did you mean cifar10"]),
        (["datasets", "add", "cifar10", "--from", "nowhere"], 4, ["nowhere does not exist"]),
        (["datasets", "path", "cifar10"], 3, ["not installed", "orch datasets add cifar10"]),
        (["backbones", "add", "vgg16", "--from", "nowhere.h5"], 4, ["nowhere.h5 does not exist"]),
    ],
)
def test_wrong_words(orch, words: list[str], code: int, said: list[str]) -> None:
    Path("wrong.toml").write_text('dataset = "digits"\ntrails = 3\n')
    one_error(orch(*words), code, *said)


def test_the_caret_stands_under_the_fault(orch) -> None:
    ran = orch("sweep", "digits", "-S", "learning_rate=log(1e-6,x)")
    lines = ran.err.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == "^")
    assert lines[at - 1][lines[at].index("^")] == "x"


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("learing_rate=0.1", ["no parameter", "did you mean learning_rate"]),
        ("dropout=1.5", ["dropout=1.5 is not within uniform(0.0,0.95)", "-S dropout=0"]),
        ("frozen_layers=99", ["frozen_layers=99 is not within int(0,26)"]),
        ("epochs=uniform(1,3)", ["is not within", "int(1,100000)"]),
        ("optimizer=adm", ["is not within", "choice(adam,adamw,sgd,rmsprop)"]),
        ("image_size=8", ["needs images of at least 32"]),
    ],
)
def test_values_out_of_range(orch, stated: str, said: list[str]) -> None:
    one_error(orch("sweep", "digits", "-S", stated, "--dry-run"), 2, *said)


def test_settings_that_make_no_sense_name_their_source(orch, monkeypatch) -> None:
    monkeypatch.setenv("ORCH_TRIALS", "lots")
    one_error(orch("config"), 2, "ORCH_TRIALS", "'lots'")


# ── archives and folders ────────────────────────────────────────────────────────────────────


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """CIFAR-10 as class folders, two images of each class."""
    for split in ("train", "test"):
        for number, name in enumerate(Cifar10.facts.classes):
            place = tmp_path / "c10" / split / name
            place.mkdir(parents=True)
            for image in range(2):
                pixels = np.full((32, 32, 3), number * 20 + image, np.uint8)
                Image.fromarray(pixels).save(place / f"{image}.png")
    return tmp_path / "c10"


def add_cifar10(orch, source: Path):
    return orch("datasets", "add", "cifar10", "--from", str(source))


def test_a_truncated_archive(orch, folders: Path, tmp_path: Path) -> None:
    whole = tmp_path / "c10.tar.gz"
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(folders, "c10")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-2000])
    one_error(add_cifar10(orch, cut), 4, "cut.tar.gz is truncated or damaged")


def test_an_archive_with_another_checksum(orch, folders: Path, tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folders, "c10")
    one_error(add_cifar10(orch, archive), 4, "is not the published file", "SHA-256")


def test_an_archive_that_escapes(orch, folders: Path, tmp_path: Path) -> None:
    archive = tmp_path / "escape.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folders / "train" / "cat" / "0.png", "../../evil.png")
    one_error(add_cifar10(orch, archive), 4, "../../evil.png", "outside its folder")
    assert not list(tmp_path.rglob("evil.png"))


def test_an_image_that_does_not_decode(orch, folders: Path) -> None:
    (folders / "train" / "cat" / "1.png").write_text("no picture")
    one_error(add_cifar10(orch, folders), 4, "cat/1.png does not decode", "nothing was changed")


def test_a_missing_class(orch, folders: Path) -> None:
    shutil.rmtree(folders / "train" / "frog")
    one_error(add_cifar10(orch, folders), 4, "train/frog is missing")


def test_an_empty_class(orch, folders: Path) -> None:
    for image in (folders / "test" / "ship").iterdir():
        image.unlink()
    one_error(add_cifar10(orch, folders), 4, "test/ship holds no image")


def test_a_failed_add_keeps_what_was_there(orch, folders: Path) -> None:
    assert add_cifar10(orch, folders).code == 0
    before = orch("datasets", "path", "cifar10").out
    shutil.rmtree(folders / "train" / "frog")
    assert add_cifar10(orch, folders).code == 4
    assert orch("datasets", "path", "cifar10").out == before
    assert Path(before.strip()).is_dir()


# ── weights ─────────────────────────────────────────────────────────────────────────────────


def test_weights_of_another_network(orch, tmp_path: Path) -> None:
    from orch.training import backbones

    file = tmp_path / "vgg-mini.weights.h5"
    backbones.build("vgg-mini", (32, 32)).save_weights(file)
    ran = orch("backbones", "add", "mobilenetv2", "--from", str(file))
    one_error(ran, 4, "does not hold the weights of mobilenetv2", "nothing was changed")


def test_weights_that_are_no_weights(orch, tmp_path: Path) -> None:
    file = tmp_path / "vgg-mini.weights.h5"
    file.write_bytes(b"nothing of the kind")
    ran = orch("backbones", "add", "vgg16", "--from", str(file))
    one_error(ran, 4, "does not hold the weights of vgg16")


# ── database and disk ───────────────────────────────────────────────────────────────────────


def test_a_locked_database(orch, monkeypatch, tmp_path: Path) -> None:
    database = tmp_path / "orch.db"
    monkeypatch.setenv("ORCH_DATABASE_URL", f"sqlite:///{database}")
    monkeypatch.setenv("ORCH_BUSY_SECONDS", "0.2")
    assert orch("db", "upgrade").code == 0
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    ran = orch("db", "upgrade")
    holder.close()
    one_error(ran, 5, str(database), "is locked by another process", "is safe", "fuser")


def test_a_file_that_is_no_database(orch, monkeypatch, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary")
    monkeypatch.setenv("ORCH_DATABASE_URL", f"sqlite:///{file}")
    one_error(orch("db", "upgrade"), 5, "is not an SQLite database", "was not touched")
    assert file.read_text() == "dear diary"


def test_no_space_left_for_a_dataset(orch, monkeypatch, small_disk: Path) -> None:
    monkeypatch.setenv("ORCH_HOME", str(small_disk))
    (small_disk / "ballast").write_bytes(bytes(300_000))
    ran = orch("datasets", "add", "digits")
    one_error(ran, 5, f"no space left in {small_disk}", "nothing was changed", "ORCH_HOME")


def test_a_read_only_database(orch, monkeypatch, small_disk: Path) -> None:
    database = small_disk / "orch.db"
    monkeypatch.setenv("ORCH_DATABASE_URL", f"sqlite:///{database}")
    assert orch("db", "upgrade").code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    one_error(orch("sweep", "digits", "--trials", "1"), 5, str(database))


def test_a_home_that_cannot_be_written(orch, monkeypatch, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setenv("ORCH_HOME", str(small_disk / "home"))
    one_error(orch("sweep", "digits"), 5, "cannot be written", "ORCH_HOME")
