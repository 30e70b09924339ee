"""`orch sweeps`: what was swept, and going on with it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from orch.cli import options, output
from orch.cli.door import enter, enter_with_libraries, opened, reading
from orch.cli.nouns import noun
from orch.errors import NotFoundError, UsageError, nearest
from orch.trials import FailureKind

if TYPE_CHECKING:
    from orch_db.records import SweepRecord
    from orch_db.store import Store

app = noun("sweeps", "Sweeps, newest first; show, resume, pause, stop, cancel, extend, retry.")

Id = Annotated[str, typer.Argument(help="A sweep's id, or the beginning of one.")]


@app.callback()
def list_sweeps(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List sweeps, newest first."""
    if context.invoked_subcommand:
        return
    from orch import views
    from orch.control import as_it_is

    with reading() as queries:
        records = [as_it_is(each) for each in queries.sweeps()]
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
        *((("because", record.reason),) if record.reason else ()),
        *((("forked from", record.parent[:6]),) if record.parent else ()),
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
    concurrent: options.Concurrent = None,
    ray_address: options.RayAddress = None,
    hang_timeout: options.HangTimeout = None,
    trial_timeout: options.TrialTimeout = None,
    max_failures_in_a_row: options.MostFailures = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Start a new sweep from it, with what there is today.")
    ] = False,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Go on with a sweep that was interrupted, paused or stopped: what ended stays."""
    flags = {
        "concurrent": concurrent,
        "ray_address": ray_address,
        "hang_timeout": options.seconds("--hang-timeout", hang_timeout),
        "trial_timeout": options.seconds("--trial-timeout", trial_timeout),
        "max_failures_in_a_row": max_failures_in_a_row,
    }
    _go_on(sweep, flags, fork=fork, strict=strict, as_json=as_json)


@app.command("pause")
def pause(sweep: Id) -> None:
    """Stop a running sweep after the epoch under way; resume goes on from there."""
    _ask(sweep, "pause", "running trials stop after their epoch")


@app.command("stop")
def stop(sweep: Id) -> None:
    """Start nothing new in a running sweep, and let its running trials finish."""
    _ask(sweep, "stop", "running trials finish, then it ends")


@app.command("cancel")
def cancel(sweep: Id) -> None:
    """End a sweep now and for good; what ended before stays and is ranked."""
    _ask(sweep, "cancel", "its trials are ended now")


@app.command("extend")
def extend(
    sweep: Id,
    trials: Annotated[str, typer.Option(help="How many more, +50, or how many in all, 100.")],
    concurrent: options.Concurrent = None,
    ray_address: options.RayAddress = None,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Give a sweep more trials; where nobody runs it, go on with it now."""
    with _writing(sweep) as (store, record):
        _refuse_cancelled(record)
        former = int(record.spec["trials"])
        wanted = _all_trials(trials, former)
        if not store.extend(record.id, former, wanted):
            raise UsageError(
                f"sweep {record.id[:6]} was just extended by another; nothing was changed",
                f"orch sweeps show {record.id[:6]}, then the same again",
            )
    output.say(f"sweep {record.id[:6]} has {wanted} trials now")
    if record.state != "running":
        flags = {"concurrent": concurrent, "ray_address": ray_address}
        _go_on(record.id, flags, strict=strict, as_json=as_json)


@app.command("retry")
def retry(
    sweep: Id,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only those that failed so: 'worker lost', data, hung, …"),
    ] = None,
    concurrent: options.Concurrent = None,
    ray_address: options.RayAddress = None,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Run a sweep's failed trials again."""
    from orch.control import dead_holder

    if not failed and not kinds:
        raise UsageError("nothing says what to run again", f"orch sweeps retry {sweep} --failed")
    wanted = tuple(_kind(each) for each in kinds or ())
    with _writing(sweep) as (store, record):
        _refuse_cancelled(record)
        if record.state == "running":
            raise UsageError(
                f"sweep {record.id[:6]} is running; nothing was changed",
                f"orch sweeps stop {record.id[:6]}, then the same again",
            )
        count = store.retry_failed(record.id, wanted, dead_holder(record))
    if not count:
        raise NotFoundError(
            f"no trial of sweep {record.id[:6]} failed{' like that' if wanted else ''}",
            f"orch sweeps show {record.id[:6]}",
        )
    output.say(f"{count} trials of sweep {record.id[:6]} are queued again")
    flags = {"concurrent": concurrent, "ray_address": ray_address}
    _go_on(record.id, flags, strict=strict, as_json=as_json)


def _ask(prefix: str, wanted: str, effect: str) -> None:
    """Ask the driver of a sweep for something, from another terminal than its own."""
    from orch.control import dead_holder
    from orch.director import now
    from orch.sweep import require_sweep

    with _writing(prefix) as (store, record):
        identity = record.id[:6]
        heard = store.request(record.id, wanted, now(), dead_holder(record))
    with reading() as queries:
        after = require_sweep(queries, record.id).state
    if heard:
        output.say(f"sweep {identity} was asked to {wanted}: {effect}")
    elif after == "cancelled" != record.state:
        output.say(f"sweep {identity} was cancelled; what ended before is saved")
    else:
        raise UsageError(
            f"sweep {identity} is not running: it is {record.state}; nothing was changed",
            f"orch sweeps show {identity}",
        )


@contextmanager
def _writing(prefix: str) -> Generator[tuple[Store, SweepRecord]]:
    """The sweep whose id begins with `prefix`, and the store to change it in."""
    from orch.sweep import require_sweep

    with reading() as queries:
        record = require_sweep(queries, prefix)
    with opened(*enter()) as (store, _):
        yield store, record


def _go_on(
    prefix: str,
    flags: dict[str, Any],
    *,
    fork: bool = False,
    strict: bool,
    as_json: bool,
) -> None:
    from orch import resumption
    from orch.cli import recipes
    from orch.cli.live import steps
    from orch.cli.sweep import run_and_show
    from orch.sweep import require_sweep

    settings, home = enter_with_libraries(**flags)
    with reading() as queries:
        record = require_sweep(queries, prefix)
        best = queries.best(record)
    with steps() as progress:
        planned = (
            resumption.fork(record, best, settings, home, progress)
            if fork
            else resumption.plan_again(record, settings, home, progress)
        )
    run_and_show(
        planned,
        settings,
        home,
        strict=strict,
        as_json=as_json,
        fresh=fork,
        parent=record.id if fork else None,
        show_result=recipes.comparing(planned),
    )


def _refuse_cancelled(record: SweepRecord) -> None:
    if record.state == "cancelled":
        raise UsageError(
            f"sweep {record.id[:6]} was cancelled and does not go on; its results are safe",
            f"orch sweeps resume {record.id[:6]} --fork",
        )


def _all_trials(text: str, now: int) -> int:
    """Read "+50", so many more, or "100", so many in all."""
    number = text.strip().removeprefix("+")
    if not number.isdecimal() or int(number) == 0:
        raise UsageError(f"--trials {text} is no number of trials", "write --trials +50")
    wanted = now + int(number) if text.strip().startswith("+") else int(number)
    if wanted <= now:
        raise UsageError(f"the sweep has {now} trials already", "write --trials +50 for 50 more")
    return wanted


def _kind(text: str) -> str:
    known = get_args(FailureKind)
    if text not in known:
        raise UsageError(f"no class of failures is called {text!r}{nearest(text, known)}")
    return text
