"""`orch sweeps`: what was swept, and going on with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from orch.cli import detached, options, output
from orch.cli.asking import ask, client, results
from orch.cli.door import enter, enter_with_libraries, opened, reading
from orch.cli.nouns import noun
from orch.errors import UsageError, nearest
from orch.trials import FailureKind

if TYPE_CHECKING:
    from orch.home import Home
    from orch.planning.spec import PlannedSweep
    from orch.settings import Settings
    from orch.sweeps.orders import Wanted
    from orch_db.records import SweepRecord

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
    from orch.sweeps.control import as_it_is

    with results() as queries:
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
                _state(each),
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


def _space(record: SweepRecord) -> dict[str, str]:
    """What is searched, or what was said of it where that has not been planned yet."""
    words: dict[str, Any] = record.spec.get("words", {})
    return record.spec.get("space") or words.get("space", {})


def _state(record: SweepRecord) -> str:
    """The state, and what was asked of one that runs: "running, to pause"."""
    asked = record.request if record.state == "running" else None
    return f"{record.state}, to {asked}" if asked else record.state


@app.command("show")
def show(sweep: Id, as_json: output.Json = False) -> None:
    """Show a sweep: its space, its trials ranked, what failed."""
    from orch import views
    from orch.cli import tables
    from orch.sweeps.life import require_sweep

    with results() as queries:
        record = require_sweep(queries, sweep)
        trials, best = queries.trials(record.id), queries.best(record)
    if as_json:
        output.print_json(views.document(**views.sweep(record, best, trials)))
        return
    rows = [
        ("id", record.id),
        ("state", _state(record)),
        *((("because", record.reason),) if record.reason else ()),
        *((("forked from", record.parent[:6]),) if record.parent else ()),
        ("dataset", f"{record.dataset} {record.spec.get('dataset_digest', '')[:12]}"),
        *(("option", pair) for pair in tables.chosen_options(record.dataset, record.spec)),
        ("limit", record.spec.get("limit")),
        ("strategy", record.strategy),
        ("backbone", record.backbone),
        ("started", record.created_at),
        ("ended", record.finished_at),
        ("trials took", output.duration(views.took(trials))),
        ("expected", output.duration(record.expected_seconds)),
        ("trials", ", ".join(f"{count} {state}" for state, count in record.trials.items())),
        *((f"space {name}", text) for name, text in _space(record).items()),
        ("git commit", record.git_commit),
        *((f"version {name}", text) for name, text in record.versions.items()),
    ]
    output.show_table(("sweep", record.name), rows)
    print()
    tables.sweep_result(record, trials, top=len(trials))


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
    detach: options.Detach = False,
    priority: options.Priority = 0,
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
    from orch.sweeps.orders import require_unfinished

    if _left_to_service(detach, priority, **flags, strict=strict):
        if fork:
            detached.fork(sweep, priority, as_json)
        else:
            detached.again(sweep, "resume", {"priority": priority}, as_json)
        return
    record = _record(sweep)
    if not fork:
        require_unfinished(record)
    _run(_planned(record, flags, fork=fork), strict=strict, as_json=as_json)


@app.command("pause")
def pause(sweep: Id) -> None:
    """Stop a running sweep after the epoch under way; resume goes on from there."""
    _ask(sweep, "pause")


@app.command("stop")
def stop(sweep: Id) -> None:
    """Start nothing new in a running sweep, and let its running trials finish."""
    _ask(sweep, "stop")


@app.command("cancel")
def cancel(sweep: Id) -> None:
    """End a sweep now and for good; what ended before stays and is ranked."""
    _ask(sweep, "cancel")


@app.command("extend")
def extend(
    sweep: Id,
    trials: Annotated[str, typer.Option(help="How many more, +50, or how many in all, 100.")],
    concurrent: options.Concurrent = None,
    ray_address: options.RayAddress = None,
    strict: options.Strict = False,
    detach: options.Detach = False,
    priority: options.Priority = 0,
    as_json: output.Json = False,
) -> None:
    """Give a sweep more trials; where nobody runs it, go on with it now."""
    from orch.sweeps import orders

    flags = {"concurrent": concurrent, "ray_address": ray_address}
    number, in_all = _number(trials), not trials.strip().startswith("+")
    if _left_to_service(detach, priority, **flags, strict=strict):
        body = {"trials": number, "in_all": in_all, "priority": priority}
        detached.again(sweep, "extend", body, as_json)
        return
    record = _record(sweep)
    orders.require_not_cancelled(record)
    wanted = number if in_all else int(record.spec["trials"]) + number
    ready = _planned(record, flags) if record.state != "running" else None
    with opened(*enter()) as (store, _):
        orders.extend(store, record, wanted)
    output.say(f"sweep {record.id[:6]} has {output.count(wanted, 'trial')} now")
    if ready is not None:
        _run(ready.of(wanted), strict=strict, as_json=as_json)


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
    detach: options.Detach = False,
    priority: options.Priority = 0,
    as_json: output.Json = False,
) -> None:
    """Run a sweep's failed trials again."""
    from orch.sweeps import orders

    if not failed and not kinds:
        raise UsageError("nothing says what to run again", f"orch sweeps retry {sweep} --failed")
    wanted: list[FailureKind] = [_kind(each) for each in kinds or ()]
    flags = {"concurrent": concurrent, "ray_address": ray_address}
    if _left_to_service(detach, priority, **flags, strict=strict):
        detached.again(sweep, "retry", {"classes": wanted, "priority": priority}, as_json)
        return
    record = _record(sweep)
    orders.require_retriable(record)
    ready = _planned(record, flags)
    with opened(*enter()) as (store, _):
        count = orders.retry(store, record, wanted)
    output.say(f"{output.count(count, 'trial')} of sweep {record.id[:6]} to run again")
    _run(ready, strict=strict, as_json=as_json)


def _ask(sweep: str, wanted: Wanted) -> None:
    """Ask the driver of a sweep for something, from another terminal than its own."""
    from orch.service import sweeps

    path = f"/sweeps/{sweep}/{wanted}"
    output.say(ask("POST", path, lambda s: sweeps.ask(s, sweep, wanted))["said"])


def _record(prefix: str) -> SweepRecord:
    """The sweep whose id begins so, as it is."""
    from orch.sweeps.life import require_sweep

    with reading() as queries:
        return require_sweep(queries, prefix)


@dataclass(frozen=True)
class _Ready:
    """A sweep that was checked and may run; `parent` is the one that it began from, and `fresh`
    says that nothing of it ran before.
    """

    planned: PlannedSweep
    settings: Settings
    home: Home
    parent: str | None = None
    fresh: bool = False

    def of(self, trials: int) -> _Ready:
        """The same with so many trials in all."""
        spec = replace(self.planned.spec, trials=trials)
        return replace(self, planned=replace(self.planned, spec=spec))


def _planned(record: SweepRecord, flags: dict[str, Any], *, fork: bool = False) -> _Ready:
    """A sweep that may go on, or a new one from it, checked against what there is today."""
    from orch.cli.live import steps
    from orch.planning.words import is_unplanned
    from orch.sweeps import resumption

    settings, home = enter_with_libraries(**flags)
    with reading() as queries:
        waits = is_unplanned(record) and not fork
        former = queries.sweep(record.parent) if waits and record.parent else record
        best = queries.best(former) if former else None
    with steps() as progress:
        if waits:
            planned = resumption.begin(record, former, best, settings, home, progress)
            return _Ready(planned, settings, home, record.parent, fresh=True)
        if fork:
            planned = resumption.fork(record, best, settings, home, progress)
            return _Ready(planned, settings, home, record.id, fresh=True)
        planned = resumption.plan_again(record, settings, home, progress)
    return _Ready(planned, settings, home)


def _run(ready: _Ready, *, strict: bool, as_json: bool) -> None:
    from orch.cli import recipes
    from orch.cli.sweep import run_and_show

    run_and_show(
        ready.planned,
        ready.settings,
        ready.home,
        strict=strict,
        as_json=as_json,
        fresh=ready.fresh,
        parent=ready.parent,
        show_result=recipes.comparing(ready.planned, ready.settings, ready.home),
    )


def _left_to_service(detach: bool, priority: int, **flags: object) -> bool:
    """True where that is wished or ORCH_URL names a service, which has no word for these flags.

    Raises:
        UsageError: an option was given that does not fit where the sweep will run.
    """
    if not detach and client() is None:
        options.require_no_priority(priority)
        return False
    options.require_for_service(**flags)
    return True


def _number(text: str) -> int:
    number = text.strip().removeprefix("+")
    if not number.isdecimal() or int(number) == 0:
        raise UsageError(f"--trials {text} is no number of trials", "write --trials +50")
    return int(number)


def _kind(text: str) -> FailureKind:
    known = get_args(FailureKind)
    if text not in known:
        raise UsageError(f"no class of failures is called {text!r}{nearest(text, known)}")
    return cast(FailureKind, text)
