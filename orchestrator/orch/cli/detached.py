"""`orch sweeps logs` and `wait`: sweeps that run somewhere else than in this terminal."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from orch.cli import output
from orch.cli.asking import ask

LOOK_SECONDS = 1.0
OPEN = ("queued", "running")
CODES = {"completed": 0, "failed": 8, "stopped": 130, "paused": 130, "cancelled": 130}
INTERRUPTED = 7  # its driver is gone

Id = Annotated[str, typer.Argument(help="A sweep's id, or the beginning of one.")]


def add_to(app: typer.Typer) -> None:
    """Make them commands of `orch sweeps`."""
    app.command("logs")(logs)
    app.command("wait")(wait)


def logs(
    sweep: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
) -> None:
    """Print what a sweep that the service ran has said."""
    start = 0
    while True:
        over = not follow or not _is_open(_sweep(sweep))
        start = _print_log(sweep, start)
        if over:
            return
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
    said = ""
    while True:
        document = _sweep(sweep)
        line = _line(document)
        if line != said and not quiet:
            output.say(line)
        said = line
        if not _is_open(document):
            raise typer.Exit(exit_code(document))
        time.sleep(LOOK_SECONDS)


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
    return f"sweep {document['id'][:6]} {document['state']}, {ended} trials ended{score}"
