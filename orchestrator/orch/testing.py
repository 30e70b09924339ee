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

from collections.abc import Mapping
from pathlib import Path

import pytest

from orch import catalog, installing, registry
from orch.checks import TINY_BACKBONE as TINY_BACKBONE
from orch.checks import backbones as backbone_checks
from orch.checks import datasets, imports, strategies
from orch.checks import silent as silent
from orch.contracts import Parameter, Plan, Problem, Split
from orch.home import Home


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

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls) -> datasets.DatasetSubject:
        """The dataset, to be checked without its content."""
        return datasets.DatasetSubject(registry.find(registry.DATASETS, cls.name))

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls,
        home: Home,
        installed: catalog.Installed,
        source: Path | None,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> datasets.DatasetSubject:
        """The dataset and its content, to be checked."""
        return datasets.DatasetSubject(
            registry.find(registry.DATASETS, cls.name),
            there=catalog.content(home, installed),
            source=source,
            scratch=tmp_path_factory.mktemp("again"),
        )

    def test_is_imported_quietly_and_soon(self, plugin: datasets.DatasetSubject) -> None:
        """Importing it raises nothing, prints nothing, takes no long, and loads nothing large."""
        for check in imports.CHECKS:
            check.run(plugin)

    def test_says_its_api_and_name(self, plugin: datasets.DatasetSubject) -> None:
        """`api` is the supported one, and the facts carry the entry point's name."""
        datasets.api(plugin)
        datasets.name(plugin)

    def test_facts_are_complete(self, plugin: datasets.DatasetSubject) -> None:
        """Title, licence, homepage, sizes and at least two different classes are given."""
        datasets.facts(plugin)

    def test_serves_train(self, subject: datasets.DatasetSubject) -> None:
        """Splits have their names, and "train" is one of them."""
        datasets.serves(subject)

    def test_labels_are_class_indices(self, subject: datasets.DatasetSubject) -> None:
        """Labels are int64 (n,), within the classes, and every class is trained on."""
        datasets.labels(subject)
        datasets.every_class(subject)

    def test_images_are_rgb_bytes(self, subject: datasets.DatasetSubject) -> None:
        """The first, the last and some examples of each split are uint8 (height, width, 3)."""
        datasets.images(subject)

    def test_splits_have_no_example_in_common(self, subject: datasets.DatasetSubject) -> None:
        """What is trained on judges nothing."""
        datasets.apart(subject)

    def test_reading_twice_gives_the_same(self, subject: datasets.DatasetSubject) -> None:
        """Examples come in a fixed order."""
        datasets.order(subject)

    def test_options_are_consistent(self, plugin: datasets.DatasetSubject) -> None:
        """Names differ, defaults are allowed, each has one line of help and builds the plugin."""
        datasets.options(plugin)

    def test_recipes_fit_their_strategies(self, plugin: datasets.DatasetSubject) -> None:
        """Each recipe's parameters are those of its strategy, its options those of the dataset."""
        datasets.recipes(plugin)

    def test_a_file_that_cannot_be_read_is_named(
        self, plugin: datasets.DatasetSubject, tmp_path: Path
    ) -> None:
        """Where the dataset reads files, a broken one is a DataError that names it."""
        datasets.broken_file(plugin, tmp_path)

    def test_digest_depends_on_content_alone(self, subject: datasets.DatasetSubject) -> None:
        """Installing again, elsewhere and later, gives the same content."""
        datasets.digest(subject)


class StrategyContract:
    """What every strategy plugin promises. Set `name`."""

    name: str

    @pytest.fixture
    def problem(self) -> Problem:
        """A problem with ten classes and a backbone of five layers."""
        return strategies.PROBLEM

    @pytest.fixture
    def subject(self, problem: Problem) -> strategies.StrategySubject:
        """The strategy, to be checked."""
        return strategies.StrategySubject(
            registry.find(registry.STRATEGIES, self.name), problem=problem
        )

    @pytest.fixture
    def parameters(self, subject: strategies.StrategySubject) -> tuple[Parameter, ...]:
        """The strategy's parameters for that problem."""
        return subject.parameters

    def test_is_imported_quietly_and_soon(self, subject: strategies.StrategySubject) -> None:
        """Importing it raises nothing, prints nothing, takes no long, and loads nothing large."""
        for check in imports.CHECKS:
            check.run(subject)

    def test_says_its_api_and_name(self, subject: strategies.StrategySubject) -> None:
        """`api` is the supported one, and the facts carry the entry point's name and a title."""
        strategies.api(subject)
        strategies.name(subject)

    def test_parameters_are_consistent(self, parameters: tuple[Parameter, ...]) -> None:
        """Names differ, defaults and searched spaces are allowed, each has one line of help."""
        strategies.check_parameters(parameters)

    def test_every_corner_of_the_space_has_a_plan(
        self, subject: strategies.StrategySubject, parameters: tuple[Parameter, ...]
    ) -> None:
        """The default, and each extreme of each searched parameter, become a valid plan."""
        for _, corner in strategies.corners(parameters):
            self.check_plan(subject.strategy.plan(corner, subject.problem), subject.problem)

    def test_the_same_parameters_give_the_same_plan(
        self, subject: strategies.StrategySubject
    ) -> None:
        """Planning is a function: no clock, no chance."""
        strategies.same_plan(subject)

    def check_plan(self, plan: Plan, problem: Problem) -> None:
        """A plan has stages that train something, within the backbone, and is plain data."""
        strategies.check_plan(plan)
        strategies.check_fits(plan, problem)


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
