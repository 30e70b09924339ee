"""Sweeps that are left to the service: queueing them again, `orch sweeps logs` and `wait`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from orch.cli import output
from orch.cli.asking import ask
from orch.errors import InterruptedSweepError

if TYPE_CHECKING:
    from orch.service.state import Service

LOOK_SECONDS = 1.0
OPEN = ("queued", "running")
CODES = {"completed": 0, "failed": 8, "stopped": 130, "paused": 130, "cancelled": 130}
INTERRUPTED = 7  # its driver is gone

Verb = Literal["resume", "extend", "retry"]
Id = Annotated[str, typer.Argument(help="A sweep's id, or the beginning of one.")]


def add_to(app: typer.Typer) -> None:
    """Make them commands of `orch sweeps`."""
    app.command("logs")(logs)
    app.command("wait")(wait)


def again(sweep: str, verb: Verb, body: dict[str, Any], as_json: bool) -> None:
    """Have a sweep queued again, and say so."""
    from orch.service import sweeps

    place: int = body["priority"]
    here: dict[Verb, Callable[[Service], dict[str, Any]]] = {
        "resume": lambda s: sweeps.resume(s, sweep, place),
        "extend": lambda s: sweeps.extend(s, sweep, body["trials"], place, in_all=body["in_all"]),
        "retry": lambda s: sweeps.retry(s, sweep, body["classes"], place),
    }
    found = ask("POST", f"/sweeps/{sweep}/{verb}", here[verb], body)
    output.say(found["said"])
    if as_json:
        output.print_json(_sweep(found["id"]))


def fork(sweep: str, priority: int, as_json: bool) -> None:
    """Have a new sweep queued from another, and say its id."""
    from orch.service import sweeps

    path, body = f"/sweeps/{sweep}/fork", {"priority": priority}
    say_queued(ask("POST", path, lambda s: sweeps.fork(s, sweep, priority), body), as_json)


def say_queued(found: dict[str, Any], as_json: bool) -> None:
    """Print the id of a sweep that was queued, and how to follow it."""
    from orch.service import sweeps

    if as_json:
        output.print_json(found)
    else:
        print(found["id"])
        output.say(f"queued; follow it with: orch sweeps logs -f {found['id'][:6]}")
    if not ask("GET", "/queue", sweeps.in_queue)["service"]:
        output.say("no service runs the queue: orch serve")


def logs(
    sweep: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
) -> None:
    """Print what a sweep that the service ran has said."""
    if not follow:
        _print_log(sweep, 0)
        return
    try:
        _follow(sweep)
    except KeyboardInterrupt:
        raise _left(sweep, "only its log is no longer followed", "logs -f") from None


def _follow(sweep: str) -> None:
    """Print a log from its start to the end of the sweep."""
    _until_started(sweep)
    start, over = 0, False
    while not over:
        over = not _is_open(_sweep(sweep))
        start = _print_log(sweep, start)
        if not over:
            time.sleep(LOOK_SECONDS)


def _left(sweep: str, what: str, verb: str, said: str = "goes on") -> InterruptedSweepError:
    """What Ctrl-C says of a sweep that does not hear it."""
    return InterruptedSweepError(
        f"sweep {sweep[:6]} {said}; {what}", f"orch sweeps {verb} {sweep[:6]}"
    )


def _until_started(sweep: str) -> None:
    """Wait while a sweep waits in the queue, and say so once."""
    said = False
    while (document := _sweep(sweep))["job"] and document["job"]["state"] == "queued":
        if not said:
            output.say(f"sweep {document['id'][:6]} waits in the queue")
        said = True
        time.sleep(LOOK_SECONDS)


def _print_log(sweep: str, start: int) -> int:
    """Print a log from a byte on, to its end; returns where that is."""
    while True:
        found = _log(sweep, start)
        sys.stdout.write(output.clean(found["text"], lines=True))
        sys.stdout.flush()
        if found["end"] == start:
            return start
        start = int(found["end"])


def _log(sweep: str, start: int) -> dict[str, Any]:
    from orch.service import sweeps

    path, query = f"/sweeps/{sweep}/log", {"start": start}
    return ask("GET", path, lambda s: sweeps.log(s, sweep, start), query=query)


def wait(
    sweep: Id,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False,
) -> None:
    """Wait until a sweep has ended, and exit with its code."""
    leave(until_over(sweep, quiet), quiet)


def until_over(sweep: str, quiet: bool = False) -> dict[str, Any]:
    """Wait until a sweep has ended, and say how far it is; returns it as it is then.

    Raises:
        InterruptedSweepError: Ctrl-C, which the sweep does not hear.
    """
    said, state = "", ""
    try:
        while True:
            document = _sweep(sweep)
            line, state = _line(document), document["state"]
            if line != said and not quiet:
                output.say(line)
            said = line
            if not _is_open(document):
                return document
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        if quiet:
            raise InterruptedSweepError("") from None
        goes_on = "stays in the queue" if state == "queued" else "goes on"
        raise _left(sweep, "only the wait has ended", "wait", goes_on) from None


def leave(document: dict[str, Any], quiet: bool = False) -> NoReturn:
    """Exit with the code of a sweep that is over.

    Raises:
        InterruptedSweepError: it was paused, stopped or cancelled.
    """
    code, short = exit_code(document), document["id"][:6]
    if code != CODES["cancelled"]:
        raise typer.Exit(code)
    verb = "show" if document["state"] == "cancelled" else "resume"
    message = "" if quiet else f"sweep {short} is {document['state']}"
    raise InterruptedSweepError(message, f"orch sweeps {verb} {short}")


def _sweep(prefix: str) -> dict[str, Any]:
    from orch.service import sweeps

    return ask("GET", f"/sweeps/{prefix}", lambda s: sweeps.document(s, prefix))


def _is_open(document: dict[str, Any]) -> bool:
    job = document["job"]
    return job["state"] != "ended" if job else document["state"] in OPEN


def exit_code(document: dict[str, Any]) -> int:
    """What the command of a sweep ended with, or would have."""
    job = document["job"]
    if document["state"] == "cancelled":  # its process, if it had one by then, was refused
        return CODES["cancelled"]
    if job and job["exit_code"] is not None:
        return int(job["exit_code"])
    return CODES.get(document["state"], INTERRUPTED)


def _line(document: dict[str, Any]) -> str:
    states = [trial["state"] for trial in document["trials"]]
    ended = sum(state not in OPEN for state in states)
    best = document["best"]
    score = f", best {document['objective']['metric']} {best['score']:.4f}" if best else ""
    why = "" if _is_open(document) or exit_code(document) == 0 else _reason(document)
    return (
        f"sweep {document['id'][:6]} {document['state']}, {output.count(ended, 'trial')} ended"
        f"{score}{f': {output.clean(why)}' if why else ''}"
    )


def _reason(document: dict[str, Any]) -> str:
    """Why a sweep ended otherwise than it should; "" where nobody knows."""
    failures = [trial["failure"]["message"] for trial in document["trials"] if trial["failure"]]
    said = document["job"]["message"] if document["job"] else None
    return str(document["reason"] or (failures[0] if failures else said) or "")
