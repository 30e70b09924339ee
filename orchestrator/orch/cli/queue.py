"""`orch queue`: what the service runs and what waits."""

from __future__ import annotations

from orch.cli import output
from orch.cli.asking import ask


def queue(as_json: output.Json = False, as_csv: output.Csv = False) -> None:
    """List the sweeps that run and those that wait, in the order in which they run."""
    from orch.service import sweeps

    document = ask("GET", "/queue", sweeps.in_queue)
    rows = [
        [
            each["sweep"][:6],
            each["name"],
            each["state"],
            each["priority"],
            f"{each['ended']}/{each['trials']}",
            (each["after"] or "")[:6] or None,
            each["created_at"][:16].replace("T", " "),
        ]
        for each in document["queue"]
    ]
    output.listing(
        document,
        ["sweep", "name", "state", "priority", "trials", "after", "queued at"],
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty="nothing is queued; orch sweep DATASET --detach queues a sweep",
    )
    if not document["service"] and not (as_json or as_csv):
        output.say("no service runs the queue: orch serve")
