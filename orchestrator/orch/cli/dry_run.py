"""`orch sweep --dry-run`: what would run, and on what."""

from __future__ import annotations

from dataclasses import asdict

from orch import space, views
from orch.cli import output, tables
from orch.cli.live import steps
from orch.home import Home
from orch.planning.costs import Expected
from orch.planning.disk import need
from orch.planning.forecast import expect, slots_here
from orch.planning.spec import PlannedSweep
from orch.search_space import starting_recipe
from orch.settings import Settings
from orch.trials import to_json


def show_plan(
    planned: PlannedSweep, settings: Settings, home: Home, as_json: bool, again: bool
) -> None:
    """Print the sweep that would run; nothing is recorded. `again` measures what was measured."""
    spec = planned.spec
    with steps() as progress:
        expected = expect(planned, settings, home, progress, again)
    assert expected is not None
    needed = need(planned, home, slots_here(settings, spec.trials).concurrent, settings.cache_bytes)
    if as_json:
        document = {**spec.to_json(), "first_plan": to_json(planned.first_plan)}
        output.print_json(
            views.document(dry_run=True, **document, expected=asdict(expected), disk=asdict(needed))
        )
        return
    rows = [
        ("dataset", f"{spec.dataset} {spec.dataset_digest[:12]}"),
        *(("option", pair) for pair in tables.chosen_options(spec.dataset, spec.to_json())),
        (
            "examples",
            f"{planned.problem.train_examples} to train on, of {planned.examples['train']}",
        ),
        ("strategy", spec.strategy),
        ("backbone", f"{spec.backbone} {spec.weights_digest[:12]}"),
        ("objective", f"{spec.objective.metric}, {spec.objective.direction}"),
        ("limit", spec.limit),
        ("time", output.duration(spec.seconds)),
        ("at once", settings.concurrent or "as many as fit"),
        ("trials", f"{spec.trials}{_size(planned)}"),
        ("search", f"{spec.sampler}, pruner {spec.pruner}, seed {spec.seed}"),
        ("home", str(home.root)),
        ("disk", f"{output.size(needed.total)} needed at least, {output.size(needed.free)} free"),
    ]
    output.show_table(("sweep", "(dry run: nothing was started)"), rows)
    print()
    searched = [(name, text, views.value(spec.first[name])) for name, text in spec.space.items()]
    output.show_table(("parameter", "space", "first trial"), searched)
    recipe = starting_recipe(planned.problem, spec.strategy)
    output.say(f"\nstarts from the recipe {spec.dataset}/{recipe.name}" if recipe else "")
    print()
    _show_expected(expected, spec.trials)


def _show_expected(expected: Expected, trials: int) -> None:
    """What is computed once, and what that saves."""
    rows = [
        (
            each.name,
            each.layers,
            output.size(each.bytes),
            output.duration(each.fill),
            output.duration(each.saved),
            "stored" if each.kept else "not stored",
        )
        for each in expected.features
    ]
    if rows:
        columns = ("computed once", "layers", "size", "worker time", "spares", "")
        output.show_table(columns, rows)
    else:
        output.say(f"nothing is computed once: {expected.reason}")
    output.say(
        f"\nexpected for {output.count(trials, 'trial')} to their last epoch: "
        f"{output.duration(expected.stored)}, "
        f"{output.duration(expected.online)} with nothing stored\n"
        f"of that, workers start in {output.duration(expected.start)} "
        f"and fill an empty store in {output.duration(expected.fill)}"
    )


def _size(planned: PlannedSweep) -> str:
    sizes = [space.size(domain) for domain in planned.spec.domains.values()]
    if None in sizes:
        return ""
    total = 1
    for size in sizes:
        total *= size or 1
    return f", of {total} different configurations" if total < planned.spec.trials else ""
