"""A service that makes schedules fire by a clock that runs fast, and starts no sweep.

As a script: `python tests/fake_services.py URL HOME BEGAN SPEED LEASE` looks again and again until
every schedule of the database has ended. All services that are told the same see the same clock.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orch.home import Home
from orch.service.scheduler import Scheduler
from orch.settings import Settings
from orch_db.errors import LockedError, LostLeadError
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class FastClock:
    """Showed START at an instant (seconds since 1970), and runs so many times too fast."""

    began: float
    speed: float

    def __call__(self) -> datetime:
        return START + timedelta(seconds=(time.time() - self.began) * self.speed)


def serve(scheduler: Scheduler, lease: float) -> None:
    """Look until all is over."""
    while any(each.state == "active" for each in scheduler.queries.schedules()):
        try:
            if scheduler.store.lead(lease):
                scheduler.tick()
        except (LostLeadError, LockedError) as error:
            print(error.message, file=sys.stderr, flush=True)
        time.sleep(LOOK_SECONDS)


def main() -> None:
    url, home, began, speed, lease = sys.argv[1:]
    store = ServiceStore.open(url, f"{os.getpid()}:{time.time()}")
    with closing(store), closing(ServiceQueries.open(url)) as queries:
        clock = FastClock(float(began), float(speed))
        serve(Scheduler(store, queries, Settings(), Home(Path(home)), clock), float(lease))


if __name__ == "__main__":
    main()
