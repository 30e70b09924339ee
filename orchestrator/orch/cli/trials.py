"""`orch trials`: single configurations."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.door import reading
from orch.cli.nouns import noun
from orch.errors import NotFoundError

app = noun("trials", "The trials of a sweep; show one.")


@app.callback()
def list_trials(
    context: typer.Context,
    sweep: Annotated[str | None, typer.Option(help="Of this sweep; default: the newest.")] = None,
    as_json: output.Json = False,
    as_csv: output.Csv = False,
) -> None:
    """List the trials of a sweep in the order they were suggested."""
    if context.invoked_subcommand:
        return
    from orch import views
    from orch.cli import tables
    from orch.sweep import require_sweep

    with reading() as queries:
        newest = queries.sweeps(limit=1)
        record = require_sweep(queries, sweep) if sweep else newest[0] if newest else None
        trials = queries.trials(record.id) if record else []
    names = views.searched(record.spec.get("space")) if record else []
    searched = [name for name in names if name not in tables.SHOWN_ELSEWHERE]
    columns = ["n", "trial", "state", "score", "frozen", *searched, "time", "failure"]
    rows = [
        [
            trial.number,
            trial.id[:6],
            trial.state,
            trial.score,
            tables.frozen(trial),
            *(views.value(trial.params.get(name)) for name in searched),
            output.duration(trial.seconds),
            trial.failure_kind,
        ]
        for trial in trials
    ]
    output.listing(
        views.document(
            sweep=record.id if record else None, trials=[views.trial(each) for each in trials]
        ),
        columns,
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty="no sweep was run yet; try: orch sweep digits --trials 12",
    )


@app.command("show")
def show(
    trial: Annotated[str, typer.Argument(help="A trial's id, or the beginning of one.")],
    as_json: output.Json = False,
) -> None:
    """Show a trial: settings, what was frozen, its epochs, how it failed."""
    from orch import views
    from orch.cli import tables

    with reading() as queries:
        record = queries.trial(trial)
        if record is None:
            raise NotFoundError(f"no trial has an id that begins with {trial!r}", "orch trials")
        epochs = queries.epochs(record.id)
        sweep = queries.sweep(record.sweep_id)
    if as_json:
        output.print_json(views.document(**views.trial(record, epochs)))
        return
    rows = [
        ("id", record.id),
        ("sweep", f"{record.sweep_id[:6]} {sweep.name if sweep else ''}"),
        ("state", record.state),
        (sweep.metric if sweep else "score", record.score),
        ("best epoch", tables.epochs(record)),
        *(() if "frozen_layers" in record.params else [("frozen layers", views.frozen(record))]),
        ("computed once up to", record.cut),
        *tables.pairs(record.params),
        ("seed", str(record.seed)),
        ("time", output.duration(record.seconds)),
        ("worker", record.worker),
        ("attempt", str(record.attempt)),
    ]
    output.show_table(("trial", f"number {record.number}"), rows)
    if epochs:
        names = list(epochs[0].metrics)
        print()
        output.show_table(
            ["epoch", *names, "time"],
            [
                [
                    each.epoch,
                    *(f"{each.metrics[name]:.4f}" for name in names),
                    output.duration(each.seconds),
                ]
                for each in epochs
            ],
        )
    if record.failure_kind:
        print(f"\n{record.failure_kind}: {output.clean(record.failure_message or '')}")
        print(output.clean(record.traceback or "", lines=True))
