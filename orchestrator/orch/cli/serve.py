"""`orch serve`: schedules, the queue and the HTTP API, until it is stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.door import database_url, enter
from orch.errors import InterruptedSweepError


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    allowed_hosts: Annotated[
        str | None, typer.Option(help="Names by which clients may call it, with commas.")
    ] = None,
    sweeps_at_once: Annotated[
        int | None, typer.Option(help="Queued sweeps that it runs at once.")
    ] = None,
) -> None:
    """Make schedules fire, run what is queued, answer the HTTP API; see docs/service.md."""
    from orch.service.serve import run

    settings, home = enter(
        host=host, port=port, allowed_hosts=allowed_hosts, sweeps_at_once=sweeps_at_once
    )
    home.create()
    try:
        run(settings, home, database_url(settings, home), output.say)
    except KeyboardInterrupt:  # how a service in a terminal is stopped
        raise InterruptedSweepError(
            "stopped; sweeps that run go on, and the next service finds them", "orch serve"
        ) from None
