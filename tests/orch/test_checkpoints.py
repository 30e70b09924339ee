"""Weights that are kept: only what trained, only of the best, never unpickled."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from digit_trials import keeping, run, spec
from PIL import Image

from orch import catalog, evaluation
from orch.errors import DataError, NotFoundError
from orch.home import Home
from orch.training import checkpoints, inference
from orch.training.checkpoints import Kept
from orch.training.workbench import Workbench
from orch.trials import Objective, TrialSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(home: Home, bench: Workbench) -> inference.Trained:
    wanted = keeping(spec(home, frozen_layers=22, epochs=3))
    outcome, _ = run(wanted, bench)
    assert outcome.failure is None
    return inference.load(wanted, outcome.plan, bench)


def file_of(home: Home, wanted: TrialSpec) -> Path:
    return checkpoints.path(home.checkpoints, wanted.id)


def test_a_checkpoint_holds_what_trained_and_no_more(
    home: Home, trained: inference.Trained
) -> None:
    names = {name.split("/")[0] for name in checkpoints.load(file_of(home, trained.spec))}
    layers = trained.network.layers
    behind = {str(at) for at, layer in enumerate(layers) if at >= 22 and layer.weights}
    assert names == {*behind, "head"}
    assert len(behind) < sum(bool(layer.weights) for layer in layers)


def test_the_judgement_of_a_checkpoint_is_that_of_its_trial(
    home: Home, bench: Workbench, trained: inference.Trained
) -> None:
    outcome, _ = run(trained.spec, bench)
    again = inference.load(trained.spec, asdict(trained.plan), Workbench(home))
    labels, chances = inference.judge(again, "validation")
    assert (chances.argmax(axis=1) == labels).mean() == pytest.approx(outcome.score)
    assert len(inference.judge(again, "test")[0]) == 359


def test_a_split_that_is_not_there_is_named(trained: inference.Trained) -> None:
    with pytest.raises(NotFoundError, match=r"no split is called 'tset' \(did you mean test"):
        inference.judge(trained, "tset")


def test_a_file_is_predicted_as_the_example_it_was(
    home: Home, bench: Workbench, trained: inference.Trained, tmp_path: Path
) -> None:
    again = inference.load(trained.spec, asdict(trained.plan), bench)
    split = catalog.open_splits(home, "digits")["test"]
    for row in range(5):
        Image.fromarray(np.asarray(split.image(row))).save(tmp_path / f"{row}.png")
    images = [inference.read(again, tmp_path / f"{row}.png") for row in range(5)]
    chances = inference.predict(again, images)
    assert chances == pytest.approx(inference.judge(again, "test")[1][:5], rel=1e-4, abs=1e-6)


def test_a_trial_that_was_not_kept_says_how_to_keep_more(home: Home, bench: Workbench) -> None:
    wanted = spec(home, frozen_layers=22)
    outcome, _ = run(wanted, bench)
    plan = outcome.plan
    with pytest.raises(NotFoundError, match="keeps those of its best") as caught:
        inference.load(keeping(wanted, number=99), plan, bench)
    assert "--keep N" in caught.value.hint


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    checkpoints.save(file, {"head/0": np.ones(1000)})
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"t\.npz is damaged") as caught:
        checkpoints.load(file)
    assert caught.value.exit_code == 4


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "proof",)

    pickled = tmp_path / "evil.npy"
    with pickled.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(Evil(), file)
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.write(pickled, "head/0.npy")
    with pytest.raises(DataError):
        checkpoints.load(tmp_path / "t.npz")
    assert not (tmp_path / "proof").exists()


def test_weights_of_another_network_are_refused(trained: inference.Trained) -> None:
    whole = checkpoints.take(trained.network, trained.head, 22)
    for wrong, words in (
        ({**whole, "head/0": np.ones(3)}, "the weights of head do not fit"),
        ({name: each for name, each in whole.items() if "head" not in name}, "do not fit"),
        ({**whole, "99/0": np.ones(3)}, "the network has no weights 99/0"),
    ):
        with pytest.raises(DataError, match=words):
            checkpoints.put(trained.network, trained.head, wrong)


def test_layers_that_keras_numbers_are_found_in_another_build(tmp_path: Path) -> None:
    """InceptionV3 leaves most of its layers unnamed; their numbers differ from build to build."""
    from orch.contracts import Head, ImageInput, Plan
    from orch.training import backbones, models

    plan = Plan(ImageInput((75, 75)), Head(start="random"), ())
    first, second = (backbones.build("inceptionv3", (75, 75)) for _ in range(2))
    assert [layer.name for layer in first.layers] != [layer.name for layer in second.layers]
    heads = [models.head(network, plan, 3) for network in (first, second)]
    kept = checkpoints.take(first, heads[0], 200)
    checkpoints.put(second, heads[1], kept)
    again = checkpoints.take(second, heads[1], 200)
    assert kept.keys() == again.keys()
    assert all(np.array_equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize(
    ("objective", "left"),
    [(Objective(), {"b", "d"}), (Objective("val_loss", "minimize"), {"a", "c"})],
)
def test_only_the_best_are_kept(tmp_path: Path, objective: Objective, left: set[str]) -> None:
    kept = Kept(tmp_path, 2, objective)
    for name, score in (("a", 0.1), ("b", 0.9), ("c", 0.2), ("d", 0.5)):
        checkpoints.save(checkpoints.path(tmp_path, name), {"head/0": np.ones(1)})
        kept.add(name, score)
    assert {path.stem for path in tmp_path.iterdir()} == left


def test_what_was_saved_and_then_not_counted_is_deleted(tmp_path: Path) -> None:
    kept = Kept(tmp_path, 2, Objective())
    for name in ("best", "pruned", "others"):
        checkpoints.save(checkpoints.path(tmp_path, name), {"head/0": np.ones(1)})
    (tmp_path / ".pruned.npz.x1y2").write_bytes(b"half")
    kept.add("best", 0.9)
    kept.tidy(["best", "pruned", "never"])
    assert {path.name for path in tmp_path.iterdir()} == {"best.npz", "others.npz"}


def test_a_disk_that_refuses_the_weights_takes_nothing_from_the_trial(
    home: Home, bench: Workbench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(file: Path, weights: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    outcome, _ = run(keeping(spec(home, frozen_layers=22), number=7), bench)
    assert outcome.failure is None
    assert outcome.score is not None
    assert "was not written: [Errno 28]" in capsys.readouterr().err


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    checkpoints.save(checkpoints.path(tmp_path, "a"), {"head/0": np.ones(1)})
    Kept(tmp_path, 0, Objective()).add("a", 1.0)
    assert list(tmp_path.iterdir()) == []


def test_scores_of_each_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    chances = np.eye(4)[[0, 0, 1, 1, 0, 0]]
    found = evaluation.evaluate(labels, chances, ("a", "b", "c", "d"))
    assert found.accuracy == pytest.approx(0.5)
    assert found.confusion == ((2, 1, 0, 0), (1, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0))
    first, _, third, absent = found.classes
    assert (first.precision, first.recall, first.examples) == (0.5, pytest.approx(2 / 3), 3)
    assert (third.precision, third.f1, absent.examples) == (0.0, 0.0, 0)
    assert found.macro_f1 == pytest.approx((4 / 7 + 0.5 + 0 + 0) / 4)
