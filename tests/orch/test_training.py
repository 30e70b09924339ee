"""Training without Ray: backbones, features, exactness, failures. Keras is real."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from digit_trials import losses, run, spec

from orch import installing, registry
from orch.contracts import Head, ImageInput, Optimizer, Plan, Stage, StrategyFacts
from orch.errors import DataError
from orch.home import Home
from orch.sweeps import halts
from orch.testing import silent
from orch.training import anatomy, backbones, cuts, eviction, fit, models, trial, weight_files
from orch.training.applications import APPLICATIONS
from orch.training.cuts import Cut
from orch.training.features import Reader
from orch.training.fit import Examples
from orch.training.warm import NetworkShape
from orch.training.workbench import Keeping, Workbench
from orch.trials import EpochReport, Filling, Objective, TrialOutcome

pytestmark = pytest.mark.slow


def vgg_mini(home: Home) -> str:
    """The digest of the weights that come with orch."""
    weights = backbones.find_weights(home, "vgg-mini")
    assert weights is not None
    return weights.digest


# ── backbones ───────────────────────────────────────────────────────────────────────────────


def test_the_table_of_applications_is_that_of_keras() -> None:
    import keras

    modules = {
        name: module
        for name, module in vars(keras.applications).items()
        if isinstance(module, types.ModuleType) and hasattr(module, "preprocess_input")
    }
    offered = {
        name
        for owner in (keras.applications, *modules.values())
        for name in vars(owner)
        if name[0].isupper()
    }
    assert {each.function for each in APPLICATIONS.values()} == offered
    assert {each.module for each in APPLICATIONS.values()} <= set(modules)


def test_vgg16_is_cut_as_the_articles_count() -> None:
    network = backbones.build("vgg16", (32, 32))
    facts = anatomy.inspect("vgg16", 224, 32, network)
    assert len(facts.layers) == 19
    assert facts.stages == (0, 4, 7, 11, 15, 19)
    assert [facts.canonical(count) for count in (0, 1, 14, 15, 16, 18, 19)] == [
        0,
        0,
        15,
        15,
        16,
        19,
        19,
    ]


def test_a_branching_network_is_cut_between_its_blocks_only() -> None:
    network = backbones.build("mobilenetv2", (32, 32))
    facts = anatomy.inspect("mobilenetv2", 224, 32, network)
    names = [layer.name for layer in facts.layers]
    for cut in facts.cuts[1:]:
        after = names[cut:]
        for layer in network.layers[cut:]:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            origins = {each._keras_history.operation.name for each in inputs}
            assert origins <= {*after, names[cut - 1]}, f"{layer.name} reads past the cut {cut}"


def test_vgg_mini_comes_with_its_weights(home: Home) -> None:
    weights = backbones.find_weights(home, "vgg-mini")
    assert weights is not None
    assert weights.path.stat().st_size <= 2_000_000
    network = backbones.load("vgg-mini", (32, 32), weights)
    assert weight_files.digest(network) == weights.digest


def test_each_network_has_its_own_preprocessing() -> None:
    import keras

    images = np.arange(2 * 4 * 4 * 3, dtype="float32").reshape(2, 4, 4, 3)
    ours = np.asarray(backbones.preprocess("vgg16", keras.ops.convert_to_tensor(images)))
    assert np.allclose(ours, keras.applications.vgg16.preprocess_input(images.copy()), atol=1e-4)
    other = np.asarray(backbones.preprocess("resnet50v2", keras.ops.convert_to_tensor(images)))
    assert np.allclose(other, images / 127.5 - 1, atol=1e-6)


def test_added_weights_are_found_and_a_change_is_noticed(tmp_path: Path) -> None:
    own, network = Home(tmp_path), backbones.build("mobilenetv2", (64, 64))
    file = tmp_path / "some.weights.h5"
    network.save_weights(file)
    added = backbones.add_weights(own, "mobilenetv2", file)
    assert backbones.find_weights(own, "mobilenetv2") == added
    backbones.build("mobilenetv2", (64, 64)).save_weights(added.path)
    with pytest.raises(DataError, match="digest of its arrays has changed"):
        backbones.load("mobilenetv2", (64, 64), added)


def test_weights_are_taken_from_an_extra_folder(tmp_path: Path) -> None:
    network = backbones.build("mobilenetv2", (64, 64))
    (tmp_path / "files").mkdir()
    network.save_weights(tmp_path / "files" / "mobilenetv2_notop.weights.h5")
    found = backbones.ensure_weights(
        Home(tmp_path / "home"), "mobilenetv2", str(tmp_path / "files"), silent
    )
    assert found.digest == weight_files.digest(network)


def test_weights_that_cannot_be_fetched_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def refuse(*_: object, **__: object) -> None:
        raise Exception("URL fetch failure on https://…: None -- no route")

    monkeypatch.setattr(keras.applications, "VGG16", refuse)
    with pytest.raises(DataError, match=r"cannot be fetched .*no route") as caught:
        backbones.ensure_weights(Home(tmp_path), "vgg16", "", silent)
    assert caught.value.exit_code == 4
    assert "orch backbones add vgg16 --from FILE" in caught.value.hint


# ── features ────────────────────────────────────────────────────────────────────────────────


def test_features_equal_the_network_before_the_cut(home: Home, bench: Workbench) -> None:
    facts = backbones.describe(home, "vgg-mini")
    network = bench.network(NetworkShape("vgg-mini", (32, 32), vgg_mini(home)))
    models.freeze(network, len(facts.layers))
    plan = Plan(ImageInput((32, 32)), Head(), ())
    top = models.head(network, plan, 10)
    examples = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    whole = models.trained_part(network, "vgg-mini", plan, Cut(0, "none", ""), top)
    expected = fit.predict(whole, examples, 5)
    former, source = 0, examples
    for cut in facts.cuts[1:]:
        at = Cut(cut, "", "")
        tail = models.trained_part(network, "vgg-mini", plan, at, top)
        before = models.between(network, "vgg-mini", plan, 0, at)
        stored = fit.predict(before, examples, 2)
        assert stored.shape[1:] == models.feature_shape(network, at, plan.head)
        assert np.allclose(fit.predict(tail, stored, 5), expected, rtol=1e-5, atol=1e-6)
        further = models.between(network, "vgg-mini", plan, former, at)
        assert np.allclose(fit.predict(further, source, 2), stored, rtol=1e-5, atol=1e-6)
        former, source = cut, stored


@pytest.mark.parametrize("depth", [8, 22, 26])
def test_a_trial_is_the_same_with_and_without_stored_features(
    home: Home, bench: Workbench, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spec(home, frozen_layers=depth)
    stored = run(wanted, bench)
    monkeypatch.setattr(cuts, "choose", lambda facts, frozen: Cut(0, "none", "switched off"))
    whole = run(wanted, bench)
    assert (stored[0].cut, whole[0].cut) == (
        {8: "block1_pool", 22: "block3_pool", 26: "block4_pool"}[depth],
        "none",
    )
    assert losses(stored[1]) == pytest.approx(losses(whole[1]), rel=1e-5)


def test_features_that_were_pooled_otherwise_are_not_mistaken(
    home: Home, bench: Workbench, tmp_path: Path
) -> None:
    run(spec(home, frozen_layers=26, pooling="average"), bench)
    shared = run(spec(home, frozen_layers=26, pooling="max"), bench)
    own = Home(tmp_path)
    installing.install(own, "digits", None, silent)
    fresh = run(spec(own, frozen_layers=26, pooling="max"), Workbench(own))
    assert losses(shared[1]) == pytest.approx(losses(fresh[1]), rel=1e-5)


def test_features_for_which_there_is_no_room_are_not_stored(tmp_path: Path) -> None:
    home = Home(tmp_path)
    installing.install(home, "digits", None, silent)
    examples = 200 * 32 * 32 * 3
    block1 = 200 * 16 * 16 * 32 * 4
    headers = 4 * 128
    wanted = spec(home, frozen_layers=8, epochs=1)
    crowded, _ = run(wanted, Workbench(home, Keeping(examples + block1 - 1)))
    assert (crowded.cut, crowded.failure) == ("none", None)
    roomy, _ = run(wanted, Workbench(home, Keeping(examples + block1 + headers)))
    assert roomy.cut == "block1_pool"
    again, _ = run(wanted, Workbench(home, Keeping(1)))
    assert again.cut == "block1_pool", "what is stored takes no more room"


def test_a_trial_started_while_another_fills_reads_the_same_features(tmp_path: Path) -> None:
    """The room that the first has reserved is not asked for once more."""
    home = Home(tmp_path)
    installing.install(home, "digits", None, silent)
    limit = 200 * 32 * 32 * 3 + 200 * 16 * 16 * 32 * 4 + 4 * 128
    wanted = spec(home, frozen_layers=8, epochs=1)
    filling = trial.trial_steps(wanted, Workbench(home, Keeping(limit)))
    for step in filling:
        assert isinstance(step, Filling)
        if "computing block1_pool" in step.what:
            break
    second, _ = run(replace(wanted, number=1), Workbench(home, Keeping(limit)))
    assert (second.cut, second.failure) == ("block1_pool", None)
    filling.close()


def test_room_that_another_takes_meanwhile_costs_the_features_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    installing.install(home, "digits", None, silent)
    wanted = spec(home, frozen_layers=8, epochs=1)
    known = losses(run(wanted, Workbench(home, Keeping(features=False)))[1])
    monkeypatch.setattr(Reader, "affordable", lambda self, cuts, roles: list(cuts))
    outcome, reports = run(wanted, Workbench(home, Keeping(200 * 32 * 32 * 3 + 4 * 128)))
    assert (outcome.cut, outcome.failure) == ("none", None)
    assert losses(reports) == pytest.approx(known, rel=1e-5)


def test_what_does_not_fit_says_what_helps(tmp_path: Path) -> None:
    home = Home(tmp_path)
    installing.install(home, "digits", None, silent)
    outcome, _ = run(spec(home, frozen_layers=8), Workbench(home, Keeping(1000)))
    assert outcome.failure is not None
    assert outcome.failure.kind == "storage"
    error = halts.no_room("012345", outcome.failure).error
    assert error is not None
    assert error.hint == (
        "set ORCH_CACHE_BYTES higher, or sweep with a --limit, then: orch sweeps resume 012345"
    )


def test_what_another_sweep_left_makes_room(tmp_path: Path) -> None:
    home = Home(tmp_path)
    installing.install(home, "digits", None, silent)
    examples, block2, headers = 200 * 32 * 32 * 3, 200 * 8 * 8 * 64 * 4, 4 * 128
    limit = examples + block2 + headers
    bench = Workbench(home, Keeping(limit))

    def tried(sweep: str, depth: int) -> tuple[TrialOutcome, list[float]]:
        outcome, reports = run(
            replace(spec(home, frozen_layers=depth, epochs=1), sweep=sweep), bench
        )
        assert outcome.failure is None
        return outcome, losses(reports)

    first = tried("first", 15)
    assert first[0].cut == "block2_pool"
    assert tried("first", 26)[0].cut == "none", "it would have to delete what it uses itself"
    assert tried("other", 8)[0].cut == "none", "it takes more than there is"
    assert tried("other", 26)[0].cut == "block4_pool"
    assert sum(each.bytes for each in eviction.stored(home.store)) <= limit
    assert tried("first", 15)[1] == first[1]


def test_a_sweep_may_store_some_cuts_only(home: Home, bench: Workbench) -> None:
    wanted = spec(home, frozen_layers=22, epochs=1)
    whole, reports = run(wanted, bench)
    shallower, same = run(replace(wanted, stored_cuts=[8, 15]), bench)
    nothing, also = run(replace(wanted, stored_cuts=[26]), bench)
    assert (whole.cut, shallower.cut, nothing.cut) == ("block3_pool", "block2_pool", "none")
    for each in (same, also):
        assert losses(each) == pytest.approx(losses(reports), rel=1e-5)


def test_weights_that_are_not_all_real_numbers_are_counted_right(tmp_path: Path) -> None:
    file = tmp_path / "b0.weights.h5"
    backbones.build("efficientnetb0", (64, 64)).save_weights(file)
    added = backbones.add_weights(Home(tmp_path / "home"), "efficientnetb0", file)
    network = backbones.load("efficientnetb0", (64, 64), added)
    assert weight_files.digest(network) == added.digest


def test_a_branching_network_trains_behind_its_cut(
    home: Home, bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "untrained.weights.h5"
    backbones.build("mobilenetv2", (64, 64)).save_weights(file)
    digest = backbones.add_weights(home, "mobilenetv2", file).digest
    wanted = replace(
        spec(home, frozen_layers=120, epochs=1), backbone="mobilenetv2", weights_digest=digest
    )
    stored = run(wanted, bench)
    assert stored[0].failure is None
    assert stored[0].cut == backbones.describe(home, "mobilenetv2").layers[119].name
    monkeypatch.setattr(cuts, "choose", lambda facts, frozen: Cut(0, "none", "switched off"))
    whole = run(wanted, bench)
    assert losses(stored[1]) == pytest.approx(losses(whole[1]), rel=1e-5)


def test_a_warm_process_gives_what_a_fresh_one_gives(home: Home, bench: Workbench) -> None:
    run(spec(home, frozen_layers=0, optimizer="sgd"), bench)  # leaves every weight changed
    warm = run(spec(home, frozen_layers=15), bench)
    fresh = run(spec(home, frozen_layers=15), Workbench(home))
    assert losses(warm[1]) == pytest.approx(losses(fresh[1]), rel=1e-5)


def test_frozen_layers_do_not_change_and_the_others_do(home: Home, bench: Workbench) -> None:
    published = bench.network(NetworkShape("vgg-mini", (32, 32), vgg_mini(home))).get_weights()
    run(spec(home, frozen_layers=15), bench)
    network, _ = bench._networks[NetworkShape("vgg-mini", (32, 32), vgg_mini(home))]
    frozen = sum(len(layer.weights) for layer in network.layers[:15])
    trained = network.get_weights()
    assert all(map(np.array_equal, trained[:frozen], published[:frozen]))
    assert not any(map(np.array_equal, trained[frozen:], published[frozen:]))


def test_other_seeds_and_other_weights_give_other_results(home: Home, bench: Workbench) -> None:
    base = spec(home, frozen_layers=22)
    assert losses(run(base, bench)[1]) != losses(run(replace(base, seed=8), bench)[1])


# ── one stage ───────────────────────────────────────────────────────────────────────────────


class Recorder:
    """Stands in for a model: remembers what it was shown."""

    def __init__(self) -> None:
        self.optimizer = types.SimpleNamespace(learning_rate=0.0)
        self.batches: list[np.ndarray] = []

    def train_on_batch(self, x: np.ndarray, y: np.ndarray, return_dict: bool) -> dict[str, float]:
        self.batches.append(x[:, 0])
        return {"loss": float(len(self.batches)), "accuracy": 0.5}

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        return np.eye(10, dtype="float32")[x[:, 0].astype(int) % 10]


@pytest.fixture
def ten() -> Examples:
    return Examples(np.arange(10.0).reshape(10, 1), np.arange(10) % 10)


def test_each_epoch_shows_every_example_in_batches_of_one_size(ten: Examples) -> None:
    model = Recorder()
    rng = np.random.default_rng(0)
    stage = Stage(0, Optimizer(), epochs=2, batch_size=4)
    epochs = list(fit.train(model, ten, ten, stage, Objective(), rng))
    assert [len(batch) for batch in model.batches] == [4] * 6
    first, second = model.batches[:3], model.batches[3:]
    assert set(np.concatenate(first)) == set(np.concatenate(second)) == set(range(10))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert epochs[0].metrics["loss"] == pytest.approx(2.0)  # the mean of 1, 2, 3


def test_evaluation_counts_every_example_once(ten: Examples) -> None:
    wrong = Examples(ten.inputs, np.where(np.arange(10) == 9, 0, ten.labels))
    assert fit.evaluate(Recorder(), wrong, batch_size=4)["val_accuracy"] == pytest.approx(0.9)


# ── failures are outcomes ───────────────────────────────────────────────────────────────────


def test_a_loss_that_is_not_finite(home: Home, bench: Workbench) -> None:
    outcome, _ = run(spec(home, frozen_layers=0, learning_rate=1e30, optimizer="sgd"), bench)
    assert outcome.failure is not None
    assert outcome.failure.kind == "not finite"
    assert "after epoch" in outcome.failure.message


def test_a_dataset_that_has_changed(home: Home, bench: Workbench) -> None:
    outcome, _ = run(replace(spec(home), dataset_digest="0" * 64), bench)
    assert outcome.failure is not None
    assert outcome.failure.kind == "data"
    assert "has changed since the sweep began" in outcome.failure.message


def test_weights_that_have_changed(home: Home, bench: Workbench) -> None:
    outcome, _ = run(replace(spec(home), weights_digest="0" * 64), bench)
    assert outcome.failure is not None
    assert outcome.failure.kind == "data"
    assert "the weights of vgg-mini were 000000000000, now they are" in outcome.failure.message


def test_values_that_do_not_go_together(home: Home, bench: Workbench) -> None:
    for params, words in (
        ({"output": "sigmoid"}, "output=sigmoid is for two classes, digits has 10"),
        ({"schedule": "plateau", "decay": 2.0}, "would raise the learning rate"),
        ({"image_size": 8}, "needs images of at least"),
    ):
        outcome, _ = run(spec(home, **params), bench)
        assert outcome.failure is not None
        assert outcome.failure.kind == "configuration"
        assert words in outcome.failure.message


def test_a_strategy_that_raises_is_named(
    home: Home, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        facts = StrategyFacts("fine-tune", "broken")

        def plan(self, params: object, problem: object) -> None:
            raise RuntimeError("no idea")

    wanted = spec(home)
    monkeypatch.setattr(registry, "load_strategy", lambda name: Broken())
    outcome, reports = run(wanted, bench)
    assert outcome.failure is not None
    assert outcome.failure.kind == "plugin"
    assert outcome.failure.message == "the strategy 'fine-tune' raised RuntimeError: no idea"
    assert "no idea" in outcome.failure.traceback
    assert reports == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (OSError(28, "No space left on device"), "storage"),
        (KeyError("x"), "internal"),
    ],
)
def test_failures_have_a_class(error: Exception, kind: str) -> None:
    assert trial.classify(error) == kind


def test_a_trial_can_be_stopped_between_epochs(home: Home, bench: Workbench) -> None:
    running = trial.trial_steps(spec(home, epochs=50, frozen_layers=26), bench)
    assert isinstance(running, Iterator)
    first = next(step for step in running if isinstance(step, EpochReport))
    assert first.epoch == 1
    running.close()
    assert run(spec(home, frozen_layers=26), bench)[0].failure is None


@pytest.mark.real_data
def test_vgg16_fits_the_real_weights(real_data: Path, tmp_path: Path) -> None:
    weights = backbones.add_weights(Home(tmp_path), "vgg16", real_data / "vgg16_notop.weights.h5")
    network = backbones.load("vgg16", (32, 32), weights)
    assert network.count_params() == 14_714_688
    assert os.path.getsize(weights.path) > 58_000_000
