"""Writes. Every one is a transaction of its own, and sending it twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, update
from sqlalchemy.dialects import postgresql, sqlite

from orch_db import retry, schema
from orch_db.connect import BUSY_SECONDS, open_engine
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.tables import Base, Epoch, Sweep, Trial

RETRY_SECONDS = 60.0  # a server that is restarted is back sooner

T = TypeVar("T")


class Store:
    """The one writer. Opening it creates the tables where the database is empty.

    A write that meets a lost connection is sent again for `retry_seconds`.

    Raises:
        DatabaseError: the database is locked, read-only, full, not ours, of another schema, or
            its server cannot be reached.
    """

    def __init__(self, engine: Engine, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._engine = engine
        self._retry_seconds = retry_seconds
        schema.prepare(engine)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        busy_seconds: float = BUSY_SECONDS,
        allow_network: bool = False,
        retry_seconds: float = RETRY_SECONDS,
    ) -> Store:
        """Open the database at a URL for writing."""
        schema.refuse_foreign(url)
        engine = open_engine(
            url, write=True, busy_seconds=busy_seconds, allow_network=allow_network
        )
        try:
            return cls(engine, retry_seconds=retry_seconds)
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add_sweep(self, sweep: SweepRecord) -> None:
        """Record a new sweep."""
        row = asdict(sweep)
        del row["trials"]
        self._insert(Sweep, row)

    def set_sweep_state(self, sweep_id: str, state: str, finished_at: str | None) -> None:
        """Record that a sweep runs, stopped or finished."""
        self._write(
            lambda connection: connection.execute(
                update(Sweep)
                .where(Sweep.id == sweep_id)
                .values(state=state, finished_at=finished_at)
            )
        )

    def add_trial(self, trial: TrialRecord) -> None:
        """Record a trial that is about to be dispatched."""
        self._insert(Trial, asdict(trial))

    def add_epoch(self, epoch: EpochRecord, worker: str | None) -> None:
        """Record the metrics of an epoch; the trial's first epoch also says where it runs."""

        def add(connection: Connection) -> None:
            connection.execute(_insert_once(connection, Epoch, asdict(epoch)))
            if epoch.epoch == 1:
                connection.execute(
                    update(Trial)
                    .where(Trial.id == epoch.trial_id, Trial.attempt == epoch.attempt)
                    .values(worker=worker)
                )

        self._write(add)

    def set_trial(self, trial_id: str, attempt: int, **values: Any) -> bool:
        """Change a trial's state and result; False if this attempt is no longer the current one."""
        change = (
            update(Trial)
            .where(Trial.id == trial_id, Trial.attempt == attempt)
            .values(**_storable(values))
        )
        return self._write(lambda connection: connection.execute(change).rowcount == 1)

    def requeue(self, sweep_id: str) -> None:
        """Put trials that began and never ended back in the queue, as a new attempt."""
        self._write(
            lambda connection: connection.execute(
                update(Trial)
                .where(Trial.sweep_id == sweep_id, Trial.state.in_(("running", "lost")))
                .values(state="queued", attempt=Trial.attempt + 1, started_at=None)
            )
        )

    def _insert(self, table: type[Base], row: dict[str, Any]) -> None:
        self._write(lambda connection: connection.execute(_insert_once(connection, table, row)))

    def _write(self, action: Callable[[Connection], T]) -> T:
        """Run an action, which changes nothing when it is run twice, in one transaction."""
        return retry.run(self._engine, action, self._retry_seconds)


def _insert_once(connection: Connection, table: type[Base], row: dict[str, Any]) -> Executable:
    """Insert a row where its key is new; both databases word it alike, each in its dialect."""
    values = _storable(row)
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).values(values).on_conflict_do_nothing()
    return postgresql.insert(table).values(values).on_conflict_do_nothing()


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose texts both databases take: file names of any bytes end up in tracebacks."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }
