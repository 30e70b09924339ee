"""`orch sweep --dry-run`: what would run, and on what."""

from __future__ import annotations

from dataclasses import asdict

from orch import space, views
from orch.cli import output
from orch.home import Home
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
    counts = planned.installed.examples
    rows = [
        ("dataset", f"{spec.dataset} {spec.dataset_digest[:12]}"),
        ("examples", f"{planned.problem.train_examples} to train on, of {counts['train']}"),
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
    for stage in planned.first_plan.stages:
        cut = cuts.choose(planned.problem.backbone, stage.frozen_layers)
        output.say(
            f"\nfirst trial: {stage.frozen_layers} of "
            f"{len(planned.problem.backbone.layers)} layers "
            f"frozen; computed once: up to {cut.name} ({cut.reason})"
        )


def _size(planned: PlannedSweep) -> str:
    sizes = [space.size(domain) for domain in planned.spec.domains.values()]
    if None in sizes:
        return ""
    total = 1
    for size in sizes:
        total *= size or 1
    return f", of {total} different configurations" if total < planned.spec.trials else ""
