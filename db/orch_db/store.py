"""Writes. Every one is a transaction of its own, and sending it twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from orch_db import renames, retry, schema, transitions
from orch_db.connect import BUSY_SECONDS, open_engine
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.renames import Renamed
from orch_db.statements import insert_once
from orch_db.tables import Trial

RETRY_SECONDS = 60.0  # a server that is restarted is back sooner

T = TypeVar("T")


class Store:
    """The one writer of a sweep. Opening it creates the tables where the database is empty.

    After `take`, whatever is written to that sweep is refused once another driver has it. A write
    that meets a lost connection is sent again for `retry_seconds`.

    Raises:
        DatabaseError: the database is locked, read-only, full, not ours, of another schema, or
            its server cannot be reached.
        LostSweepError: another driver took the sweep over.
    """

    def __init__(self, engine: Engine, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._engine = engine
        self._retry_seconds = retry_seconds
        self._held: tuple[str, str] | None = None
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

    # sweeps

    def add_sweep(self, sweep: SweepRecord) -> None:
        """Record a new sweep, or what became of one that was queued as words alone."""
        row = asdict(sweep)
        del row["trials"]
        self._write(lambda c: transitions.add_sweep(c, _storable(row)))

    def take(
        self, sweep_id: str, holder: str, seconds: float, dead: str | None = None
    ) -> str | None:
        """Become the driver of a sweep; returns who holds it where that is refused.

        `dead` names a holder that is known to be gone.
        """
        other = self._write(lambda c: transitions.take(c, sweep_id, holder, seconds, dead))
        self._held = (sweep_id, holder) if other is None else None
        return other

    def renew(self, seconds: float) -> None:
        """Hold the sweep for some seconds more."""
        sweep_id, holder = self._mine
        self._write(lambda c: transitions.renew(c, sweep_id, holder, seconds))

    def let_go(
        self, state: str, instant: str, reason: str | None = None, trials: int | None = None
    ) -> None:
        """End this run of the sweep; what did not end is queued again, or cancelled with it.

        One that completed `trials`, but was extended meanwhile, has stopped.
        """
        mine = self._mine
        self._write(lambda c: transitions.let_go(c, *mine, state, instant, reason, trials))

    def interrupt(self, how: str, instant: str) -> None:
        """Queue the sweep's running trials again; their attempts end as `how`."""
        sweep_id, _ = self._mine
        self._fenced(lambda c: transitions.interrupt(c, sweep_id, how, instant))

    def request(self, sweep_id: str, wanted: str, instant: str, dead: str | None = None) -> bool:
        """Ask the driver of a sweep to pause, stop or cancel; False where none runs it.

        `dead` names a driver that is known to be gone.
        """
        return self._write(lambda c: transitions.request(c, sweep_id, wanted, instant, dead))

    def extend(self, sweep_id: str, former: int, trials: int) -> bool:
        """Give a sweep so many trials in all; False where it has not the `former` number now."""
        return self._write(lambda c: transitions.extend(c, sweep_id, former, trials))

    def rename_dataset(self, renamed: Iterable[Renamed]) -> None:
        """Give sweeps and their trials the new name of their dataset, all or none of them."""
        listed = list(renamed)

        def write(connection: Connection) -> None:
            for each in listed:
                renames.rename(connection, each)

        self._write(write)

    # trials

    def add_trial(self, trial: TrialRecord) -> None:
        """Record a trial that is about to be dispatched."""
        self._fenced(lambda c: insert_once(c, Trial, _storable(asdict(trial))))

    def begin(self, trial: TrialRecord, instant: str) -> bool:
        """Record that a worker began with a trial; False for a stale attempt."""
        return self._fenced(lambda c: transitions.begin(c, trial, instant))

    def add_epoch(self, epoch: EpochRecord, worker: str | None) -> bool:
        """Record the metrics of an epoch and where it ran; False for a stale attempt."""
        return self._fenced(lambda c: transitions.add_epoch(c, epoch, worker))

    def end(self, trial: TrialRecord, **values: Any) -> bool:
        """Record a trial's last state and result; False for a stale attempt."""
        return self._fenced(lambda c: transitions.end(c, trial, _storable(values)))

    def again(self, trial: TrialRecord, **values: Any) -> bool:
        """Record how an attempt was lost and queue the next; False for a stale attempt."""
        return self._fenced(lambda c: transitions.again(c, trial, _storable(values)))

    def retry_failed(
        self, sweep_id: str, kinds: tuple[str, ...] = (), dead: str | None = None
    ) -> int:
        """Queue failed trials again, those of some classes or all; returns how many.

        0 while a driver runs the sweep that is not `dead`.
        """
        return self._write(lambda c: transitions.retry_failed(c, sweep_id, kinds, dead))

    # transactions

    @property
    def _mine(self) -> tuple[str, str]:
        if self._held is None:
            raise ValueError("no sweep was taken")
        return self._held

    def _fenced(self, action: Callable[[Connection], T]) -> T:
        """Write as the driver of the sweep that was taken."""
        held = self._held
        if held is None:
            return self._write(action)

        def checked(connection: Connection) -> T:
            transitions.require_holder(connection, *held)
            return action(connection)

        return self._write(checked)

    def _write(self, action: Callable[[Connection], T]) -> T:
        """Run an action, which changes nothing when it is run twice, in one transaction."""
        return retry.run(self._engine, action, self._retry_seconds)


def _storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts both databases take: file names of any bytes end up in tracebacks."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }
