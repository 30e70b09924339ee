"""`orch sweep --dry-run`: what would run, and on what."""

from __future__ import annotations

from dataclasses import asdict

from orch import space, views
from orch.cli import output
from orch.home import Home
from orch.search_space import starting_recipe
from orch.settings import Settings
from orch.spec import PlannedSweep
from orch.training import cuts


def show_plan(planned: PlannedSweep, settings: Settings, home: Home, as_json: bool) -> None:
    """Print the sweep that would run; nothing is recorded."""
    spec = planned.spec
    if as_json:
        output.print_json(
            views.document(dry_run=True, **spec.to_json(), first_plan=asdict(planned.first_plan))
        )
        return
    rows = [
        ("dataset", f"{spec.dataset} {spec.dataset_digest[:12]}"),
        *(("option", pair) for pair in views.chosen_options(spec.dataset, spec.to_json())),
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
    ]
    output.show_table(("sweep", "(dry run: nothing was started)"), rows)
    print()
    searched = [(name, text, views.value(spec.first[name])) for name, text in spec.space.items()]
    output.show_table(("parameter", "space", "first trial"), searched)
    recipe = starting_recipe(planned.problem, spec.strategy)
    output.say(f"\nstarts from the recipe {spec.dataset}/{recipe.name}" if recipe else "")
    found = cuts.of_plan(planned.problem.backbone, planned.first_plan)
    stages = zip(planned.first_plan.stages, found, strict=True)
    for number, (stage, cut) in enumerate(stages, start=1):
        which = f", stage {number}" if len(found) > 1 else ""
        output.say(
            f"first trial{which}: {stage.frozen_layers} of "
            f"{len(planned.problem.backbone.layers)} layers "
            f"frozen; computed once: {f'up to {cut.name}' if cut.layers else 'nothing'} "
            f"({cut.reason})"
        )


def _size(planned: PlannedSweep) -> str:
    sizes = [space.size(domain) for domain in planned.spec.domains.values()]
    if None in sizes:
        return ""
    total = 1
    for size in sizes:
        total *= size or 1
    return f", of {total} different configurations" if total < planned.spec.trials else ""
