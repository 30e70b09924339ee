"""With and without stored features, a trial computes the same numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from digit_trials import losses, run, spec
from numpy.typing import NDArray

from orch.contracts import BackboneFacts, Head, ImageInput, Optimizer, Plan, Stage
from orch.home import Home
from orch.training import backbones, cuts, examples, features, fit, models, trial, warm
from orch.training.cuts import Cut
from orch.training.warm import HeadShape, NetworkShape, WarmModels
from orch.training.workbench import Keeping, Workbench
from orch.trials import EpochReport

pytestmark = pytest.mark.slow

SIZES = {"vgg16": 32, "mobilenetv2": 64, "vgg-mini": 32}


@pytest.fixture(params=SIZES)
def network(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A network whose weights are random, moving means and variances of normalisation too."""
    keras.utils.set_random_seed(1)
    made = backbones.build(request.param, (SIZES[request.param],) * 2)
    rng = np.random.default_rng(0)
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    gamma * rng.uniform(0.5, 1.5, gamma.shape),
                    beta + rng.normal(0, 0.1, beta.shape),
                    mean + rng.normal(0, 0.1, mean.shape),
                    variance * rng.uniform(0.5, 2.0, variance.shape),
                ]
            )
    return request.param, made


@pytest.fixture
def facts(network: tuple[str, Any], tmp_path: Path) -> BackboneFacts:
    return backbones.describe(Home(tmp_path), network[0])


def plan_for(name: str, frozen_layers: int) -> Plan:
    stage = Stage(frozen_layers, Optimizer("sgd", 0.01), epochs=1, batch_size=8)
    return Plan(ImageInput((SIZES[name],) * 2), Head(start="random"), (stage,))


def images(name: str, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, SIZES[name], SIZES[name], 3), np.uint8)


def at(facts: BackboneFacts, layers: int) -> Cut:
    return Cut(layers, facts.layers[layers - 1].name, "a test")


# ── features ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_stored_features_are_what_a_training_step_computes(
    network: tuple[str, Any], facts: BackboneFacts
) -> None:
    """At every cut, with the frozen layers called as in training."""
    name, base = network
    wanted = [cut for cut in facts.cuts if 0 < cut < len(facts.layers)]
    models.freeze(base, len(facts.layers))
    pixels = images(name, 16)
    inputs = keras.Input((*pixels.shape[1:],), dtype="uint8")
    scaled = backbones.preprocess(name, keras.layers.Rescaling(1.0)(inputs))
    crossing = keras.Model(base.input, [base.layers[cut - 1].output for cut in wanted])
    online = keras.Model(inputs, crossing(scaled))(pixels, training=True)
    for cut, expected in zip(wanted, online, strict=True):
        between = models.between(base, name, plan_for(name, cut), 0, at(facts, cut))
        stored = fit.predict(between, pixels, features.FILL_BATCH)
        scale = float(np.abs(expected).max())
        assert np.abs(stored - np.asarray(expected)).max() <= 1e-6 * scale, facts.layers[cut - 1]


# ── one step ────────────────────────────────────────────────────────────────────────────────


def step(name: str, base: Any, plan: Plan, cut: Cut, before: Any) -> dict[str, NDArray[Any]]:
    """The weights, by name and position, after one step behind `cut`."""
    shape = HeadShape.of(NetworkShape(name, (SIZES[name],) * 2, ""), plan, 4)
    warm_models = WarmModels()
    head = warm_models.head(base, plan, shape)
    warm.begin(head, plan.head, 3)
    model = warm_models.compiled(base, plan, plan.stages[0], cut, head, shape)
    model.train_on_batch(before, np.arange(8) % 4)
    layers = [*((str(n), layer) for n, layer in enumerate(base.layers)), ("head", head)]
    return {
        f"{where}/{n}": np.array(weight)
        for where, layer in layers
        for n, weight in enumerate(layer.get_weights())
    }


@pytest.mark.slow
def test_a_step_behind_a_cut_is_the_step_of_the_whole_network(
    network: tuple[str, Any], facts: BackboneFacts
) -> None:
    name, base = network
    published = base.get_weights()
    depth = facts.stages[-2]
    plan, pixels = plan_for(name, depth), images(name, 8)
    frozen = {
        f"{n}/{at}": np.array(weight)
        for n, layer in enumerate(base.layers[:depth])
        for at, weight in enumerate(layer.get_weights())
    }
    whole = step(name, base, plan, Cut.none("a test"), pixels)
    base.set_weights(published)
    between = models.between(base, name, plan, 0, at(facts, depth))
    stored = fit.predict(between, pixels, 8)
    behind = step(name, base, plan, at(facts, depth), stored)
    assert whole.keys() == behind.keys()
    for where, value in frozen.items():
        assert np.array_equal(whole[where], value), "frozen weights and moving means stay"
        assert np.array_equal(behind[where], value)
    moved = 0
    for where in whole.keys() - frozen.keys():
        scale = np.abs(whole[where]).max() or 1.0
        assert np.abs(whole[where] - behind[where]).max() <= 1e-5 * scale, where
        moved += 1
    assert moved


# ── a trajectory ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("params", [{"frozen_layers": 15}, {"frozen_layers": 26, "dropout": 0.4}])
def test_fifty_steps_are_the_same_with_and_without_the_store(
    home: Home, params: dict[str, object]
) -> None:
    """160 examples in batches of 32, ten epochs."""
    wanted = spec(home, epochs=10, optimizer="sgd", start="random", **params)
    with_store = run(wanted, Workbench(home))
    without = run(wanted, Workbench(home, Keeping(features=False)))
    assert with_store[0].cut != "none"
    assert (without[0].cut, without[0].failure) == ("none", None)
    assert losses(with_store[1]) == pytest.approx(losses(without[1]), rel=1e-5)


@pytest.mark.parametrize("features", [True, False])
def test_fifty_steps_are_the_same_after_a_pause(home: Home, features: bool) -> None:
    """Interrupted after the third and the seventh epoch, each time going on in a new workbench."""
    params = {"frozen_layers": 22, "dropout": 0.4, "momentum": 0.9}
    wanted = spec(home, epochs=10, optimizer="sgd", start="random", **params)
    keeping = Keeping(features=features, checkpoint_seconds=0)
    at_once = losses(run(wanted, Workbench(home, keeping))[1])
    found: list[EpochReport] = []
    for attempt, until in enumerate((3, 7, 10), start=1):
        again = replace(wanted, attempt=attempt, known_epochs=len(found))
        running = trial.trial_steps(again, Workbench(home, keeping))
        found += islice(
            (each for each in running if isinstance(each, EpochReport)), until - len(found)
        )
        running.close()
    assert [each.epoch for each in found] == list(range(1, 11))
    assert losses(found) == pytest.approx(at_once, rel=1e-5)


# ── what must not be mistaken for something else ────────────────────────────────────────────


def test_anything_that_changes_features_changes_their_key(home: Home) -> None:
    bench = Workbench(home)
    wanted = spec(home, frozen_layers=15)
    facts = backbones.describe(home, "vgg-mini")
    splits = bench.splits(wanted.dataset, wanted.dataset_options, wanted.dataset_digest)
    chosen = examples.select(splits, wanted.limit)[0]
    network = bench.network(NetworkShape("vgg-mini", (32, 32), wanted.weights_digest))
    plan = replace(plan_for("vgg-mini", 15), head=Head(pooling="flatten"))
    cut, whole = at(facts, 15), at(facts, 26)

    def key(cut: Cut = cut, plan: Plan = plan, **changes: Any) -> str:
        reader = features.Reader(replace(wanted, **changes), bench, plan, network, facts)
        return str(reader._key(replace(chosen, indices=chosen.indices), cut))

    found = [
        key(),
        key(cut=at(facts, 22)),
        key(cut=whole),
        key(cut=whole, plan=replace(plan, head=Head(pooling="average"))),
        key(cut=whole, plan=replace(plan, head=Head(pooling="max"))),
        key(plan=replace(plan, image=ImageInput((48, 48)))),
        key(plan=replace(plan, image=ImageInput((16, 16), upsample=2))),
        key(backbone="vgg16"),
        key(weights_digest="0" * 64),
        key(dataset_digest="0" * 64),  # content, order of labels, options of the dataset
    ]
    assert len(set(found)) == len(found)
    assert key(seed=99, params={**wanted.params, "learning_rate": 0.5}) == found[0]


def test_nothing_random_or_trained_is_before_a_cut(home: Home) -> None:
    facts = backbones.describe(home, "mobilenetv2")
    for frozen in range(len(facts.layers) + 1):
        cut = cuts.choose(facts, frozen)
        assert cut.layers <= facts.canonical(frozen), "what trains is behind it"
        kinds = {layer.kind for layer in facts.layers[: cut.layers]}
        assert not kinds & cuts.RANDOM_LAYERS
