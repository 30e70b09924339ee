"""The command tree: one verb for each daily job, plural nouns for the rest."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import (
    backbones,
    cache,
    config,
    datasets,
    db,
    detached,
    doctor,
    leaderboard,
    notify,
    plugins,
    queue,
    recipes,
    schedules,
    serve,
    strategies,
    sweep,
    sweeps,
    trained,
    trials,
)

app = typer.Typer(
    name="orch",
    help="Find, by sweep, how best to fine-tune a pretrained network on your own data.",
    epilog="Start with: orch sweep digits --trials 12. Any command takes --debug and --help.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("sweep")(sweep.sweep)
app.command("reproduce")(recipes.reproduce)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("evaluate")(trained.evaluate)
app.command("predict")(trained.predict)
app.command("export")(trained.export)
app.command("queue")(queue.queue)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("config")(config.config)
detached.add_to(sweeps.app)
for noun in (
    sweeps,
    trials,
    schedules,
    datasets,
    strategies,
    recipes,
    backbones,
    plugins,
    cache,
    notify,
    db,
):
    app.add_typer(noun.app)


@app.callback(invoke_without_command=True)
def orch(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Find, by sweep, how best to fine-tune a pretrained network on your own data."""
    if version:
        from orch import __version__

        print(f"orch {__version__}")
        raise typer.Exit
