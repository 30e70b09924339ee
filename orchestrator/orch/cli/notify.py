"""`orch notify`: what is told to webhooks and commands, and whether they hear it."""

from __future__ import annotations

import typer

from orch.cli import output
from orch.cli.asking import looked_here
from orch.cli.door import enter, reading_service
from orch.cli.nouns import noun
from orch.errors import StorageError, UsageError

app = noun("notify", "What is told to webhooks and commands; test them.")


@app.callback()
def list_notices(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List what was told and what is still to be told, newest first."""
    if context.invoked_subcommand:
        return
    from orch import views

    with reading_service() as queries:
        notices = queries.notices(100)
    rows = [
        [
            each.created_at[:19].replace("T", " "),
            each.event,
            each.target,
            "told" if each.delivered_at else "given up" if each.next_at is None else "to be told",
            each.tries,
            each.error,
        ]
        for each in notices
    ]
    output.listing(
        views.document(notices=[views.notice(each) for each in notices]),
        ["at", "event", "target", "state", "tries", "error"],
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty=f"nothing was told yet{looked_here()}; set ORCH_WEBHOOK_URL or ORCH_NOTIFY_COMMAND",
    )


@app.command("test")
def test() -> None:
    """Send a notice to each target now, and say what it answered."""
    from orch.clock import now
    from orch.service import notices

    settings, _ = enter()
    notices.check(settings)
    sent = notices.made(settings, "notify.test", now(), now(), {"text": "orch can reach you"})
    if not sent:
        raise UsageError(
            f"no target of notices is set{looked_here()}",
            "ORCH_WEBHOOK_URL=https://… orch notify test",
        )
    refused = []
    for each in sent:
        try:
            notices.send(settings, each)
            output.say(f"{each.target}: it took the notice")
        except notices.RefusedError as error:
            refused.append(f"{each.target}: {error}")
    if refused:
        raise StorageError("; ".join(refused), "orch config shows where each target is set")
