"""`orch schedules`: sweeps that the service runs like cron."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import options, output
from orch.cli.asking import ask
from orch.cli.nouns import noun
from orch.errors import UsageError

if TYPE_CHECKING:
    from orch.service.state import Service

app = noun("schedules", "Sweeps that run like cron; add, show, pause, history.")

Name = Annotated[str, typer.Argument(help="A schedule's name.")]


@app.callback()
def list_schedules(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List schedules, with when each fires next."""
    if context.invoked_subcommand:
        return
    _list(as_json, as_csv)


@app.command("list")
def list_all(as_json: output.Json = False, as_csv: output.Csv = False) -> None:
    """List schedules, as the noun alone does."""
    _list(as_json, as_csv)


def _list(as_json: bool, as_csv: bool) -> None:
    from orch.service import schedules

    document = ask("GET", "/schedules", schedules.listing)
    rows = [
        [
            each["name"],
            each["state"],
            each["cron"],
            each["timezone"],
            f"{each['sweep']['dataset']} {each['sweep'].get('strategy', '')}",
            _local(each["next_at"], each["timezone"]),
            (each["last_sweep"] or "")[:6] or None,
        ]
        for each in document["schedules"]
    ]
    output.listing(
        document,
        ["name", "state", "cron", "zone", "sweep", "next", "last"],
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty='no schedule yet: orch schedules add nightly "0 2 * * *" cifar10 --trials 50',
    )


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    cron: Annotated[str, typer.Argument(help='"0 2 * * *", or @daily, @hourly, …')],
    dataset: Annotated[str, typer.Argument(help="What to train on.")],
    timezone: Annotated[str, typer.Option(help="Whose clock: Europe/Berlin.")] = "UTC",
    overlap: Annotated[
        str, typer.Option(help="While its last sweep runs: skip, queue or replace.")
    ] = "skip",
    catch_up: Annotated[
        str, typer.Option(help="Of what was missed, fire: latest, all or none.")
    ] = "latest",
    window: Annotated[str, typer.Option(help="Never fire what is older.")] = "24h",
    jitter: Annotated[str | None, typer.Option(help="Fire later by up to so long.")] = None,
    until: Annotated[str | None, typer.Option(help="The last day, or instant.")] = None,
    priority: Annotated[int, typer.Option(help="Higher runs first.")] = 0,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Skip while data, plugins and space are the same.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add the trials to one growing sweep.")
    ] = False,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Begin with the best of the last sweep.")
    ] = False,
    strategy: Annotated[str | None, typer.Option(help="How to train.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Network to start from.")] = None,
    trials: Annotated[int | None, typer.Option(help="How many configurations to try.")] = None,
    time: Annotated[str | None, typer.Option(help="Stop each sweep after 2h, 90m.")] = None,
    space: options.Space = None,
    split: options.Split = None,
    chosen: options.Chosen = None,
    limit: Annotated[int | None, typer.Option(help="Use so many examples.")] = None,
    metric: Annotated[str | None, typer.Option(help="What to rank by.")] = None,
    sampler: Annotated[str | None, typer.Option(help="How trials are chosen.")] = None,
    pruner: Annotated[str | None, typer.Option(help="How trials are stopped early.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same suggestions.")] = None,
    keep: Annotated[int | None, typer.Option(help="Keep the weights of so many.")] = None,
    concurrent: options.Concurrent = None,
    hang_timeout: options.HangTimeout = None,
    trial_timeout: options.TrialTimeout = None,
    max_failures_in_a_row: options.MostFailures = None,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Store a sweep that runs whenever a cron expression is due."""
    from orch.service import schedules

    sweep = {
        "dataset": dataset,
        "strategy": strategy,
        "backbone": backbone,
        "trials": trials,
        "seconds": options.seconds("--time", time),
        "space": options.pairs("-S", space or [], "learning_rate='log(1e-5,1e-2)'"),
        "options": options.read(chosen, split),
        "limit": limit,
        "metric": metric,
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
        "keep": keep,
        "concurrent": concurrent,
        "hang_timeout": options.seconds("--hang-timeout", hang_timeout),
        "trial_timeout": options.seconds("--trial-timeout", trial_timeout),
        "max_failures_in_a_row": max_failures_in_a_row,
        "strict": strict,
    }
    body: dict[str, Any] = {
        "name": name,
        "cron": cron,
        "timezone": timezone,
        "words": {key: value for key, value in sweep.items() if value is not None},
        "overlap": overlap,
        "catch_up": catch_up,
        "mode": _mode(if_changed, extend, warm_start),
        "window": options.seconds("--window", window),
        "jitter": options.seconds("--jitter", jitter) or 0.0,
        "until": until,
        "priority": priority,
    }
    sent = {**body, "sweep": body["words"]}
    del sent["words"]
    found = ask("POST", "/schedules", lambda s: schedules.add(s, schedules.wish(body)), sent)
    if as_json:
        output.print_json(found)
        return
    output.say(
        f"schedule {found['name']} fires next at {_local(found['next_at'], found['timezone'])}"
    )
    _warn_without_service()


def _mode(if_changed: bool, extend: bool, warm_start: bool) -> str:
    chosen = {"if-changed": if_changed, "extend": extend, "warm-start": warm_start}
    found = [name for name, wanted in chosen.items() if wanted]
    if len(found) > 1:
        raise UsageError(f"--{found[0]} and --{found[1]} exclude each other", "give one of them")
    return found[0] if found else "new"


def _warn_without_service() -> None:
    from orch.service import sweeps

    if not ask("GET", "/queue", sweeps.in_queue)["service"]:
        output.say("no service makes schedules fire: orch serve")


@app.command("show")
def show(schedule: Name, as_json: output.Json = False) -> None:
    """Show a schedule and its last fires."""
    from orch.service import schedules

    found = ask("GET", f"/schedules/{schedule}", lambda s: schedules.document(s, schedule))
    if as_json:
        output.print_json(found)
        return
    rows = [
        ("state", found["state"]),
        *((("because", found["blocked"]),) if found["blocked"] else ()),
        ("cron", f"{found['cron']}  {found['timezone']}"),
        ("next", _local(found["next_at"], found["timezone"])),
        *((name, str(value)) for name, value in found["sweep"].items()),
        ("mode", found["mode"]),
        ("overlap", found["overlap"]),
        ("catch up", f"{found['catch_up']}, within {output.duration(found['window'])}"),
        ("jitter", output.duration(found["jitter"]) if found["jitter"] else None),
        ("until", _local(found["until"], found["timezone"])),
    ]
    output.show_table(("schedule", found["name"]), rows)
    if found["fires"]:
        print()
        _show_fires(found["fires"], found["timezone"])


@app.command("history")
def history(
    schedule: Name,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=500)] = 50,
    as_json: output.Json = False,
    as_csv: output.Csv = False,
) -> None:
    """List what became of a schedule's instants, the latest first."""
    from orch.service import schedules

    path, query = f"/schedules/{schedule}/history", {"limit": limit}
    found = ask("GET", path, lambda s: schedules.history(s, schedule, limit), query=query)
    output.listing(
        found,
        FIRE_COLUMNS,
        [_fire(each, "UTC") for each in found["fires"]],
        as_json=as_json,
        as_csv=as_csv,
        empty=f"schedule {schedule} has not been due yet",
    )


FIRE_COLUMNS = ("due", "state", "late", "sweep", "instants", "why")


def _show_fires(fires: list[dict[str, Any]], zone: str) -> None:
    output.show_table(FIRE_COLUMNS, [_fire(each, zone) for each in fires])


def _fire(fire: dict[str, Any], zone: str) -> list[Any]:
    return [
        _local(fire["due_at"], zone),
        fire["state"],
        output.duration(fire["late_seconds"]),
        (fire["sweep"] or "")[:6] or None,
        fire["instants"],
        fire["reason"],
    ]


def _local(instant: str | None, zone: str) -> str | None:
    """An instant by the clock of a zone."""
    if instant is None:
        return None
    from datetime import datetime
    from zoneinfo import ZoneInfo

    local = datetime.fromisoformat(instant).astimezone(ZoneInfo(zone))
    return f"{local:%Y-%m-%d %H:%M:%S %Z}"


@app.command("next")
def following(
    schedule: Name,
    count: Annotated[int, typer.Option("-n", help="How many.", min=1, max=1000)] = 5,
    as_json: output.Json = False,
) -> None:
    """Print when a schedule fires next."""
    from orch.service import schedules

    path, query = f"/schedules/{schedule}/next", {"count": count}
    found = ask("GET", path, lambda s: schedules.following(s, schedule, count), query=query)
    if as_json:
        output.print_json(found)
        return
    for instant in found["next"]:
        print(_local(instant, found["timezone"]))


@app.command("pause")
def pause(schedule: Name) -> None:
    """Let a schedule not fire until it is resumed."""
    _say(schedule, "pause", "is paused")


@app.command("resume")
def resume(schedule: Name) -> None:
    """Let a schedule fire again from now on."""
    _say(schedule, "resume", "fires again")


def _say(schedule: str, verb: str, done: str) -> None:
    from orch.service import schedules

    here: dict[str, Callable[[Service, str], dict[str, Any]]] = {
        "pause": schedules.pause,
        "resume": schedules.resume,
    }
    found = ask("POST", f"/schedules/{schedule}/{verb}", lambda s: here[verb](s, schedule))
    output.say(f"schedule {found['name']} {done}")


@app.command("run-now")
def run_now(schedule: Name) -> None:
    """Fire once now, beside what is due."""
    from orch.service import schedules

    path = f"/schedules/{schedule}/run-now"
    found = ask("POST", path, lambda s: schedules.run_now(s, schedule))
    if found["sweep"] is None:
        output.say(f"schedule {found['schedule']} did not fire: {found['reason']}")
        return
    output.say(f"schedule {found['schedule']} queued sweep {found['sweep'][:6]}")
    _warn_without_service()


@app.command("remove")
def remove(schedule: Name) -> None:
    """Forget a schedule and its history; its sweeps stay."""
    from orch.service import schedules

    path = f"/schedules/{schedule}"
    output.say(ask("DELETE", path, lambda s: schedules.remove(s, schedule))["said"])
