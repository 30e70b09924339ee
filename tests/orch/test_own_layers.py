"""A stranger's strategy with a head, an augmentation and a schedule of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from digit_trials import keeping, losses, run, spec

from orch import plans, registry
from orch.cli import trained
from orch.contracts import Augmentation, Head, Layers, Problem
from orch.errors import DataError, PluginError
from orch.home import Home
from orch.testing import StrategyContract
from orch.training import backbones, cuts, inference, models, trial
from orch.training.cuts import Cut
from orch.training.warm import NetworkShape
from orch.training.workbench import Keeping, Workbench
from orch.trials import EpochReport, TrialOutcome, TrialSpec, to_json

pytestmark = pytest.mark.slow

FOREIGN = Path(__file__).parent.parent / "foreign"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(FOREIGN)
    registry.forget()
    yield
    registry.forget()


def foreign(home: Home, seed: int = 7, **params: object) -> TrialSpec:
    """A trial of the stranger's strategy at its defaults but for these parameters."""
    return spec(home, seed, "foreign", **{"frozen_layers": 26, **params})


def made(home: Home, wanted: TrialSpec) -> Any:
    facts = backbones.describe(home, wanted.backbone)
    problem = Problem(registry.load_dataset("digits").facts, facts, 160)
    return plans.make(registry.load_strategy("foreign"), wanted.params, problem)


def ran(wanted: TrialSpec, bench: Workbench) -> tuple[TrialOutcome, list[EpochReport]]:
    found = run(wanted, bench)
    assert found[0].failure is None, found[0].failure
    return found


class TestForeign(StrategyContract):
    name = "foreign"


# ── the plan ────────────────────────────────────────────────────────────────────────────────


def test_a_plan_is_made_without_keras() -> None:
    program = (
        "import sys; from orch import plans, registry; from orch.contracts import Problem\n"
        "from orch.testing import TINY_BACKBONE; from orch.trials import to_json; import json\n"
        "problem = Problem(registry.load_dataset('digits').facts, TINY_BACKBONE, 100)\n"
        "strategy = registry.load_strategy('foreign')\n"
        "params = {p.name: p.default for p in strategy.parameters(problem)}\n"
        "print(json.dumps(to_json(plans.make(strategy, params, problem))))\n"
        "assert 'keras' not in sys.modules"
    )
    paths = os.pathsep.join([str(FOREIGN), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["head"]["layers"]["function"] == "foreign_strategy:attention"
    assert plan["head"]["layers"]["arguments"] == {"units": 16, "dropout": 0.4}
    assert len(plan["head"]["layers"]["source"]) == 16
    assert plan["stages"][0]["schedule"]["rate"]["function"] == "foreign_strategy:warmup"


def test_what_is_its_own_is_equal_by_function_and_arguments() -> None:
    import foreign_strategy as they

    one = Layers(they.normalized, {"units": 1, "dropout": 0.5})
    assert one == Layers(they.normalized, {"dropout": 0.5, "units": 1})
    assert hash(one) == hash(Layers(they.normalized, {"dropout": 0.5, "units": 1}))
    assert str(one) == "foreign_strategy:normalized(dropout=0.5, units=1)"
    for other in (
        Layers(they.attention, one.arguments),
        Layers(they.normalized, {"units": 2, "dropout": 0.5}),
        Layers(they.normalized, {"units": 1.0, "dropout": 0.5}),
        Layers(they.normalized, {"units": True, "dropout": 0.5}),
    ):
        assert one != other


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"head": "lambda"}, "foreign_strategy:<lambda> is not found by that name"),
        ({"head": "the layers"}, "plans a head with list where Layers(function, arguments)"),
        ({"head": "an argument"}, "normalized is given units=[16], which is no number"),
        ({"head": "both"}, "with both foreign_strategy:normalized and dense layers"),
        ({"head": "neither"}, "without pooling and without layers of its own"),
        ({"rate": "broken"}, "foreign_strategy:no_rate returned nan for epoch 1"),
        ({"rate": "none"}, "a schedule of kind 'own' without a rate of its own"),
        ({"rate": "unused"}, "a schedule of kind 'constant' with a rate of its own"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    home: Home, params: dict[str, object], words: str
) -> None:
    with pytest.raises(PluginError) as caught:
        made(home, foreign(home, **params))
    assert words in caught.value.message
    assert "the strategy 'foreign'" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 6
    outcome, reports = run(foreign(home, **params), Workbench(home))
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.message) == ("plugin", caught.value.message)
    assert reports == []


def test_a_sweep_whose_schedule_is_broken_does_not_start(orch: Any) -> None:
    done = orch("sweep", "digits", "--strategy", "foreign", "-S", "rate=broken")
    assert done.code == 6, done.err
    (line,) = [each for each in done.err.splitlines() if each.startswith("error: ")]
    assert line == (
        "error: the strategy 'foreign' is at fault: foreign_strategy:no_rate returned nan for "
        "epoch 1; a learning rate is finite and above 0"
    )
    assert "[]" in orch("sweeps", "--json").out, "nothing was recorded"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"head": "raises"}, "foreign_strategy:raises raised RuntimeError: no such thing"),
        ({"head": "no list"}, "no_list returned Dropout; a list of Keras layers belongs there"),
        ({"head": "no layers"}, "no_layers returned a list with str in it"),
        ({"head": "map left"}, "map_left ends in the shape (n, 2, 2, 128)"),
        ({"head": "wrong rank"}, "foreign_strategy:for_maps raised ValueError: "),
        ({"head": "once"}, "once returned the layer 'dense"),
        ({"head": "other each time"}, "returned other layers when it was called again"),
        ({"augment": "weights"}, "with_weights returned layers with weights"),
        ({"augment": "shape"}, "enlarged turns images of (n, 32, 32, 3) into (n, 64, 64, 3)"),
    ],
)
def test_what_cannot_be_trained_fails_the_trial_in_one_line(
    home: Home, bench: Workbench, params: dict[str, object], words: str
) -> None:
    outcome, reports = run(foreign(home, **params), bench)
    assert outcome.failure is not None
    assert outcome.failure.kind == "plugin", outcome.failure
    assert words in outcome.failure.message
    assert outcome.failure.message.startswith("the strategy 'foreign' is at fault: ")
    assert reports == []


def test_what_is_computed_behind_its_own_augmentation_is_not_stored(home: Home) -> None:
    plan = made(home, foreign(home, augment="cutout"))
    (cut,) = cuts.of_plan(backbones.describe(home, "vgg-mini"), plan)
    assert cut.layers == 0
    assert cut.reason == (
        "the strategy's own augmentation, foreign_strategy:cutout, is taken to be random"
    )


# ── the same numbers ────────────────────────────────────────────────────────────────────────

CASES: list[dict[str, object]] = [
    {"head": "attention"},
    {"head": "attention", "frozen_layers": 15},
    {"head": "normalized"},
]


@pytest.mark.parametrize("params", CASES)
def test_with_stored_features_and_without(home: Home, params: dict[str, object]) -> None:
    wanted = foreign(home, epochs=4, **params)
    stored = ran(wanted, Workbench(home))
    without = ran(wanted, Workbench(home, Keeping(features=False)))
    assert (stored[0].cut == "none", without[0].cut) == (False, "none")
    assert losses(stored[1]) == pytest.approx(losses(without[1]), rel=1e-5)
    rates = [each.metrics["learning_rate"] for each in stored[1]]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])


@pytest.mark.parametrize("params", [*CASES, {"augment": "cutout", "frozen_layers": 22}])
def test_after_another_trial_as_alone(home: Home, params: dict[str, object]) -> None:
    wanted = foreign(home, seed=11, **params)
    alone = losses(ran(wanted, Workbench(home))[1])
    shared = Workbench(home)
    ran(foreign(home, seed=3, **params, learning_rate=0.05), shared)
    assert losses(ran(wanted, shared)[1]) == alone
    assert losses(ran(replace(wanted, seed=12), shared)[1]) != alone


def test_in_a_fresh_process(home: Home) -> None:
    params = {"frozen_layers": 22, "augment": "cutout"}
    shared = Workbench(home)
    ran(foreign(home, seed=1, **params), shared)
    here = losses(ran(foreign(home, seed=2, **params), shared)[1])
    program = (
        "import json, sys; from pathlib import Path; from digit_trials import losses, run, spec\n"
        "from orch.home import Home; from orch.training.workbench import Workbench\n"
        "home, params = Home(Path(sys.argv[1])), json.loads(sys.argv[2])\n"
        "wanted = spec(home, 2, 'foreign', **params)\n"
        "print(json.dumps(losses(run(wanted, Workbench(home))[1])))"
    )
    paths = os.pathsep.join([str(FOREIGN), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program, str(home.root), json.dumps(params)],
        capture_output=True,
        text=True,
        cwd=FOREIGN.parent,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(here, rel=1e-6)


def test_after_a_pause(home: Home) -> None:
    wanted = foreign(home, epochs=6, augment="cutout", frozen_layers=22)
    keeping = Keeping(checkpoint_seconds=0)
    at_once = losses(ran(wanted, Workbench(home, keeping))[1])
    found: list[EpochReport] = []
    for attempt, until in enumerate((2, 6), start=1):
        again = replace(wanted, attempt=attempt, known_epochs=len(found))
        running = trial.trial_steps(again, Workbench(home, keeping))
        epochs = (each for each in running if isinstance(each, EpochReport))
        found += islice(epochs, until - len(found))
        running.close()
    assert [each.epoch for each in found] == list(range(1, 7))
    assert losses(found) == pytest.approx(at_once, rel=1e-5)


def test_its_own_augmentation_acts_in_training_only(home: Home, bench: Workbench) -> None:
    """It halves every image, and does not ask whether it trains."""
    wanted = foreign(home, augment="always")
    plan = replace(made(home, wanted), head=Head(start="random"))
    network = bench.network(NetworkShape("vgg-mini", (32, 32), wanted.weights_digest))
    head = models.head(network, plan, 10)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    none = replace(plan, augmentation=Augmentation())
    models.freeze(network, len(network.layers))
    bright, own = (
        models.trained_part(network, "vgg-mini", each, Cut.none("a test"), head)
        for each in (none, plan)
    )
    expected = np.asarray(bright(images, training=False))
    assert np.allclose(own(images, training=False), expected, atol=1e-6)
    assert not np.allclose(own(images, training=True), expected, atol=1e-3)
    assert np.allclose(bright(images, training=True), expected, atol=1e-6)


def test_python_and_numpy_draw_on_as_if_nothing_was_drawn() -> None:
    import random

    from orch.training import own_layers

    python, numpy = random.getstate(), np.random.get_state()
    with own_layers.seeded(3):
        random.random(), np.random.random()
    assert random.getstate() == python
    assert all(map(np.array_equal, np.random.get_state(), numpy))


# ── afterwards ──────────────────────────────────────────────────────────────────────────────


def test_its_weights_are_kept_and_predict_and_the_model_loads(home: Home, tmp_path: Path) -> None:
    bench = Workbench(home)
    wanted = keeping(foreign(home, epochs=3, frozen_layers=22, augment="cutout"), 31)
    outcome, reports = ran(wanted, bench)
    recorded = json.loads(json.dumps(outcome.plan))
    loaded = inference.load(wanted, recorded, Workbench(home))
    labels, chances = inference.judge(loaded, "validation")
    best = max(each.metrics["val_accuracy"] for each in reports)
    assert (chances.argmax(axis=1) == labels).mean() == pytest.approx(best)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    expected = inference.predict(loaded, list(images))
    loaded.model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras")
    assert np.allclose(again.predict_on_batch(images), expected, atol=1e-6)
    names = {type(layer).__name__ for layer in again._flatten_layers()}
    assert "AttentionPooling" in names
    assert "InTrainingOnly" not in names


def test_an_exported_head_says_what_it_needs(
    home: Home, tmp_path: Path, orch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = keeping(foreign(home, epochs=1), 33)
    outcome, _ = ran(wanted, Workbench(home))
    loaded = inference.load(wanted, outcome.plan, Workbench(home))
    monkeypatch.setattr(trained, "_load", lambda prefix: loaded)
    done = orch("export", "any", "--to", str(tmp_path / "model.keras"))
    assert done.code == 0, done.err
    assert "it holds layers of foreign_strategy: import that before keras.models" in done.err
    assert (tmp_path / "model.keras").is_file()


def test_a_head_that_has_changed_is_not_given_the_weights_of_another(home: Home) -> None:
    wanted = keeping(foreign(home, epochs=1), 32)
    outcome, _ = ran(wanted, Workbench(home))
    recorded = json.loads(json.dumps(outcome.plan))
    recorded["head"]["layers"]["source"] = "0" * 16
    with pytest.raises(DataError, match="the strategy 'foreign' has changed") as caught:
        inference.load(wanted, recorded, Workbench(home))
    assert "foreign_strategy:attention" in caught.value.message
    assert caught.value.exit_code == 4


def test_a_change_of_the_source_changes_what_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found: list[Any] = []
    for number, body in enumerate(("return []", "return [1]")):
        (tmp_path / f"made_{number}.py").write_text(f"def head():\n    {body}\n")
        module = __import__(f"made_{number}")
        found.append(to_json(Layers(module.head)))
    assert found[0]["source"] != found[1]["source"]
    assert found[0]["function"] == "made_0:head"


def test_the_example_in_the_documents_trains(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (FOREIGN.parent.parent / "docs" / "own-layers.md").read_text()
    (tmp_path / "birds_strategy.py").write_text(page.split("```python")[1].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    strategy = __import__("birds_strategy").Normalized()
    monkeypatch.setattr(registry, "load_strategy", lambda name: strategy)
    outcome, reports = ran(spec(home, strategy="normalized"), Workbench(home))
    assert outcome.cut == "none"
    rates = [each.metrics["learning_rate"] for each in reports]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, *[1e-3] * 8])


def test_its_parameters_are_shown_with_range_and_help(orch: Any) -> None:
    shown = orch("strategies", "show", "foreign")
    assert shown.code == 0, shown.err
    (line,) = [each for each in shown.out.splitlines() if each.startswith("units")]
    words = ["units", "int(8,64)", "16", "int(1,512)", "width", "of", "the", "head"]
    assert line.split() == words
    table = json.loads(orch("strategies", "show", "foreign", "--json").out)
    assert {each["what it is"] for each in table["parameters"]} > {"fraction dropped", "step size"}
