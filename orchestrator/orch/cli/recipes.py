"""`orch recipes` and `orch reproduce`: published results, and ours beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import output
from orch.cli.door import enter, enter_with_libraries, reading
from orch.cli.nouns import noun

if TYPE_CHECKING:
    from collections.abc import Callable

    from orch.home import Home
    from orch.planning.spec import PlannedSweep
    from orch.recipes import Published
    from orch.settings import Settings
    from orch_db.queries import Queries
    from orch_db.records import SweepRecord

app = noun("recipes", "Published results that can be run again.")


@app.callback()
def list_recipes(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List the recipes: what was reported, and the best that was measured here."""
    if context.invoked_subcommand:
        return
    from orch import probing, recipes, views

    settings, home = enter()
    with reading() as queries:
        ours = queries.best_of_recipes()
    asked = probing.datasets(home, settings.plugin_timeout)
    output.say_blocked(asked.blocked)
    documents = [
        {
            "name": each.name,
            "dataset": each.dataset,
            "strategy": each.recipe.strategy,
            "reported": each.recipe.reported,
            "reported_accuracy": each.recipe.accuracy,
            "ours": ours.get(each.name),
            "title": each.recipe.title,
        }
        for each in recipes.published(asked.facts.values())
    ]
    rows = [
        [
            each["name"],
            each["reported"],
            None if each["ours"] is None else f"{each['ours']:.4f}",
            each["title"],
        ]
        for each in documents
    ]
    output.listing(
        views.document(recipes=documents),
        ["recipe", "reported", "ours", "what it trains"],
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty="no dataset plugin brings a recipe",
    )


def reproduce(
    name: Annotated[str, typer.Argument(help="A recipe, as orch recipes lists them.")],
    limit: Annotated[int | None, typer.Option(help="Use so many examples.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Train each stage for at most so many.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and shuffling.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join a running Ray cluster.")] = None,
    as_json: output.Json = False,
) -> None:
    """Run a published recipe and print our result beside the one that was reported."""
    from orch import recipes
    from orch.cli.live import steps
    from orch.cli.sweep import run_and_show
    from orch.planning.spec import plan_sweep

    settings, home = enter_with_libraries(
        trials=1, pruner="none", sampler="random", seed=seed, ray_address=ray_address
    )
    chosen = recipes.find(home, name, settings.plugin_timeout)
    with steps() as progress:
        planned = plan_sweep(recipes.request(chosen, limit, epochs), settings, home, progress)
    run_and_show(
        planned,
        settings,
        home,
        strict=False,
        as_json=as_json,
        fresh=True,
        show_result=comparing(planned, settings, home),
    )


def comparing(
    planned: PlannedSweep, settings: Settings, home: Home
) -> Callable[[Queries, str, bool], None] | None:
    """What shows the result of a sweep that reproduces a recipe; None for any other sweep."""
    from orch import recipes

    name = planned.spec.recipe
    if name is None:
        return None

    def show(queries: Queries, sweep_id: str, as_json: bool) -> None:
        chosen = recipes.find(home, name, settings.plugin_timeout)
        _show(chosen, planned, queries, sweep_id, as_json)

    return show


def _show(
    chosen: Published, planned: PlannedSweep, queries: Queries, sweep_id: str, as_json: bool
) -> None:
    from orch import recipes, views
    from orch.cli import tables

    record = queries.sweep(sweep_id)
    trials = queries.trials(sweep_id)
    if record is None:
        return
    epochs = queries.epochs(trials[0].id) if trials else []
    last = epochs[-1].metrics[record.metric] if epochs else None
    trial = views.trial(trials[0]) if trials else None
    document = recipes.comparison(chosen, planned, trial, last)
    if as_json:
        output.print_json(views.document(sweep=record.id, **document))
        return
    tables.failures(trials)
    if trials and trials[0].state == "completed":
        _print(document, record, tables.epochs(trials[0]), output.duration(trials[0].seconds))
        output.say(f"\nNext:\n  orch trials show {trials[0].id[:6]}")
        output.say(f"  orch evaluate {trials[0].id[:6]}")


def _print(document: dict[str, Any], record: SweepRecord, epochs: str, time: str) -> None:
    rows = [
        ("reported", document["reported"]),
        (f"ours, {record.metric}", f"{document['ours']:.4f} best, epoch {epochs}"),
        ("", f"{document['ours_last_epoch']:.4f} last"),
        ("time", time),
        ("seed", str(record.spec["seed"])),
        *(("differs", line) for line in document["differences"]),
    ]
    output.show_table(("recipe", document["recipe"]), rows)
