"""Contract tests for plugin authors: subclass one, name your plugin, run pytest.

    from orch.testing import DatasetContract

    class TestBirds(DatasetContract):
        name = "birds"

        @pytest.fixture(scope="class")
        @classmethod
        def source(cls, tmp_path_factory): ...   # a tiny copy in your layout, or None

The built-in plugins pass these same tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orch import backbone_checks, catalog, installing, registry, search_space, space
from orch.contracts import (
    API,
    BackboneFacts,
    FileReader,
    LayerFacts,
    Parameter,
    Plan,
    Problem,
    Split,
)
from orch.errors import DataError
from orch.home import Home
from orch.trials import to_json

TINY_BACKBONE = BackboneFacts(
    name="tiny",
    image_size=32,
    minimum_size=32,
    layers=(
        LayerFacts("input", "InputLayer", 0),
        LayerFacts("conv1", "Conv2D", 448),
        LayerFacts("pool1", "MaxPooling2D", 0),
        LayerFacts("conv2", "Conv2D", 4640),
        LayerFacts("pool2", "MaxPooling2D", 0),
    ),
    cuts=(0, 3, 5),
    stages=(0, 3, 5),
)


def silent(step: str, done: int, total: int | None) -> None:
    """A progress that shows nothing."""


class DatasetContract:
    """What every dataset plugin promises. Set `name`; override `source` for a local copy."""

    name: str

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls) -> Path | None:
        """An archive or folder to install from; None where the dataset is embedded."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, tmp_path_factory: pytest.TempPathFactory) -> Home:
        """A home folder of its own."""
        return Home(tmp_path_factory.mktemp("home"))

    @pytest.fixture(scope="class")
    @classmethod
    def installed(cls, home: Home, source: Path | None) -> catalog.Installed:
        """The dataset, installed."""
        return installing.install(home, cls.name, source, silent)

    @pytest.fixture(scope="class")
    @classmethod
    def splits(cls, home: Home, installed: catalog.Installed) -> Mapping[str, Split]:
        """The dataset's splits."""
        return catalog.open_splits(home, installed.name)

    def test_says_its_api_and_name(self) -> None:
        """`api` is the supported one, and the facts carry the entry point's name."""
        plugin = registry.load_dataset(self.name)
        assert plugin.api == API
        assert plugin.facts.name == self.name

    def test_facts_are_complete(self) -> None:
        """Title, licence, homepage and at least two different classes are given."""
        facts = registry.load_dataset(self.name).facts
        assert facts.title
        assert facts.licence
        assert facts.homepage.startswith("https://")
        assert len(set(facts.classes)) == len(facts.classes) >= 2

    def test_labels_are_class_indices(self, splits: Mapping[str, Split]) -> None:
        """Labels are int64 (n,), within the classes, and every class is trained on."""
        classes = len(registry.load_dataset(self.name).facts.classes)
        for name, split in splits.items():
            labels = np.asarray(split.labels)
            assert labels.dtype == np.int64, f"{name}: labels are {labels.dtype}, not int64"
            assert labels.ndim == 1
            assert labels.min() >= 0
            assert labels.max() < classes
        assert len(np.unique(np.asarray(splits["train"].labels))) == classes

    def test_images_are_rgb_bytes(self, splits: Mapping[str, Split]) -> None:
        """The first and last example of each split are uint8 (height, width, 3)."""
        for name, split in splits.items():
            for index in (0, len(split.labels) - 1):
                image = np.asarray(split.image(index))
                assert image.dtype == np.uint8, f"{name} {index}: {image.dtype}, not uint8"
                assert image.ndim == 3, f"{name} {index}: shape {image.shape}"
                assert image.shape[2] == 3, f"{name} {index}: shape {image.shape}"

    def test_reading_twice_gives_the_same(
        self, home: Home, installed: catalog.Installed, splits: Mapping[str, Split]
    ) -> None:
        """Examples come in a fixed order."""
        again = catalog.open_splits(home, installed.name)
        assert set(again) == set(splits)
        for name, split in splits.items():
            assert np.array_equal(again[name].labels, split.labels)
            assert np.array_equal(again[name].image(0), split.image(0))

    def test_options_are_consistent(self) -> None:
        """Names differ, defaults are allowed, each has one line of help and builds the plugin."""
        known = {option.name: option for option in registry.load_dataset(self.name).facts.options}
        assert len(known) == len(registry.load_dataset(self.name).facts.options)
        for option in known.values():
            assert space.contains(option.allowed, option.default), f"{option.name}: default"
            assert option.help
            assert "\n" not in option.help
            assert option.only_with.keys() <= known.keys()
            registry.load_dataset(self.name, {option.name: option.default})

    def test_recipes_fit_their_strategies(self) -> None:
        """Each recipe's parameters are those of its strategy, its options those of the dataset."""
        facts = registry.load_dataset(self.name).facts
        known = {option.name: option for option in facts.options}
        assert len({recipe.name for recipe in facts.recipes}) == len(facts.recipes)
        for recipe in facts.recipes:
            strategy = registry.load_strategy(recipe.strategy)
            problem = Problem(facts, replace(TINY_BACKBONE, name=recipe.backbone), 1000)
            offered = strategy.parameters(problem)
            params = dict(recipe.params)
            if "frozen_layers" in params:  # a count of the real backbone's layers
                params["frozen_layers"] = len(TINY_BACKBONE.layers)
            search_space.check_recipe(replace(recipe, params=params), offered)
            for name, value in recipe.options.items():
                assert space.contains(known[name].allowed, value), f"{recipe.name}: {name}"

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        """Where the dataset reads files, a broken one is a DataError that names it."""
        plugin = registry.load_dataset(self.name)
        if not isinstance(plugin, FileReader):
            return
        for path in (tmp_path / "broken.jpg", tmp_path / "broken.wav", tmp_path / "absent.png"):
            if path.stem == "broken":
                path.write_text("neither picture nor sound")
            with pytest.raises(DataError, match=path.name):
                plugin.read(path)

    def test_digest_depends_on_content_alone(
        self,
        installed: catalog.Installed,
        source: Path | None,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        """Installing again, elsewhere, gives the same digest."""
        other = Home(tmp_path_factory.mktemp("other"))
        assert installing.install(other, self.name, source, silent).digest == installed.digest


class StrategyContract:
    """What every strategy plugin promises. Set `name`."""

    name: str

    @pytest.fixture
    def problem(self) -> Problem:
        """A problem with a backbone of five layers."""
        return Problem(registry.load_dataset("digits").facts, TINY_BACKBONE, 1000)

    @pytest.fixture
    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """The strategy's parameters for that problem."""
        return registry.load_strategy(self.name).parameters(problem)

    def test_says_its_api_and_name(self) -> None:
        """`api` is the supported one, and the facts carry the entry point's name."""
        plugin = registry.load_strategy(self.name)
        assert plugin.api == API
        assert plugin.facts.name == self.name
        assert plugin.facts.title

    def test_parameters_are_consistent(self, parameters: tuple[Parameter, ...]) -> None:
        """Names differ, defaults and searched spaces are allowed, each has one line of help."""
        assert len({each.name for each in parameters}) == len(parameters)
        for each in parameters:
            assert space.contains(each.allowed, each.default), f"{each.name}: default"
            assert space.within(each.search, each.allowed), f"{each.name}: searched space"
            assert each.help
            assert "\n" not in each.help

    def test_every_corner_of_the_space_has_a_plan(
        self, parameters: tuple[Parameter, ...], problem: Problem
    ) -> None:
        """The default, and each extreme of each searched parameter, become a valid plan."""
        default = {each.name: each.default for each in parameters}
        corners = [default]
        for each in parameters:
            corners += [{**default, each.name: value} for value in space.extremes(each.search)]
        for corner in corners:
            self.check_plan(registry.load_strategy(self.name).plan(corner, problem), problem)

    def test_the_same_parameters_give_the_same_plan(
        self, parameters: tuple[Parameter, ...], problem: Problem
    ) -> None:
        """Planning is a function: no clock, no chance."""
        params: dict[str, Any] = {each.name: each.default for each in parameters}
        plans = [registry.load_strategy(self.name).plan(params, problem) for _ in range(2)]
        assert plans[0] == plans[1]

    def check_plan(self, plan: Plan, problem: Problem) -> None:
        """A plan has stages that train something, within the backbone, and is plain data."""
        assert plan.stages
        for stage in plan.stages:
            assert 0 <= stage.frozen_layers <= len(problem.backbone.layers)
            assert stage.epochs >= 1
            assert stage.batch_size >= 1
            assert stage.optimizer.learning_rate > 0
        assert min(plan.image.size) * plan.image.upsample >= problem.backbone.minimum_size
        assert 0 <= plan.head.dropout < 1
        json.dumps(to_json(plan))


class BackboneContract:
    """What every backbone plugin promises. Set `name`. Weights need not be there."""

    name: str

    def test_facts_are_complete(self) -> None:
        """Title, licence, homepage, sizes, checksum."""
        backbone_checks.facts(self.name)

    def test_builds_a_network_that_can_be_trained(self) -> None:
        """Functional, one tensor in, one out, the same each time and at every size."""
        backbone_checks.network(self.name)

    def test_preprocessing_is_a_function_of_one_example(self) -> None:
        """The same in a graph and out of it, each time."""
        backbone_checks.preprocessing(self.name)

    def test_features_are_what_the_whole_network_computes(self) -> None:
        """At every stage, with frozen layers called as in training."""
        backbone_checks.cutting(self.name)

    def test_weights_come_back_as_they_were(self) -> None:
        """Through a file; and those that come with it have the digest that its facts give."""
        backbone_checks.weights(self.name)
