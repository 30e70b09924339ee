"""Plans of several stages, schedules, augmentation, other heads. Keras is real."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from digit_trials import keeping, losses, run, spec

from orch import installing, registry
from orch.contracts import (
    Augmentation,
    Dense,
    Head,
    ImageInput,
    Optimizer,
    Plan,
    Problem,
    Schedule,
    Stage,
)
from orch.home import Home
from orch.testing import silent
from orch.training import (
    anatomy,
    arrays,
    augment,
    backbones,
    checkpoints,
    cuts,
    eviction,
    fit,
    models,
    schedules,
)
from orch.training.workbench import Workbench
from orch.trials import Objective, TrialSpec, plan_from_json

pytestmark = pytest.mark.slow

DEPTH = 26  # layers of vgg-mini


def stage(**changes: object) -> Stage:
    return replace(Stage(0, Optimizer("sgd", 0.1), epochs=10, batch_size=4), **changes)


def weights_of(home: Home, wanted: TrialSpec) -> dict[str, np.ndarray]:
    return checkpoints.load(checkpoints.path(home.checkpoints, wanted.id))


# ── several stages ──────────────────────────────────────────────────────────────────────────


def test_the_second_stage_starts_where_the_first_ended(home: Home, bench: Workbench) -> None:
    """With a rate of almost nothing the second stage only judges what the first one left.

    Everything is frozen in it: batch normalisation that trains moves its means at any rate.
    """
    both = spec(home, strategy="two-stage", head_epochs=3, learning_rate=1e-9, frozen_layers=DEPTH)
    outcome, reports = run(both, bench)
    assert outcome.failure is None
    assert [report.stage for report in reports] == [1, 1, 1, 2, 2]
    left = reports[_best(reports[:3]) - 1].metrics
    assert reports[3].metrics["val_accuracy"] == left["val_accuracy"]
    assert reports[3].metrics["val_loss"] == pytest.approx(left["val_loss"], rel=1e-5)


def _best(reports: list) -> int:
    return max(reports, key=lambda r: (r.metrics["val_accuracy"], -r.epoch)).epoch


def test_the_first_stage_is_that_of_the_same_trial_alone(home: Home, bench: Workbench) -> None:
    alone = spec(home, strategy="feature-extraction", epochs=2, learning_rate=1e-2)
    both = spec(
        home, strategy="two-stage", head_epochs=2, head_learning_rate=1e-2, frozen_layers=15
    )
    assert losses(run(alone, bench)[1]) == pytest.approx(losses(run(both, bench)[1][:2]), rel=1e-5)


def test_two_stages_are_the_same_with_and_without_stored_features(
    home: Home, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spec(home, strategy="two-stage", head_epochs=2, frozen_layers=22)
    stored = run(wanted, bench)
    nothing = cuts.Cut(0, "none", "switched off")
    monkeypatch.setattr(cuts, "choose", lambda facts, frozen: nothing)
    assert losses(run(wanted, bench)[1]) == pytest.approx(losses(stored[1]), rel=1e-5)


def test_a_deeper_cut_is_computed_from_the_shallower_one(home: Home, tmp_path: Path) -> None:
    """The whole network never runs twice over the same examples."""
    own = Home(tmp_path)
    installing.install(own, "digits", None, silent)
    seen: list[tuple[int, int]] = []
    between = models.between

    def noted(network, backbone, plan, start, cut):
        seen.append((start, cut.layers))
        return between(network, backbone, plan, start, cut)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "between", noted)
        wanted = spec(own, strategy="two-stage", head_epochs=1, epochs=1, frozen_layers=15)
        assert run(wanted, Workbench(own))[0].failure is None
    depth = len(backbones.describe(own, "vgg-mini").layers)
    assert set(seen) == {(0, 15), (15, depth)}


def test_stored_arrays_that_are_damaged_change_no_number(home: Home, tmp_path: Path) -> None:
    """A bit of every stored array is flipped: all are computed again, and nothing is wrong."""
    own = Home(tmp_path)
    installing.install(own, "digits", None, silent)
    wanted = spec(own, epochs=2, frozen_layers=15)
    _, clean = run(wanted, Workbench(own))
    stored = [path for path in own.store.rglob(eviction.DATA) if path.stat().st_size]
    assert len(stored) == 4, "examples and features, of training and of validation"
    for path in stored:
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
    outcome, again = run(wanted, Workbench(own))
    assert outcome.failure is None
    assert losses(again) == losses(clean)


def test_an_array_whose_file_is_gone_is_not_there(tmp_path: Path) -> None:
    (tmp_path / eviction.MANIFEST).touch()
    assert arrays._identity(tmp_path) is None


def test_what_an_earlier_stage_trained_is_not_taken_from_the_store() -> None:
    stages = tuple(stage(frozen_layers=count) for count in (19, 7, 15))
    plan = Plan(ImageInput((32, 32)), Head(), stages)
    facts = anatomy.inspect("vgg16", 224, 32, backbones.build("vgg16", (32, 32)))
    assert [cut.layers for cut in cuts.of_plan(facts, plan)] == [19, 7, 7]


@pytest.mark.parametrize("restore", [True, False])
def test_a_stage_leaves_the_weights_of_its_best_epoch_or_of_its_last(
    home: Home, bench: Workbench, restore: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of three epochs is made the best; the second stage starts from it, or not."""
    evaluate, judged = fit.evaluate, []

    def falling(*words: object) -> dict[str, float]:
        judged.append(evaluate(*words))
        return {**judged[-1], "val_accuracy": 1.0 / len(judged)}

    monkeypatch.setattr(fit, "evaluate", falling)
    wanted = keeping(
        spec(home, strategy="two-stage", head_epochs=3, epochs=1, learning_rate=1e-9,
             frozen_layers=DEPTH)
    )  # fmt: skip
    strategy = registry.load_strategy("two-stage")
    plan = strategy.plan

    def planned(params: object, problem: Problem) -> Plan:
        made = plan(params, problem)
        first = replace(made.stages[0], restore_best=restore)
        return replace(made, stages=(first, made.stages[1]))

    monkeypatch.setattr(strategy, "plan", planned)
    monkeypatch.setattr(registry, "load_strategy", lambda name: strategy)
    outcome, _ = run(wanted, bench)
    assert outcome.failure is None
    assert outcome.best_epoch == 1
    start = judged[3]["val_loss"]
    assert start == pytest.approx(judged[0 if restore else 2]["val_loss"], rel=1e-5)
    assert judged[0]["val_loss"] != pytest.approx(judged[2]["val_loss"], rel=1e-3)
    monkeypatch.setattr(fit, "evaluate", evaluate)
    from orch.training import inference

    labels, chances = inference.judge(inference.load(wanted, outcome.plan, bench), "validation")
    truth = chances[np.arange(len(labels)), labels]
    assert -np.log(truth).mean() == pytest.approx(judged[0]["val_loss"], rel=1e-4)


# ── learning rates ──────────────────────────────────────────────────────────────────────────


def rates(schedule: Schedule, values: list[float], first: float = 0.1) -> list[float]:
    """The rate of each epoch, the objective being `values` after each."""
    wanted = stage(optimizer=Optimizer("sgd", first), schedule=schedule, epochs=len(values))
    return [schedules.rate(wanted, values[:at], Objective()) for at in range(len(values))]


def test_rates_follow_their_formula() -> None:
    flat = [0.0] * 4
    assert rates(Schedule(), flat) == [0.1] * 4
    inverse = rates(Schedule("inverse-time", factor=30), flat, first=0.001)
    assert inverse == pytest.approx([0.001, 0.001 / 31, 0.001 / 61, 0.001 / 91])
    assert rates(Schedule("exponential", factor=0.5), flat) == [0.1, 0.05, 0.025, 0.0125]
    cosine = rates(Schedule("cosine", minimum=0.02), flat)
    assert cosine == pytest.approx([0.1, 0.06 + 0.04 * math.sqrt(0.5), 0.06, 0.0317157], rel=1e-4)


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7],
        [0.5, 0.4, 0.3, 0.2, 0.1, 0.6, 0.5, 0.4, 0.3, 0.2],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    ],
)
def test_plateaus_are_those_of_keras(values: list[float]) -> None:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    theirs = keras.callbacks.ReduceLROnPlateau(
        monitor="val_accuracy", mode="max", factor=0.6, patience=2, min_lr=0.03, min_delta=0
    )
    theirs.set_model(model)
    theirs.on_train_begin()
    expected: list[float] = []
    for epoch, value in enumerate(values):
        expected.append(float(model.optimizer.learning_rate))
        theirs.on_epoch_end(epoch, {"val_accuracy": value})
    schedule = Schedule("plateau", factor=0.6, patience=2, minimum=0.03)
    assert rates(schedule, values) == pytest.approx(expected, rel=1e-6)


def test_a_plateau_never_raises_the_rate() -> None:
    assert rates(Schedule("plateau", 0.6, 1, minimum=0.5), [0.5] * 4) == [0.1] * 4


def test_a_cosine_never_raises_the_rate() -> None:
    assert rates(Schedule("cosine", minimum=0.5), [0.5] * 4) == [0.1] * 4


def test_rates_reach_the_optimizer_and_the_report(home: Home, bench: Workbench) -> None:
    wanted = spec(
        home, epochs=3, learning_rate=0.01, schedule="exponential", decay=0.0, frozen_layers=DEPTH
    )
    _, reports = run(wanted, bench)
    assert [r.metrics["learning_rate"] for r in reports] == [0.01, 0.0, 0.0]
    assert reports[1].metrics["val_loss"] == pytest.approx(reports[2].metrics["val_loss"], rel=1e-6)


def test_a_stage_ends_early_where_nothing_improves(home: Home, bench: Workbench) -> None:
    frozen = spec(
        home, epochs=9, learning_rate=1e-9, frozen_layers=DEPTH, stop_after=2, start="random"
    )
    _, reports = run(frozen, bench)
    assert [report.epoch for report in reports] == [1, 2, 3]


# ── heads ───────────────────────────────────────────────────────────────────────────────────


def test_heads_have_the_layers_that_the_plan_says() -> None:
    network = backbones.build("vgg16", (64, 64))
    dense = (Dense(512, 0.5), Dense(256))
    plan = Plan(ImageInput((64, 64)), Head("flatten", dense, start="random"), ())
    kinds = [type(layer).__name__ for layer in models.head(network, plan, 8).layers]
    assert kinds == ["InputLayer", "Dense", "Dropout", "Dense", "Dense"]
    assert models.head(network, plan, 8).input_shape == (None, 2 * 2 * 512)
    average = Plan(ImageInput((64, 64)), Head("average", dropout=0.3), ())
    assert models.head(network, average, 8).input_shape == (None, 512)


def test_a_sigmoid_head_says_what_a_softmax_of_two_says() -> None:
    import keras

    network = backbones.build("vgg16", (32, 32))
    features = np.random.default_rng(0).normal(size=(50, 512)).astype("float32")
    labels = (features[:, 0] > 0).astype(np.int64)
    examples = fit.Examples(features, labels)
    for output in ("sigmoid", "softmax"):
        keras.utils.set_random_seed(0)
        plan = Plan(ImageInput((32, 32)), Head(output=output), ())
        head = models.head(network, plan, 2)
        wanted = stage(optimizer=Optimizer("adam", 0.01), epochs=30)
        models.compile_for(head, wanted, plan.head)
        rng = np.random.default_rng(0)
        *_, last = fit.train(head, examples, examples, wanted, Objective(), rng)
        assert last.metrics["accuracy"] > 0.95
        assert last.metrics["val_accuracy"] == 1.0
        assert fit.probabilities(head, features, 8).sum(axis=1) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_learns(home: Home, bench: Workbench, name: str) -> None:
    rate = 0.05 if name == "sgd" else 0.01
    wanted = spec(
        home, optimizer=name, learning_rate=rate, weight_decay=1e-4, batch_size=8, frozen_layers=26
    )
    _, reports = run(wanted, bench)
    assert reports[-1].metrics["loss"] < 0.95 * reports[0].metrics["loss"]


# ── augmentation ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "wanted",
    [
        Augmentation(zoom=0.9),
        Augmentation(rotation=180),
        Augmentation(shift=0.9),
        Augmentation(shear=0.9),
        Augmentation(flip=True),
        Augmentation(0.2, 30, 0.2, 0.2, True),
    ],
)
def test_augmentation_keeps_shape_and_range_and_is_quiet_outside_training(
    wanted: Augmentation,
) -> None:
    import keras

    images = np.random.default_rng(0).integers(0, 256, (32, 24, 20, 3)).astype("float32")
    images[0], images[1] = 0, 255
    changed, seen = keras.ops.convert_to_tensor(images), images
    for layer in augment.layers(wanted):
        assert np.array_equal(np.asarray(layer(images, training=False)), images)
        changed = layer(changed, training=True)
    seen = np.asarray(changed)
    assert seen.shape == images.shape
    assert seen.min() >= -1e-3
    assert seen.max() <= 255 + 1e-3
    assert np.allclose(seen[0], 0, atol=1e-3)
    assert np.allclose(seen[1], 255, atol=1e-2), "what comes in from outside is the nearest pixel"
    assert not np.allclose(seen[2:], images[2:])


def test_augmented_examples_are_never_taken_from_the_store(home: Home, bench: Workbench) -> None:
    wanted = spec(home, strategy="augmented", frozen_layers=22, epochs=1, rotation=30.0)
    outcome, reports = run(wanted, bench)
    assert outcome.failure is None
    assert outcome.cut == "none"
    plain = run(spec(home, frozen_layers=22, epochs=1), bench)[1]
    assert losses(reports)[0] != pytest.approx(losses(plain)[0], rel=1e-3)


def test_the_plan_says_why_nothing_is_computed_once() -> None:
    facts = anatomy.inspect("vgg16", 224, 32, backbones.build("vgg16", (32, 32)))
    plan = Plan(ImageInput((32, 32)), Head(), (stage(frozen_layers=19),), Augmentation(zoom=0.1))
    (cut,) = cuts.of_plan(facts, plan)
    assert (cut.layers, cut.reason) == (0, "augmentation changes the examples in every epoch")


# ── plans are data ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", registry.strategy_names())
def test_plans_survive_being_written_and_read(home: Home, strategy: str) -> None:
    import json

    wanted = spec(home, strategy=strategy, head_units=16, dropout=0.5)
    problem = Problem(
        registry.load_dataset("digits").facts, backbones.describe(home, "vgg-mini"), 160
    )
    plan = registry.load_strategy(strategy).plan(wanted.params, problem)
    assert plan_from_json(json.loads(json.dumps(asdict(plan)))) == plan
