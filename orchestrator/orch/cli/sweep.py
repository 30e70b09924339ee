"""`orch sweep`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import options, output
from orch.cli.asking import ask, client, results
from orch.cli.door import enter_with_libraries
from orch.errors import NoTrialCompletedError, OrchError, SomeTrialsFailedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orch.home import Home
    from orch.planning.spec import PlannedSweep
    from orch.planning.words import SweepWords
    from orch.service.remote import RemoteQueries
    from orch.settings import Settings
    from orch_db.queries import Queries


def sweep(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="What to train on.")] = None,
    strategy: options.Strategy = None,
    backbone: options.Backbone = None,
    trials: options.Trials = None,
    time: options.Time = None,
    space: options.Space = None,
    split: options.Split = None,
    chosen: options.Chosen = None,
    limit: options.Limit = None,
    metric: options.Metric = None,
    sampler: options.SamplerName = None,
    pruner: options.PrunerName = None,
    seed: options.Seed = None,
    keep: options.Keep = None,
    name: Annotated[str | None, typer.Option(help="A name for the sweep.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read all of this from a sweep.toml.")] = None,
    concurrent: options.Concurrent = None,
    gpus_per_trial: options.GpusPerTrial = None,
    cpus_per_trial: options.CpusPerTrial = None,
    ray_address: options.RayAddress = None,
    hang_timeout: options.HangTimeout = None,
    trial_timeout: options.TrialTimeout = None,
    max_failures_in_a_row: options.MostFailures = None,
    detach: options.Detach = False,
    priority: options.Priority = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="With --dry-run: measure this machine again.")
    ] = False,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Try configurations of a strategy on a dataset and rank them."""
    if measure and not dry_run:
        raise UsageError("--measure is for --dry-run; nothing was started", "--dry-run --measure")
    words = _words(_told(file), {**options.said(context.params), "name": name})
    if detach or client() is not None:
        options.require_for_service(dry_run=dry_run, ray_address=ray_address)
        _queue(words, priority, detach, as_json)
        return
    options.require_no_priority(priority)
    from orch.cli.live import steps
    from orch.planning.spec import plan_sweep

    settings, home = enter_with_libraries(**words.settings, ray_address=ray_address)
    with steps() as progress:
        planned = plan_sweep(words.request, settings, home, progress)
    if dry_run:
        from orch.cli.dry_run import show_plan

        show_plan(planned, settings, home, as_json, measure)
        return
    run_and_show(planned, settings, home, strict=strict, as_json=as_json, fresh=True)


def _told(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    from orch.planning.spec import read_file

    return read_file(file)


def _words(told: dict[str, Any], said: dict[str, Any]) -> SweepWords:
    """What the flags say, and where they say nothing, the file."""
    from orch.planning.words import SweepWords

    space = _texts(told.pop("space", {})) | said.pop("space")
    of_dataset = _texts(told.pop("options", {})) | said.pop("options")
    if "time" in told:
        told["seconds"] = options.seconds("time", str(told.pop("time")))
    merged = {name: told.get(name) if word is None else word for name, word in said.items()}
    if merged["dataset"] is None:
        raise UsageError("no dataset was named", "orch datasets lists them: orch sweep digits")
    given: dict[str, Any] = {name: word for name, word in merged.items() if word is not None}
    return SweepWords(**given, space=space, options=of_dataset)


def _queue(words: SweepWords, priority: int, detach: bool, as_json: bool) -> None:
    """Leave a sweep to the service, and say how to follow it, or show its result at its end."""
    from orch.cli import detached
    from orch.service import sweeps

    body = {**words.to_json(), "priority": priority}
    found = ask("POST", "/sweeps", lambda s: sweeps.queue(s, words, priority), body)
    if detach:
        detached.say_queued(found, as_json)
        return
    ended = detached.until_over(found["id"])
    with results() as queries:
        _show_result(queries, found["id"], as_json)
    detached.leave(ended)


def _texts(table: dict[str, Any]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in table.items()
    }


def run_and_show(
    planned: PlannedSweep,
    settings: Settings,
    home: Home,
    *,
    strict: bool,
    as_json: bool,
    fresh: bool,
    parent: str | None = None,
    show_result: Callable[[Queries, str, bool], None] | None = None,
) -> None:
    """Run or resume a planned sweep with the live view, then print its result.

    Raises:
        OrchError: what stopped it before its end, after its result was printed.
        NoTrialCompletedError: not one trial completed.
        SomeTrialsFailedError: `strict`, and a trial failed.
    """
    from orch.cli.door import opened
    from orch.cli.live import abandon, watching
    from orch.sweeps import life

    stopped: OrchError | None = None
    with opened(settings, home) as (store, queries):
        try:
            with watching(planned.spec) as watcher:
                driver = life.Driver(settings, home, store, queries, watcher, abandon)
                if fresh:
                    life.start(driver, planned, parent)
                else:
                    life.resume(driver, planned)
        except OrchError as error:
            stopped = error
        begun = not isinstance(stopped, UsageError)  # which says that nothing was started
        if begun and queries.sweep(planned.spec.id) is not None:
            (show_result or _show_result)(queries, planned.spec.id, as_json)
        counts = _counts(queries, planned.spec.id)
    if stopped is not None:
        raise stopped
    _judge(planned.spec.id[:6], counts, strict)


def _judge(identity: str, counts: dict[str, int], strict: bool) -> None:
    """Raise what the command of a sweep that ran to its end exits with."""
    if not counts.get("completed"):
        raise NoTrialCompletedError(
            f"sweep {identity} ended without a completed trial"
            f"{': its time was up' if counts and not counts.get('failed') else ''}; "
            "its rows are saved",
            f"orch sweeps show {identity}",
        )
    if strict and counts.get("failed"):
        failed = output.count(counts["failed"], "trial")
        raise SomeTrialsFailedError(
            f"{failed} of sweep {identity} failed; the others are saved",
            f"orch sweeps show {identity}",
        )


def _counts(queries: Any, sweep_id: str) -> dict[str, int]:
    record = queries.sweep(sweep_id)
    return dict(record.trials) if record else {}


def _show_result(queries: Queries | RemoteQueries, sweep_id: str, as_json: bool) -> None:
    from orch import views
    from orch.cli.tables import next_commands, sweep_result

    record = queries.sweep(sweep_id)
    if record is None:
        return
    trials, best = queries.trials(sweep_id), queries.best(record)
    if not record.trials and not as_json:
        return
    if as_json:
        output.print_json(views.document(**views.sweep(record, best, trials)))
        return
    sweep_result(record, trials)
    next_commands(record, best)
