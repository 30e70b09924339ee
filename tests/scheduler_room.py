"""A scheduler in a room of its own: its database, its home, and a clock that a test sets."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orch.home import Home
from orch.service.due import written
from orch.service.scheduler import Scheduler
from orch.settings import Settings
from orch_db.records import FireRecord, JobRecord, ScheduleRecord, SweepRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.store import Store

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
HOURLY = ScheduleRecord(
    id="h1",
    name="hourly",
    cron="0 * * * *",
    timezone="UTC",
    words={"dataset": "digits", "name": "hourly", "trials": 4, "concurrent": 2},
    decided_until=written(START),
    created_at=written(START),
)


@dataclass
class Clock:
    """Shows what a test sets."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Room:
    """A scheduler that leads, its database, and its clock."""

    url: str
    store: ServiceStore
    queries: ServiceQueries
    settings: Settings
    home: Home
    clock: Clock

    @property
    def scheduler(self) -> Scheduler:
        return Scheduler(self.store, self.queries, self.settings, self.home, self.clock)

    def tick(self, hours: float, seconds: float = 1) -> int:
        """Look so long after the start."""
        self.clock.now = START + hours * HOUR + seconds * SECOND
        return self.scheduler.tick()

    def add(self, **changes: Any) -> None:
        self.store.add_schedule(replace(HOURLY, **changes))

    @property
    def schedule(self) -> ScheduleRecord:
        (found,) = self.queries.schedules()
        return found

    @property
    def fires(self) -> list[FireRecord]:
        """The oldest first."""
        return self.queries.fires("h1", 1000)[::-1]

    def states(self) -> list[str]:
        return [each.state for each in self.fires]

    def sweep(self, fire: FireRecord) -> SweepRecord:
        assert fire.sweep_id is not None
        found = self.queries.sweep(fire.sweep_id)
        assert found is not None
        return found

    def job(self, fire: FireRecord) -> JobRecord:
        found = self.queries.job(self.sweep(fire).id)
        assert found is not None
        return found

    def complete(self, fire: FireRecord, state: str = "completed") -> None:
        """Run the sweep of a fire to its end, as its process would."""
        sweep_id = self.sweep(fire).id
        claimed = self.store.claim(9, 60, written(self.clock.now))
        assert claimed is not None
        assert claimed.sweep_id == sweep_id
        self.store.started(sweep_id, "here:1:1")
        with closing(Store.open(self.url)) as store:
            store.add_sweep(replace(self.sweep(fire), board="board", spec={"trials": 4}))
            assert store.take(sweep_id, "driver", 60) is None
            store.let_go(state, written(self.clock.now))
        assert self.store.end_job(sweep_id, "here:1:1", 0, "", written(self.clock.now))
