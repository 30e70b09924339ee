"""What the service writes: its queue, schedules, fires and notices.

Every write is a transaction of its own, and sending it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from orch_db import agenda, jobs, retry, schema
from orch_db.agenda import Decision
from orch_db.connect import BUSY_SECONDS, open_engine
from orch_db.records import JobRecord, NoticeRecord, ScheduleRecord, SweepRecord
from orch_db.statements import insert_once
from orch_db.tables import Sweep

RETRY_SECONDS = 10.0  # the service looks again soon, and its clients wait
SCHEDULER = "scheduler"

T = TypeVar("T")


class ServiceStore:
    """The writes of one service, which has a name of its own.

    Raises:
        DatabaseError: as `store.Store`.
        LostLeadError: a decision was to be recorded, and another service leads by now.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._epoch = 0
        schema.prepare(engine)

    @classmethod
    def open(
        cls,
        url: str,
        name: str = "",
        *,
        busy_seconds: float = BUSY_SECONDS,
        allow_network: bool = False,
    ) -> ServiceStore:
        """Open the database at a URL for writing."""
        schema.refuse_foreign(url)
        engine = open_engine(
            url, write=True, busy_seconds=busy_seconds, allow_network=allow_network
        )
        try:
            return cls(engine, name)
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # the queue

    def add(self, sweep: SweepRecord, flags: Mapping[str, Any], priority: int = 0) -> None:
        """Record a sweep as words alone, and queue it."""
        row = asdict(sweep)
        del row["trials"]

        def action(connection: Connection) -> None:
            insert_once(connection, Sweep, row)
            jobs.enqueue(connection, sweep.id, flags, sweep.created_at, priority)

        self._write(action)

    def enqueue(
        self, sweep_id: str, flags: Mapping[str, Any], instant: str, priority: int = 0
    ) -> bool:
        """Queue a sweep that is there; False where it waits or runs already."""
        return self._write(lambda c: jobs.enqueue(c, sweep_id, flags, instant, priority))

    def claim(self, most: int, seconds: float, instant: str) -> JobRecord | None:
        """Take the first job that may run, unless this service runs as many as it may."""
        return self._write(lambda c: jobs.claim(c, self._name, most, seconds, instant))

    def started(self, sweep_id: str, process: str) -> None:
        """Record which process runs a job."""
        self._write(lambda c: jobs.started(c, sweep_id, self._name, process))

    def hold(self, seconds: float) -> None:
        """Hold all jobs of this service for some seconds more."""
        self._write(lambda c: jobs.hold(c, self._name, seconds))

    def adopt(self, job: JobRecord, seconds: float) -> bool:
        """Take over a job whose service is gone, and whose process is not."""
        former = job.service or ""
        return self._write(lambda c: jobs.adopt(c, job.sweep_id, former, self._name, seconds))

    def end_job(
        self,
        sweep_id: str,
        process: str,
        code: int,
        message: str,
        instant: str,
        notices: tuple[NoticeRecord, ...] = (),
    ) -> bool:
        """Record how the process of a job ended, and what is told of that; False where it was."""

        def action(connection: Connection) -> bool:
            ended = jobs.end(connection, sweep_id, process, code, message, instant)
            if ended:
                agenda.tell(connection, notices)
            return ended

        return self._write(action)

    def lose(self, sweep_id: str, service: str, why: str, instant: str) -> str:
        """Queue a job again whose process is gone, or end it; returns its state."""
        return self._write(lambda c: jobs.lose(c, sweep_id, service, why, instant))

    def recover(self, why: str, instant: str) -> list[str]:
        """Queue the jobs again that nobody runs any more; returns their sweeps."""

        def action(connection: Connection) -> list[str]:
            found = jobs.abandoned(connection)
            for sweep_id, service in found:
                jobs.lose(connection, sweep_id, service, why, instant)
            return [sweep_id for sweep_id, _ in found]

        return self._write(action)

    # schedules

    def lead(self, seconds: float, gone: str | None = None) -> bool:
        """Lead for some seconds, or go on with it; False where another service does.

        `gone` names a leader whose process is known to have ended.
        """
        epoch = self._write(lambda c: agenda.lead(c, SCHEDULER, self._name, seconds, gone))
        self._epoch = epoch or 0
        return epoch is not None

    def resign(self) -> None:
        """Let another service lead at once."""
        self._write(lambda c: agenda.resign(c, SCHEDULER, self._name))

    def decide(self, decision: Decision) -> bool:
        """Record what becomes of a schedule's instants; False where it was decided otherwise."""

        def action(connection: Connection) -> bool:
            agenda.require_leader(connection, SCHEDULER, self._name, self._epoch)
            return agenda.decide(connection, decision)

        return self._write(action)

    def run_now(self, decision: Decision) -> None:
        """Fire beside what is due, whoever leads."""
        self._write(lambda c: agenda.run_now(c, decision))

    def add_schedule(self, schedule: ScheduleRecord) -> None:
        """Record a new schedule.

        Raises:
            NameTakenError: another has its name.
        """
        self._write(lambda c: agenda.add(c, schedule))

    def change_schedule(self, schedule_id: str, **values: Any) -> None:
        """Set columns of a schedule."""
        self._write(lambda c: agenda.change(c, schedule_id, values))

    def remove_schedule(self, schedule_id: str) -> None:
        """Delete a schedule and its history; the sweeps it made stay."""
        self._write(lambda c: agenda.remove(c, schedule_id))

    # notices

    def tell(self, notices: Iterable[NoticeRecord]) -> None:
        """Queue what is to be told, each notice once."""
        wanted = tuple(notices)
        self._write(lambda c: agenda.tell(c, wanted))

    def told(self, notice_id: str, instant: str) -> None:
        """Record that a notice arrived."""
        self._write(lambda c: agenda.told(c, notice_id, instant))

    def untold(self, notice_id: str, error: str, pause: float | None) -> None:
        """Record that a notice was refused; it is sent again after a pause, or never."""
        self._write(lambda c: agenda.untold(c, notice_id, error, pause))

    def _write(self, action: Callable[[Connection], T]) -> T:
        return retry.run(self._engine, action, RETRY_SECONDS)
