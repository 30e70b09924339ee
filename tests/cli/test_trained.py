"""What can be done with a trial that completed: show, evaluate, predict, export."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from digit_trials import keeping, run
from PIL import Image

from orch import catalog
from orch.clock import now
from orch.errors import DataError
from orch.home import Home
from orch.planning.spec import SweepRequest, SweepSpec, plan_sweep
from orch.settings import Settings
from orch.testing import silent
from orch.training import inference
from orch.training.workbench import Workbench
from orch_db.queries import Queries
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.store import Store


@dataclass(frozen=True)
class Trained:
    home: Home
    trial: TrialRecord


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A sweep with one completed trial and one that is only a row, without Ray."""
    home = Home(tmp_path_factory.mktemp("home"))
    stated = {"head_epochs": "2", "epochs": "2", "frozen_layers": "22"}
    request = SweepRequest("digits", "two-stage", limit=400, space=stated)
    spec = plan_sweep(request, Settings(home=str(home.root)), home, silent).spec
    wanted = keeping(spec.trial(0, spec.first, seed=1))
    outcome, reports = run(wanted, Workbench(home))
    assert outcome.failure is None
    common = {
        "sweep_id": spec.id,
        "board": spec.board,
        "attempt": 1,
        "params": spec.first,
        "plan": outcome.plan,
        "created_at": now(),
    }
    ended = {name: getattr(outcome, name) for name in ("cut", "score", "best_epoch", "metrics")}
    trial = TrialRecord(wanted.id, number=0, state="completed", seed=1, **common, **ended)
    queued = TrialRecord(spec.trial(1, {}, 2).id, number=1, state="queued", seed=2, **common)
    store = Store.open(f"sqlite:///{home.database}")
    store.add_sweep(
        SweepRecord(
            id=spec.id,
            name=spec.name,
            state="completed",
            dataset=spec.dataset,
            strategy=spec.strategy,
            backbone=spec.backbone,
            metric=spec.objective.metric,
            direction=spec.objective.direction,
            board=spec.board,
            spec=spec.to_json(),
            versions={},
            git_commit=None,
            created_at=now(),
        )
    )
    for record in (replace(trial, state="queued"), queued):
        store.add_trial(record)
    for report in reports:
        values = asdict(report)
        store.add_epoch(EpochRecord(trial.id, 1, reported_at=now(), **values), "test:1")
    store.end(trial, state="completed")
    store.close()
    return Trained(home, trial)


@pytest.fixture
def home(made: Trained, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ORCH_HOME", str(made.home.root))
    return made.home


@pytest.fixture
def digit_files(home: Home, tmp_path: Path) -> list[str]:
    """Five unseen digits as files, and what they are."""
    split = catalog.open_splits(home, "digits")["test"]
    for row in range(5):
        Image.fromarray(np.asarray(split.image(row))).save(tmp_path / f"{row}.png")
    return [f"{row}.png" for row in range(5)]


def test_predict_sorts_and_marks(orch, made: Trained, digit_files: list[str]) -> None:
    ran = orch("predict", made.trial.id[:6], *digit_files, "--top", "2")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()[1:]
    assert len(lines) == 10
    assert [line.split()[0] for line in lines[::2]] == digit_files
    assert all("→" in line for line in lines[::2])
    assert not any("→" in line for line in lines[1::2])


def test_predictions_as_json_and_csv(orch, made: Trained, digit_files: list[str]) -> None:
    ran = orch("predict", made.trial.id, *digit_files, "--json")
    document = json.loads(ran.out)
    assert document["errors"] == []
    for each in document["predictions"]:
        chances = list(each["probabilities"].values())
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) == pytest.approx(1, abs=1e-5)
        assert each["top"] == next(iter(each["probabilities"]))
    ran = orch("predict", made.trial.id, *digit_files, "--csv", "--top", "10")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert len(rows) == 50
    assert [row["class"] for row in rows if row["top"] == "1"] == [
        each["top"] for each in document["predictions"]
    ]


def test_files_that_cannot_be_read_are_named_and_the_rest_predicted(
    orch, made: Trained, digit_files: list[str]
) -> None:
    Path("broken.png").write_text("no picture")
    ran = orch("predict", made.trial.id, "broken.png", *digit_files, "absent.png")
    assert ran.code == 4
    assert "error: 2 of 7 files could not be read, the others are above" in ran.err
    assert "broken.png does not decode as an image" in ran.err
    assert "absent.png is not a file" in ran.err
    assert ran.out.count("→") == 5
    ran = orch("predict", made.trial.id, "broken.png")
    assert ran.code == 4
    assert "1 of 1 files could not be read: broken.png" in ran.err
    assert ran.out == ""


def test_names_that_are_not_text_or_too_long_are_named(
    orch, made: Trained, digit_files: list[str]
) -> None:
    odd = os.fsdecode(b"caf\xe9\x9b.png")
    shutil.copy(digit_files[0], odd)
    ran = orch("predict", made.trial.id, odd, "x" * 300 + ".png", "--json")
    assert ran.code == 4
    assert "xxx.png cannot be read (File name too long)" in ran.err
    (found,) = json.loads(ran.out)["predictions"]
    assert found["file"] == odd
    assert "\x9b" not in ran.out
    ran = orch("predict", made.trial.id, odd)
    assert ran.code == 0, ran.err
    assert "caf\\udce9" in ran.out


def test_evaluate_agrees_with_the_trial(orch, made: Trained, home: Home) -> None:
    ran = orch("evaluate", made.trial.id[:6], "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["accuracy"] == pytest.approx(made.trial.score)
    confusion = np.array(document["confusion"])
    assert confusion.shape == (10, 10)
    assert np.trace(confusion) / confusion.sum() == pytest.approx(made.trial.score)
    assert [each["examples"] for each in document["classes"]] == confusion.sum(axis=1).tolist()
    shown = orch("evaluate", made.trial.id[:6], "--split", "test").out
    assert "true \\ predicted" in shown
    assert "macro F1" in shown
    assert "on 359 test" in shown
    shown = orch("evaluate", made.trial.id[:6], "--split", "train").out
    assert "on 320 train" in shown, "what it was trained on, and nothing that it was judged by"


def test_classes_are_those_that_the_sweep_recorded(made: Trained) -> None:
    queries = Queries.open(f"sqlite:///{made.home.database}")
    record = queries.sweep(made.trial.sweep_id)
    queries.close()
    assert record is not None
    sweep = SweepSpec.from_json(record.spec)
    assert list(sweep.classes) == [str(digit) for digit in range(10)]
    trial = sweep.trial(0, made.trial.params, 1)
    for classes in (sweep.classes, list("abcdefghij")):
        wanted = replace(trial, classes=classes)
        found = inference.load(wanted, made.trial.plan, Workbench(made.home))
        assert found.classes == tuple(classes)
    for digest, why in ((trial.dataset_digest, None), ("0" * 64, "has changed since the sweep")):
        former = replace(trial, classes=(), dataset_digest=digest)  # of a sweep before
        with pytest.raises(DataError, match=why) if why else nullcontext():
            inference.load(former, made.trial.plan, Workbench(made.home))


def test_an_exported_model_says_what_predict_says(
    orch, made: Trained, digit_files: list[str]
) -> None:
    assert orch("export", made.trial.id, "--to", "model.keras").code == 0
    import keras

    model = keras.models.load_model("model.keras", safe_mode=True)
    images = [
        np.asarray(Image.open(file).resize((32, 32), Image.Resampling.BILINEAR))
        for file in digit_files
    ]
    theirs = np.asarray(model.predict(np.stack(images), verbose=0))
    document = json.loads(orch("predict", made.trial.id, *digit_files, "--json").out)
    for row, each in zip(theirs, document["predictions"], strict=True):
        ours = [each["probabilities"][str(digit)] for digit in range(10)]
        assert ours == pytest.approx(row.tolist(), rel=1e-4, abs=1e-6)


def test_an_export_never_replaces_a_file_unasked(orch, made: Trained, home: Home) -> None:
    Path("model.keras").write_text("mine")
    ran = orch("export", made.trial.id, "--to", "model.keras")
    assert (ran.code, Path("model.keras").read_text()) == (2, "mine")
    assert "model.keras exists; nothing was written" in ran.err
    assert orch("export", made.trial.id, "--to", "model.h5").code == 2
    ran = orch("export", made.trial.id, "--to", "nowhere/model.keras")
    assert ran.code == 2
    assert "the folder nowhere does not exist" in ran.err


def test_curves_are_drawn_and_written(orch, made: Trained, home: Home) -> None:
    ran = orch("trials", "show", made.trial.id, "--png", "curves.png")
    assert ran.code == 0, ran.err
    plot = ran.out[ran.out.index("┌") : ran.out.index("epoch  stage")]
    for word in ("training", "validation", "┤", "┬", "⠉"):
        assert word in plot
    border = max(line.count("│") for line in plot.splitlines())
    assert border > 4, "a line marks where the second stage begins"
    assert "\x1b" not in ran.out
    with Image.open("curves.png") as picture:
        assert picture.width >= 1000
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10
    queued = next(t for t in json.loads(orch("trials", "--json").out)["trials"] if t["number"])
    ran = orch("trials", "show", queued["id"], "--png", "nothing.png")
    assert ran.code == 3
    assert "there is no epoch to draw" in ran.err
    assert not Path("nothing.png").exists()
    ran = orch("trials", "show", made.trial.id, "--png", "curves.jpg")
    assert ran.code == 2
    assert "does not end in .png" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "words", [("export", "--to", "/proc/model.keras"), ("trials", "show", "--png", "/proc/c.png")]
)
def test_a_place_that_takes_no_file_is_said(
    orch, made: Trained, home: Home, words: tuple[str, ...]
) -> None:
    ran = orch(*words[:-2], made.trial.id, *words[-2:])
    assert ran.code == 5, ran.err
    assert f"{words[-1]} cannot be written" in ran.err
    assert "nothing else was changed" in ran.err
    assert "give another place" in ran.err


def test_a_trial_without_weights_says_so(orch, made: Trained, home: Home) -> None:
    listed = json.loads(orch("trials", "--json").out)["trials"]
    assert [each["weights"] for each in listed] == [True, False]
    other = listed[1]["id"]
    for words in (["predict", other, "x.png"], ["evaluate", other]):
        ran = orch(*words)
        assert ran.code == 3, ran.err
        assert f"the weights of trial {other[:6]} are not there" in ran.err
        assert "--keep N" in ran.err
    assert orch("evaluate", "ffffffff").code == 3


def test_weights_that_are_damaged_are_named(
    orch, made: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made.home.root, tmp_path / "copy")
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "copy"))
    file = tmp_path / "copy" / "checkpoints" / f"{made.trial.id}.npz"
    file.write_bytes(file.read_bytes()[:-500])
    ran = orch("evaluate", made.trial.id)
    assert ran.code == 4
    assert "is damaged" in ran.err
    assert "Traceback" not in ran.err


def test_an_exported_sigmoid_has_a_column_for_each_class(tmp_path: Path) -> None:
    import keras

    here = keras.Input((3,))
    head = keras.Model(here, keras.layers.Dense(1, activation="sigmoid")(here))
    trained = SimpleNamespace(model=head, classes=("cat", "dog"))
    inference.Trained.exported.fget(trained).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    inputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    dog = np.asarray(head.predict(inputs, verbose=0))
    expected = np.concatenate([1 - dog, dog], axis=1)
    assert np.asarray(model.predict(inputs, verbose=0)) == pytest.approx(expected, abs=1e-6)
