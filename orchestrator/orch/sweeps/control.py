"""The hold of a driver on its sweep: taken once, renewed while it lives, obeyed when asked.

One driver runs a sweep at a time, on whichever machine. It holds the sweep in the database until
a deadline, which a thread moves on; a driver that could not for too long stops, since another may
have taken over. The same thread hears what other terminals ask for.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from orch.errors import UsageError
from orch.home import Home, locked
from orch_db.errors import DatabaseError, LostSweepError
from orch_db.queries import Queries
from orch_db.records import SweepRecord
from orch_db.store import Store

HOLD_SECONDS = 60.0  # a driver that was not heard of for so long has lost its sweep
RENEW_SECONDS = 15.0
OBEY_SECONDS = 1.0  # between looks at what is asked
GIVE_UP_SECONDS = 45.0  # without a renewal, before others may take over
_HOLDING: set[str] = set()  # by this process: machine:process:token


@dataclass
class Control:
    """What the driver is told while it runs: requests, a new number of trials, a lost hold.

    One thread writes, single values that another reads.
    """

    request: str | None = None
    trials: int | None = None
    lost: DatabaseError | None = None
    renewed: float = field(default_factory=time.monotonic)

    @property
    def overdue(self) -> bool:
        """True when the hold was not renewed for so long that others may take over soon."""
        return time.monotonic() - self.renewed >= GIVE_UP_SECONDS


@contextmanager
def holding(store: Store, queries: Queries, sweep_id: str, home: Home) -> Generator[Control]:
    """Be the one driver of a sweep.

    Raises:
        UsageError: another process runs it.
    """
    name = f"{machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    with _alone(sweep_id, home):
        _take(store, queries, sweep_id, name)
        _HOLDING.add(name)
        thread = _Holder(store, queries, sweep_id)
        thread.start()
        try:
            yield thread.control
        finally:
            thread.end()
            _HOLDING.discard(name)


@contextmanager
def _alone(sweep_id: str, home: Home) -> Generator[None]:
    """Make sure that no other process on this machine runs the sweep."""
    try:
        with locked(home.locks / f"sweep-{sweep_id}", wait=False):
            yield
    except BlockingIOError:
        raise _taken(sweep_id, "another process") from None


def _take(store: Store, queries: Queries, sweep_id: str, name: str) -> None:
    record = queries.sweep(sweep_id)
    dead = dead_holder(record) if record else None
    other = store.take(sweep_id, name, HOLD_SECONDS, dead)
    after = queries.sweep(sweep_id) if other is not None else None
    if after is not None and after.state == "cancelled":
        raise UsageError(
            f"sweep {sweep_id[:6]} was cancelled; nothing was started",
            f"orch sweeps show {sweep_id[:6]}",
        )
    if other is not None:
        raise _taken(sweep_id, other.rpartition(":")[0])


def _taken(sweep_id: str, by: str) -> UsageError:
    return UsageError(
        f"sweep {sweep_id[:6]} is being run by {by}; nothing was started",
        f"orch sweeps show {sweep_id[:6]}",
    )


def machine() -> str:
    """This machine, and where processes are numbered apart, which of its containers."""
    numbered = Path("/proc/self/ns/pid")
    inside = numbered.readlink().name if numbered.is_symlink() else ""
    return f"{socket.gethostname()} {inside}".strip().replace(":", "")


def _is_gone(holder: str) -> bool:
    """True for a driver of this machine whose process has ended, or has let go without saying."""
    where, process, _ = holder.rsplit(":", 2)
    if where != machine():
        return False
    if int(process) == os.getpid():
        return holder not in _HOLDING
    try:
        return psutil.Process(int(process)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def dead_holder(record: SweepRecord) -> str | None:
    """The driver that holds a sweep, where it is known to be gone."""
    return record.holder if record.holder and _is_gone(record.holder) else None


def as_it_is(record: SweepRecord) -> SweepRecord:
    """A sweep as it is: one that runs, but whose driver is known to be gone, is interrupted."""
    if record.state == "running" and dead_holder(record):
        return replace(record, state="interrupted")
    return record


class _Holder(threading.Thread):
    """Renews the hold and listens, until it is told to end."""

    def __init__(self, store: Store, queries: Queries, sweep_id: str) -> None:
        super().__init__(name="hold", daemon=True)
        self.control = Control()
        self._store, self._queries, self._sweep_id = store, queries, sweep_id
        self._over = threading.Event()

    def run(self) -> None:
        """Look every second; renew every fifteen."""
        control = self.control
        while not self._over.wait(OBEY_SECONDS) and control.lost is None:
            try:
                orders = self._queries.orders(self._sweep_id)
                control.request, control.trials = orders.request, orders.trials
                if time.monotonic() - control.renewed >= RENEW_SECONDS:
                    began = time.monotonic()
                    self._store.renew(HOLD_SECONDS)
                    control.renewed = began
            except LostSweepError as error:
                control.lost = error
            except DatabaseError as error:
                control.lost = error if control.overdue else None
            except Exception as error:
                control.lost = DatabaseError(f"sweep {self._sweep_id[:6]} cannot be held: {error}")

    def end(self) -> None:
        """Stop, once what is under way is done."""
        self._over.set()
        self.join()
