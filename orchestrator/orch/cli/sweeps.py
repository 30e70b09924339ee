"""`orch sweeps`: what was swept, and going on with it."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.door import enter_with_libraries, reading
from orch.cli.nouns import noun

app = noun("sweeps", "Sweeps that ran, newest first; show, resume.")

Id = Annotated[str, typer.Argument(help="A sweep's id, or the beginning of one.")]


@app.callback()
def list_sweeps(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List sweeps, newest first."""
    if context.invoked_subcommand:
        return
    from orch import views

    with reading() as queries:
        records = queries.sweeps()
        best = {each.id: queries.best(each) for each in records}
    columns = ["sweep", "name", "state", "backbone", "trials", "best", "at"]
    rows = []
    for each in records:
        top = best[each.id]
        ended = sum(
            count for state, count in each.trials.items() if state not in ("queued", "running")
        )
        rows.append(
            [
                each.id[:6],
                each.name,
                each.state,
                each.backbone,
                f"{ended}/{each.spec.get('trials')}",
                f"{top.score:.4f}" if top and top.score is not None else None,
                each.created_at[:16].replace("T", " "),
            ]
        )
    document = views.document(sweeps=[views.sweep(each, best[each.id]) for each in records])
    output.listing(
        document,
        columns,
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty="no sweep was run yet; try: orch sweep digits --trials 12",
    )


@app.command("show")
def show(sweep: Id, as_json: output.Json = False) -> None:
    """Show a sweep: its space, its trials ranked, what failed."""
    from orch import views
    from orch.cli.tables import sweep_result
    from orch.sweep import require_sweep

    with reading() as queries:
        record = require_sweep(queries, sweep)
        trials, best = queries.trials(record.id), queries.best(record)
    if as_json:
        output.print_json(views.document(**views.sweep(record, best, trials)))
        return
    rows = [
        ("id", record.id),
        ("state", record.state),
        ("dataset", f"{record.dataset} {record.spec.get('dataset_digest', '')[:12]}"),
        *(("option", pair) for pair in views.chosen_options(record.dataset, record.spec)),
        ("limit", record.spec.get("limit")),
        ("strategy", record.strategy),
        ("backbone", record.backbone),
        ("started", record.created_at),
        ("ended", record.finished_at),
        ("trials took", output.duration(views.took(trials))),
        ("expected", output.duration(record.expected_seconds)),
        ("trials", ", ".join(f"{count} {state}" for state, count in record.trials.items())),
        *((f"space {name}", text) for name, text in record.spec.get("space", {}).items()),
        ("git commit", record.git_commit),
        *((f"version {name}", text) for name, text in record.versions.items()),
    ]
    output.show_table(("sweep", record.name), rows)
    print()
    sweep_result(record, trials, top=len(trials))


@app.command("resume")
def resume(
    sweep: Id,
    concurrent: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join a running Ray cluster.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 9 if a trial failed.")] = False,
    as_json: output.Json = False,
) -> None:
    """Go on with a sweep that was interrupted: what ended stays, the rest runs."""
    from orch.cli import recipes
    from orch.cli.live import steps
    from orch.cli.sweep import run_and_show
    from orch.sweep import plan_again, require_sweep

    settings, home = enter_with_libraries(concurrent=concurrent, ray_address=ray_address)
    with reading() as queries:
        record = require_sweep(queries, sweep)
    with steps() as progress:
        planned = plan_again(record, settings, home, progress)
    run_and_show(
        planned,
        settings,
        home,
        strict=strict,
        as_json=as_json,
        fresh=False,
        show_result=recipes.comparing(planned),
    )
