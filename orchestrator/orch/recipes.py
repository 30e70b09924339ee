"""Published results that can be run again: which there are, and how ours came to differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orch import catalog, probing, registry
from orch.contracts import DatasetFacts, Recipe
from orch.errors import NotFoundError
from orch.home import Home
from orch.planning.spec import PlannedSweep, SweepRequest
from orch.search_space import BUDGET
from orch.space import render_value

HINT = "orch recipes lists all"


@dataclass(frozen=True)
class Published:
    """A recipe and the dataset that brings it."""

    dataset: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """What it is called: dataset/recipe."""
        return f"{self.dataset}/{self.recipe.name}"


def published(datasets: Iterable[DatasetFacts]) -> list[Published]:
    """The recipes of these datasets, in their order and in the plugin's."""
    return [Published(facts.name, recipe) for facts in datasets for recipe in facts.recipes]


def find(home: Home, name: str, patience: float = probing.PATIENCE) -> Published:
    """The recipe called "dataset/recipe"; no plugin is imported, and only that dataset's asked.

    Raises:
        NotFoundError: there is none.
        PluginError: the dataset's plugin cannot be used.
    """
    dataset = name.partition("/")[0]
    if dataset not in registry.dataset_names():
        everything = published(probing.datasets(home, patience).facts.values())
        raise NotFoundError.among("recipe", name, [each.name for each in everything], HINT)
    known = {each.name: each for each in published([catalog.facts(home, dataset, patience)])}
    if name not in known:
        raise NotFoundError.among("recipe", name, known, HINT)
    return known[name]


def request(chosen: Published, limit: int | None, epochs: int | None) -> SweepRequest:
    """A sweep of one trial: the recipe, on so many examples, for at most so many epochs a stage."""
    recipe = chosen.recipe
    return SweepRequest(
        dataset=chosen.dataset,
        strategy=recipe.strategy,
        backbone=recipe.backbone,
        name=chosen.name,
        limit=limit,
        options={name: render_value(value) for name, value in recipe.options.items()},
        recipe=recipe,
        most_epochs=epochs,
    )


def differences(recipe: Recipe, planned: PlannedSweep) -> list[str]:
    """In what a run differs from what its author did, a line each."""
    spec, installed = planned.spec, planned.installed
    found: list[str] = []
    if installed.source != "canonical":
        found.append(f"data: a copy added from {installed.source}")
    if planned.problem.train_examples != recipe.train_examples:
        found.append(
            f"trained on {planned.problem.train_examples:,} examples, "
            f"the author on {recipe.train_examples:,}"
        )
    if spec.limit is not None:
        found.append(f"limit: {spec.limit:,} examples in all")
    if "validation" not in installed.splits:
        found.append("judged by a fifth of the training examples, held out")
    found += [
        f"{name}: {spec.first[name]} instead of {recipe.params[name]}"
        for name in BUDGET
        if name in recipe.params and spec.first.get(name) != recipe.params[name]
    ]
    return found


def comparison(
    chosen: Published, planned: PlannedSweep, trial: Mapping[str, Any] | None, last: float | None
) -> dict[str, Any]:
    """A recipe's reported figure and ours, as a document; `trial` is the trial's own."""
    recipe = chosen.recipe
    return {
        "recipe": chosen.name,
        "reported": recipe.reported,
        "reported_accuracy": recipe.accuracy,
        "ours": trial["score"] if trial else None,
        "ours_last_epoch": last,
        "differences": differences(recipe, planned),
        "trial": trial,
    }
