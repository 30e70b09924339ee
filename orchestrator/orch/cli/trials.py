"""`orch trials`: single configurations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orch.cli import curves, output
from orch.cli.asking import results
from orch.cli.door import enter
from orch.cli.nouns import noun

if TYPE_CHECKING:
    from orch_db.records import EpochRecord, SweepRecord, TrialRecord

app = noun("trials", "The trials of a sweep; show one.")


@app.callback()
def list_trials(
    context: typer.Context,
    sweep: Annotated[
        str | None, typer.Option(help="Of this sweep; default: the newest that has some.")
    ] = None,
    as_json: output.Json = False,
    as_csv: output.Csv = False,
) -> None:
    """List the trials of a sweep in the order they were suggested."""
    if context.invoked_subcommand:
        return
    from orch import views
    from orch.cli import tables
    from orch.sweeps.life import require_sweep

    with results() as queries:
        tried = [each for each in queries.sweeps() if sum(each.trials.values())]
        record = require_sweep(queries, sweep) if sweep else next(iter(tried), None)
        trials = queries.trials(record.id) if record else []
    names = views.searched(record.spec.get("space")) if record else []
    searched = [name for name in names if name not in tables.SHOWN_ELSEWHERE]
    columns = ["n", "trial", "state", "score", "frozen", *searched, "time", "weights", "failure"]
    kept = _with_weights(trials)
    rows = [
        [
            trial.number,
            trial.id[:6],
            trial.state,
            trial.score,
            tables.frozen(trial),
            *(views.value(trial.params.get(name)) for name in searched),
            output.duration(trial.seconds),
            "kept" if trial.id in kept else None,
            trial.failure_kind,
        ]
        for trial in trials
    ]
    output.listing(
        views.document(
            sweep=record.id if record else None,
            trials=[{**views.trial(each), "weights": each.id in kept} for each in trials],
        ),
        columns,
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty=f"sweep {record.id[:6]} has no trial yet: it is {record.state}"
        if record
        else "no trial was run yet; try: orch sweep digits --trials 12",
    )


def _with_weights(trials: list[TrialRecord]) -> set[str]:
    """The ids of those trials whose weights are in this home."""
    _, home = enter()
    return {each.id for each in trials if (home.checkpoints / f"{each.id}.npz").is_file()}


@app.command("show")
def show(
    trial: Annotated[str, typer.Argument(help="A trial's id, or the beginning of one.")],
    png: Annotated[Path | None, typer.Option(help="Write the curves to this file.")] = None,
    as_json: output.Json = False,
) -> None:
    """Show a trial: settings, what was frozen, its curves and epochs, how it failed."""
    from orch import views
    from orch.sweeps.life import require_trial

    if png is not None:
        curves.check(png)
    with results() as queries:
        record, sweep = require_trial(queries, trial)
        epochs = queries.epochs(record.id)
    if as_json:
        options = sweep.spec.get("dataset_options") or {}
        shown = {**views.trial(record, epochs), "dataset_options": options}
        output.print_json(views.document(**shown))
    else:
        _show(record, sweep, epochs)
    if png is not None:
        curves.save(png, f"{sweep.name}, trial {record.id[:6]}", epochs)
        output.say(f"{png} is written")


def _show(record: TrialRecord, sweep: SweepRecord, epochs: list[EpochRecord]) -> None:
    from orch import views
    from orch.cli import tables

    searched = views.searched(sweep.spec.get("space"))
    fixed = {name: value for name, value in record.params.items() if name not in searched}
    rows = [
        ("id", record.id),
        ("sweep", f"{record.sweep_id[:6]} {sweep.name}"),
        *(("option", pair) for pair in tables.chosen_options(sweep.dataset, sweep.spec)),
        ("state", record.state),
        (sweep.metric, record.score),
        ("best epoch", tables.epochs(record)),
        *(() if "frozen_layers" in searched else [("frozen layers", views.frozen(record))]),
        ("computed once up to", record.cut),
        *tables.pairs({name: value for name, value in record.params.items() if name in searched}),
        ("fixed", ", ".join(f"{name} {views.value(value)}" for name, value in fixed.items())),
        ("seed", str(record.seed)),
        ("time", output.duration(record.seconds)),
        ("worker", record.worker),
        ("attempt", str(record.attempt)),
    ]
    output.show_table(("trial", f"number {record.number}"), rows)
    if epochs:
        print()
        if len(epochs) > 1:
            print(curves.draw(epochs))
        _show_epochs(epochs)
    if record.failure_kind:
        print(f"\n{record.failure_kind}: {output.clean(record.failure_message or '')}")
        print(output.clean(record.traceback or "", lines=True))


def _show_epochs(epochs: list[EpochRecord]) -> None:
    names = list(epochs[0].metrics)
    output.show_table(
        ["epoch", "stage", *names, "time"],
        [
            [
                each.epoch,
                each.stage,
                *(_metric(name, each.metrics[name]) for name in names),
                output.duration(each.seconds),
            ]
            for each in epochs
        ],
    )


def _metric(name: str, value: float) -> str:
    return f"{value:.3g}" if name == "learning_rate" else f"{value:.4f}"
