"""Runs one sweep of the queue, as `orch sweeps resume ID` would, and records how it ended.

The service starts this as a process of its own. That it records its own end is what lets it
outlive the service.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing, suppress

from orch import cli
from orch.cli.door import database_url, enter


def main() -> None:
    """Run, record, and exit with the sweep's code."""
    sweep_id = sys.argv[1]
    code = cli.run(["sweeps", "resume", *sys.argv[1:]])
    sys.stdout.flush()
    sys.stderr.flush()
    record(sweep_id, code)
    sys.exit(code)


def record(sweep_id: str, code: int) -> None:
    """Record how the job ended, and what is told of it; the service does what this cannot."""
    from orch.service import processes, queue
    from orch_db.errors import DatabaseError
    from orch_db.service_queries import ServiceQueries
    from orch_db.service_store import ServiceStore

    settings, home = enter()
    url = database_url(settings, home)
    process = processes.identity(os.getpid())
    message = processes.last_error(home, sweep_id) if code else ""
    with suppress(DatabaseError):
        store = ServiceStore.open(url, busy_seconds=settings.busy_seconds)
        with closing(store), closing(ServiceQueries.open(url)) as queries:
            job = queries.job(sweep_id)
            if job is not None:
                queue.end(store, queries, settings, job, process, code, message)


if __name__ == "__main__":
    main()
