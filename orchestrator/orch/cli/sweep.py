"""`orch sweep`: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import options, output
from orch.cli.asking import ask, client
from orch.cli.door import enter_with_libraries
from orch.errors import NoTrialCompletedError, OrchError, SomeTrialsFailedError, UsageError
from orch.settings import Pruner, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from orch.home import Home
    from orch.planning.spec import PlannedSweep
    from orch.planning.words import SweepWords
    from orch.settings import Settings
    from orch_db.queries import Queries


def sweep(
    dataset: Annotated[str | None, typer.Argument(help="What to train on.")] = None,
    strategy: Annotated[str | None, typer.Option(help="How to train.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Pretrained network to start from.")] = None,
    trials: Annotated[int | None, typer.Option(help="How many configurations to try.")] = None,
    time: Annotated[str | None, typer.Option(help="Stop after 2h, 90m, 45s.")] = None,
    space: options.Space = None,
    split: options.Split = None,
    chosen: options.Chosen = None,
    limit: Annotated[
        int | None, typer.Option(help="Use so many examples, a share of each class.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to rank by: val_accuracy, …")] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="How trials are chosen.")] = None,
    pruner: Annotated[Pruner | None, typer.Option(help="How trials are stopped early.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same suggestions.")] = None,
    keep: Annotated[int | None, typer.Option(help="Keep the weights of so many trials.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the sweep.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read all of this from a sweep.toml.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of each, e.g. 0.5.")] = None,
    cpus_per_trial: Annotated[int | None, typer.Option(help="CPU cores of each.")] = None,
    ray_address: options.RayAddress = None,
    hang_timeout: options.HangTimeout = None,
    trial_timeout: options.TrialTimeout = None,
    max_failures_in_a_row: options.MostFailures = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it to orch serve; print its id.")
    ] = False,
    priority: Annotated[int, typer.Option(help="With --detach: higher runs first.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run.")] = False,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Try configurations of a strategy on a dataset and rank them."""
    told = _told(file)
    given: dict[str, Any] = {
        "dataset": dataset,
        "strategy": strategy,
        "backbone": backbone,
        "name": name,
        "limit": limit,
        "time": time,
        "metric": metric,
        "trials": trials,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "keep": keep,
        "concurrent": concurrent,
        "gpus_per_trial": gpus_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "hang_timeout": options.seconds("--hang-timeout", hang_timeout),
        "trial_timeout": options.seconds("--trial-timeout", trial_timeout),
        "max_failures_in_a_row": max_failures_in_a_row,
    }
    words = _words(told, given, space or [], options.read(chosen, split))
    words = replace(words, strict=strict)
    if detach or client() is not None:
        _queue(words, priority, detach, as_json)
        return
    from orch.cli.live import steps
    from orch.planning.spec import plan_sweep

    settings, home = enter_with_libraries(**words.settings, ray_address=ray_address)
    with steps() as progress:
        planned = plan_sweep(words.request, settings, home, progress)
    if dry_run:
        from orch.cli.dry_run import show_plan

        show_plan(planned, settings, home, as_json)
        return
    run_and_show(planned, settings, home, strict=strict, as_json=as_json, fresh=True)


def _told(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    from orch.planning.spec import read_file

    return read_file(file)


def _words(
    told: dict[str, Any], given: dict[str, Any], stated: list[str], chosen: dict[str, str]
) -> SweepWords:
    """What the flags say, and where they say nothing, the file."""
    from orch.planning.spec import parse_duration
    from orch.planning.words import SweepWords

    merged = {name: told.get(name) if word is None else word for name, word in given.items()}
    if merged["dataset"] is None:
        raise UsageError("no dataset was named", "orch datasets lists them: orch sweep digits")
    duration = merged.pop("time")
    said: dict[str, Any] = {name: word for name, word in merged.items() if word is not None}
    given_space = options.pairs("-S", stated, "learning_rate='log(1e-5,1e-2)'")
    return SweepWords(
        **said,
        seconds=parse_duration(str(duration)) if duration is not None else None,
        space=_texts(told.get("space", {})) | given_space,
        options=_texts(told.get("options", {})) | chosen,
    )


def _queue(words: SweepWords, priority: int, detach: bool, as_json: bool) -> None:
    """Leave a sweep to the service, and say how to follow it, or wait for its end."""
    from orch.cli import detached
    from orch.service import sweeps

    body = {**words.to_json(), "priority": priority}
    found = ask("POST", "/sweeps", lambda s: sweeps.queue(s, words, priority), body)
    if not detach:
        detached.wait(found["id"])
    if as_json:
        output.print_json(found)
    else:
        print(found["id"])
        output.say(f"queued; follow it with: orch sweeps logs -f {found['id'][:6]}")
    if not ask("GET", "/queue", sweeps.in_queue)["service"]:
        output.say("no service runs the queue: orch serve")


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
        raise SomeTrialsFailedError(
            f"{counts['failed']} trials of sweep {identity} failed; the others are saved",
            f"orch sweeps show {identity}",
        )


def _counts(queries: Any, sweep_id: str) -> dict[str, int]:
    record = queries.sweep(sweep_id)
    return dict(record.trials) if record else {}


def _show_result(queries: Queries, sweep_id: str, as_json: bool) -> None:
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
