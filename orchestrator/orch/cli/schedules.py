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
    context: typer.Context,
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
    priority: options.Priority = 0,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Skip while data, weights and words are the same.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add the trials to one growing sweep.")
    ] = False,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Begin with the best of the last sweep.")
    ] = False,
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
    concurrent: options.Concurrent = None,
    gpus_per_trial: options.GpusPerTrial = None,
    cpus_per_trial: options.CpusPerTrial = None,
    hang_timeout: options.HangTimeout = None,
    trial_timeout: options.TrialTimeout = None,
    max_failures_in_a_row: options.MostFailures = None,
    strict: options.Strict = False,
    as_json: output.Json = False,
) -> None:
    """Store a sweep that runs whenever a cron expression is due."""
    when = {each: context.params[each] for each in WHEN}
    when["mode"] = _mode(if_changed, extend, warm_start)
    when["window"] = options.seconds("--window", window)
    when["jitter"] = options.seconds("--jitter", jitter) or 0.0
    _add(when, options.said(context.params), as_json)


WHEN = ("name", "cron", "timezone", "overlap", "catch_up", "until", "priority")


def _add(when: dict[str, Any], said: dict[str, Any], as_json: bool) -> None:
    from orch.service import schedules

    words = {key: value for key, value in said.items() if value is not None and value is not False}
    wish = {**when, "words": words}
    path, body = "/schedules", {**when, "sweep": words}
    found = ask("POST", path, lambda s: schedules.add(s, schedules.wish(wish)), body)
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
        *((name, _word(value)) for name, value in found["sweep"].items() if name != "name"),
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
        [_fire(each, found["timezone"]) for each in found["fires"]],
        as_json=as_json,
        as_csv=as_csv,
        empty=f"schedule {schedule} has not been due yet",
    )


FIRE_COLUMNS = ("due", "state", "late", "sweep", "it is", "best", "instants", "why")


def _show_fires(fires: list[dict[str, Any]], zone: str) -> None:
    output.show_table(FIRE_COLUMNS, [_fire(each, zone) for each in fires])


def _fire(fire: dict[str, Any], zone: str) -> list[Any]:
    return [
        _local(fire["due_at"], zone),
        fire["state"],
        output.duration(fire["late_seconds"]),
        (fire["sweep"] or "")[:6] or None,
        fire["sweep_state"],
        fire["best"],
        fire["instants"],
        fire["reason"],
    ]


def _word(value: Any) -> str:
    """A word of a sweep, as it would be typed."""
    if isinstance(value, dict):
        pairs: dict[str, Any] = value
        return " ".join(f"{name}={each}" for name, each in pairs.items())
    return str(value)


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
