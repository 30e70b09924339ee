"""Recipes: each is a plan of its strategy, says what its article says, and can be shortened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orch import recipes, registry, search_space, space
from orch.contracts import Augmentation, Dense, Plan, Problem, Schedule
from orch.errors import NotFoundError, PluginError
from orch.home import Home
from orch.planning import spec
from orch.settings import Settings
from orch.testing import TINY_BACKBONE, silent
from orch.training import anatomy, backbones

TINY = replace(TINY_BACKBONE, layers=TINY_BACKBONE.layers * 4)
DATASETS = [registry.load_dataset(name).facts for name in registry.dataset_names()]
ALL = {each.name: each for each in recipes.published(DATASETS)}


@pytest.fixture(scope="module")
def vgg16() -> backbones.BackboneFacts:
    return anatomy.inspect("vgg16", 224, 32, backbones.build("vgg16", (32, 32)))


def plan_of(name: str, vgg16: backbones.BackboneFacts) -> Plan:
    """The plan of a recipe: its parameters over the strategy's defaults, each checked."""
    chosen = ALL[name]
    problem = Problem(registry.load_dataset(chosen.dataset).facts, vgg16, 1000)
    strategy = registry.load_strategy(chosen.recipe.strategy)
    parameters = {each.name: each for each in strategy.parameters(problem)}
    for key, value in chosen.recipe.params.items():
        assert space.contains(parameters[key].allowed, value), f"{name}: {key}={value}"
    defaults = {key: each.default for key, each in parameters.items()}
    return strategy.plan({**defaults, **chosen.recipe.params}, problem)


def test_the_recipes_of_the_articles_are_there() -> None:
    assert set(ALL) == {
        "ravdess/feature-extraction",
        "ravdess/fine-tune",
        "ravdess/fine-tune-augmented",
        "cats-vs-dogs/bottleneck",
        "cats-vs-dogs/fine-tune",
        "pokemon/transfer",
        "pokemon/fine-tune",
        "cifar10/frozen",
        "cifar10/constant-lr",
        "cifar10/decay",
    }


@pytest.mark.parametrize("name", ALL)
def test_options_of_a_recipe_are_those_of_its_dataset(name: str) -> None:
    chosen = ALL[name]
    facts = registry.load_dataset(chosen.dataset).facts
    known = {option.name: option for option in facts.options}
    for key, value in chosen.recipe.options.items():
        assert space.contains(known[key].allowed, value)


def test_ravdess(vgg16: backbones.BackboneFacts) -> None:
    frozen, tuned, augmented = (
        plan_of(f"ravdess/{name}", vgg16)
        for name in ("feature-extraction", "fine-tune", "fine-tune-augmented")
    )
    assert frozen.stages[0].frozen_layers == 19
    for plan in (frozen, tuned, augmented):
        assert plan.image.size == (224, 224)
        assert plan.head.pooling == "flatten"
        assert plan.head.dense == (Dense(512, 0.5), Dense(256, 0.0))
    for plan in (tuned, augmented):
        (stage,) = plan.stages
        assert (stage.optimizer.name, stage.optimizer.learning_rate) == ("adam", 5e-5)
        assert stage.schedule == Schedule("plateau", 0.6, 8, 5e-5)
        assert (stage.batch_size, stage.restore_best) == (1, True)
    assert [plan.stages[0].frozen_layers for plan in (tuned, augmented)] == [15, 15]
    assert [plan.stages[0].epochs for plan in (tuned, augmented)] == [50, 100]
    assert tuned.augmentation == Augmentation()
    assert augmented.augmentation == Augmentation(0.2, 30, 0.2, 0.2)


def test_cats_vs_dogs(vgg16: backbones.BackboneFacts) -> None:
    bottleneck = plan_of("cats-vs-dogs/bottleneck", vgg16)
    tuned = plan_of("cats-vs-dogs/fine-tune", vgg16)
    for plan in (bottleneck, tuned):
        assert plan.image.size == (150, 150)
        assert plan.head.dense == (Dense(256, 0.5),)
        assert (plan.head.pooling, plan.head.output) == ("flatten", "sigmoid")
    assert tuned.stages[0] == bottleneck.stages[0]
    last = tuned.stages[1]
    assert (last.frozen_layers, last.batch_size, last.epochs) == (15, 16, 20)
    assert (last.optimizer.name, last.optimizer.learning_rate) == ("sgd", 1e-4)
    assert last.optimizer.momentum == 0.9


def test_pokemon(vgg16: backbones.BackboneFacts) -> None:
    transfer, tuned = (plan_of(f"pokemon/{name}", vgg16) for name in ("transfer", "fine-tune"))
    assert transfer.image.size == tuned.image.size == (128, 128)
    assert tuned.stages[0] == transfer.stages[0]
    first, second = tuned.stages
    assert first.optimizer.name == second.optimizer.name == "adam"
    assert second.optimizer.learning_rate <= first.optimizer.learning_rate / 5
    assert second.batch_size < first.batch_size


def test_cifar10(vgg16: backbones.BackboneFacts) -> None:
    constant, decay, frozen = (
        plan_of(f"cifar10/{name}", vgg16) for name in ("constant-lr", "decay", "frozen")
    )
    for plan in (constant, decay, frozen):
        assert (plan.image.size, plan.image.upsample) == ((32, 32), 2)
        assert plan.head.pooling == "average"
        assert plan.head.dense == (Dense(512, 0.2), Dense(256, 0.2))
        assert (plan.stages[0].batch_size, plan.stages[0].epochs) == (128, 30)
    assert [p.stages[0].frozen_layers for p in (constant, decay, frozen)] == [0, 0, 19]
    assert constant.stages[0].optimizer.learning_rate == 0.001 / 31
    assert decay.stages[0].schedule == Schedule("inverse-time", 30.0, 3, 0.0)
    assert decay.stages[0].optimizer.learning_rate == 0.001


def test_a_recipe_is_one_trial_with_everything_fixed_and_can_be_shortened() -> None:
    chosen = ALL["cats-vs-dogs/fine-tune"]
    request = recipes.request(chosen, limit=100, epochs=17)
    assert (request.limit, request.name) == (100, "cats-vs-dogs/fine-tune")
    problem = Problem(registry.load_dataset("cats-vs-dogs").facts, TINY, 1000)
    strategy = registry.load_strategy("two-stage")
    found = search_space.reproduced(strategy, problem, chosen.recipe, request.most_epochs)
    values = {each.name: each.search for each in found}
    assert all(isinstance(domain, space.Fixed) for domain in values.values())
    assert (values["epochs"], values["head_epochs"]) == (space.Fixed(17), space.Fixed(15))
    assert recipes.request(ALL["ravdess/fine-tune"], None, None).options == {
        "split": "random",
        "colours": "magma",
    }


def test_a_name_that_is_none(orch, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe is called"):
        recipes.find(Home(tmp_path / "home"), "ravdess/finetune")
    ran = orch("reproduce", "ravdess/finetune")
    assert ran.code == 3
    assert "did you mean ravdess/fine-tune" in ran.err
    ran = orch("reproduce", "nope")
    assert ran.code == 3
    assert "no recipe is called 'nope' (known: cats-vs-dogs/bottleneck, " in ran.err
    assert "digits" not in ran.err


def test_the_list_has_what_was_reported(orch) -> None:
    import json

    listed = json.loads(orch("recipes", "--json").out)["recipes"]
    assert {each["name"]: each["reported_accuracy"] for each in listed} == {
        name: each.recipe.accuracy for name, each in ALL.items()
    }
    assert all(each["ours"] is None for each in listed)
    assert "93.25 % last, 94.13 % best epoch" in orch("recipes").out


@pytest.mark.parametrize("wrong", [{"learnin_rate": 0.1}, {"dropout": 7.0}, {"epochs": "many"}])
def test_a_recipe_that_does_not_fit_its_strategy_is_the_plugins_fault(wrong: dict) -> None:
    chosen = ALL["pokemon/transfer"].recipe
    strategy = registry.load_strategy(chosen.strategy)
    problem = Problem(registry.load_dataset("pokemon").facts, TINY, 1000)
    recipe = replace(chosen, params={**chosen.params, **wrong})
    with pytest.raises(PluginError, match="the recipe 'transfer' says") as caught:
        search_space.reproduced(strategy, problem, recipe, None)
    assert caught.value.exit_code == 6


# ── where sweeps start ──────────────────────────────────────────────────────────────────────


@pytest.mark.real_data
def test_a_sweep_starts_from_its_datasets_recipe(tmp_path: Path, real_data: Path) -> None:
    from orch import installing

    home = Home(tmp_path)
    installing.install(home, "cats-vs-dogs", real_data / "cats_vs_dogs.tar", silent)
    backbones.add_weights(home, "vgg16", real_data / "vgg16_notop.weights.h5")
    words = spec.SweepRequest("cats-vs-dogs", "two-stage", space={"dropout": "uniform(0.2,0.6)"})
    planned = spec.plan_sweep(words, Settings(), home, silent)
    first, domains = planned.spec.first, planned.spec.domains
    recipe = ALL["cats-vs-dogs/fine-tune"].recipe
    kept = {name: value for name, value in recipe.params.items() if name not in search_space.BUDGET}
    assert {name: first[name] for name in kept} == kept
    assert domains["pooling"] == space.Fixed("flatten")
    assert domains["learning_rate"] == space.Log(1e-6, 1e-3)
    assert domains["dropout"] == space.Uniform(0.2, 0.6)
    assert domains["epochs"] == space.Fixed(10)
    stated = spec.SweepRequest("cats-vs-dogs", "two-stage", space={"pooling": "average"})
    assert spec.plan_sweep(stated, Settings(), home, silent).spec.first["pooling"] == "average"
    again = spec.plan_sweep(
        recipes.request(ALL["cats-vs-dogs/fine-tune"], None, 3), Settings(), home, silent
    )
    assert all(isinstance(domain, space.Fixed) for domain in again.spec.domains.values())
    assert (again.spec.first["epochs"], again.spec.first["head_epochs"]) == (3, 3)
    assert recipes.differences(recipe, again) == [
        f"data: a copy added from {real_data / 'cats_vs_dogs.tar'}",
        "epochs: 3 instead of 20",
        "head_epochs: 3 instead of 15",
    ]


def test_a_recipe_for_another_backbone_is_not_started_from() -> None:
    problem = Problem(registry.load_dataset("cats-vs-dogs").facts, TINY_BACKBONE, 1000)
    strategy = registry.load_strategy("two-stage")
    assert search_space.starting_recipe(problem, "two-stage") is None
    assert search_space.parameters(strategy, problem) == list(strategy.parameters(problem))


def test_a_range_is_widened_to_where_the_recipe_starts() -> None:
    facts = registry.load_dataset("cifar10").facts
    problem = Problem(facts, replace(TINY, name="vgg16"), 1000)
    strategy = registry.load_strategy("feature-extraction")
    offered = {each.name: each for each in search_space.parameters(strategy, problem)}
    rate = offered["learning_rate"]
    assert rate.default == 0.001 / 31
    assert rate.search == space.Log(0.001 / 31, 1e-1)
    assert offered["epochs"].default == 10
    _, first = search_space.merge("feature-extraction", offered.values(), {}, problem.backbone)
    assert first["learning_rate"] == 0.001 / 31
    assert first["head_units"] == 512
