"""Writes. Every one is a transaction of its own, and sending it twice changes nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, update
from sqlalchemy.dialects.sqlite import insert

from orch_db import schema
from orch_db.connect import BUSY_SECONDS, open_engine, translated
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.tables import Base, Epoch, Sweep, Trial


class Store:
    """The one writer. Opening it creates the tables where the database is empty.

    Raises:
        DatabaseError: the database is locked, read-only, full, not ours or of another schema.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        schema.prepare(engine)

    @classmethod
    def open(
        cls, url: str, *, busy_seconds: float = BUSY_SECONDS, allow_network: bool = False
    ) -> Store:
        """Open the database at a URL for writing."""
        schema.refuse_foreign(url)
        return cls(
            open_engine(url, write=True, busy_seconds=busy_seconds, allow_network=allow_network)
        )

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
        with self._transaction() as connection:
            connection.execute(
                update(Sweep)
                .where(Sweep.id == sweep_id)
                .values(state=state, finished_at=finished_at)
            )

    def add_trial(self, trial: TrialRecord) -> None:
        """Record a trial that is about to be dispatched."""
        self._insert(Trial, asdict(trial))

    def add_epoch(self, epoch: EpochRecord, worker: str | None) -> None:
        """Record the metrics of an epoch; the trial's first epoch also says where it runs."""
        with self._transaction() as connection:
            connection.execute(insert(Epoch).values(asdict(epoch)).on_conflict_do_nothing())
            if epoch.epoch == 1:
                connection.execute(
                    update(Trial)
                    .where(Trial.id == epoch.trial_id, Trial.attempt == epoch.attempt)
                    .values(worker=worker)
                )

    def set_trial(self, trial_id: str, attempt: int, **values: Any) -> bool:
        """Change a trial's state and result; False if this attempt is no longer the current one."""
        with self._transaction() as connection:
            result = connection.execute(
                update(Trial).where(Trial.id == trial_id, Trial.attempt == attempt).values(**values)
            )
            return result.rowcount == 1

    def requeue(self, sweep_id: str) -> None:
        """Put trials that began and never ended back in the queue, as a new attempt."""
        with self._transaction() as connection:
            connection.execute(
                update(Trial)
                .where(Trial.sweep_id == sweep_id, Trial.state.in_(("running", "lost")))
                .values(state="queued", attempt=Trial.attempt + 1, started_at=None)
            )

    def _insert(self, table: type[Base], row: dict[str, Any]) -> None:
        with self._transaction() as connection:
            connection.execute(insert(table).values(row).on_conflict_do_nothing())

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        with translated(self._engine), self._engine.begin() as connection:
            yield connection
