"""What is asked of a sweep from outside its driver: pause, stop, cancel, more trials, retry.

The command line and the service ask the same way. What is asked of a sweep that runs, its driver
hears within two seconds; what does not fit the state of the sweep is refused, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from orch.clock import now
from orch.errors import NotFoundError, UsageError
from orch.sweeps.control import as_it_is, dead_holder
from orch.trials import FailureKind
from orch_db.queries import Queries
from orch_db.records import SweepRecord
from orch_db.store import Store

Wanted = Literal["pause", "stop", "cancel"]

EFFECTS: dict[Wanted, str] = {
    "pause": "running trials stop after their epoch",
    "stop": "running trials finish, then it ends",
    "cancel": "its trials are ended now",
}


def ask(store: Store, queries: Queries, record: SweepRecord, wanted: Wanted) -> str:
    """Ask the driver of a sweep to pause, stop or cancel it, and say what becomes of it.

    Raises:
        UsageError: it is not running, and what is asked needs a driver.
    """
    identity = record.id[:6]
    if store.request(record.id, wanted, now(), dead_holder(record)):
        return f"sweep {identity} was asked to {wanted}: {EFFECTS[wanted]}"
    after = as_it_is(queries.sweep(record.id) or record).state
    if after == "cancelled" != record.state:
        return f"sweep {identity} was cancelled; what ended before is saved"
    raise UsageError(
        f"sweep {identity} is not running: it is {after}; nothing was changed",
        f"orch sweeps show {identity}",
    )


def extend(store: Store, record: SweepRecord, trials: int) -> None:
    """Give a sweep so many trials in all, whether it runs or not.

    Raises:
        UsageError: it was cancelled, has as many, or was just extended by another.
    """
    require_not_cancelled(record)
    former = int(record.spec["trials"])
    if trials <= former:
        raise UsageError(
            f"sweep {record.id[:6]} has {former} trials already; nothing was changed",
            "write --trials +50 for 50 more",
        )
    if not store.extend(record.id, former, trials):
        raise UsageError(
            f"sweep {record.id[:6]} was just extended by another; nothing was changed",
            f"orch sweeps show {record.id[:6]}, then the same again",
        )


def retry(store: Store, record: SweepRecord, kinds: Sequence[FailureKind]) -> int:
    """Queue the trials of a sweep that failed, or failed so; returns how many.

    Raises:
        UsageError: it runs, or was cancelled.
        NotFoundError: no trial failed, or none so.
    """
    require_retriable(record)
    count = store.retry_failed(record.id, tuple(kinds), dead_holder(record))
    if not count:
        raise NotFoundError(
            f"no trial of sweep {record.id[:6]} failed{' like that' if kinds else ''}",
            f"orch sweeps show {record.id[:6]}",
        )
    return count


def require_retriable(record: SweepRecord) -> None:
    """Refuse to run failed trials of a sweep that runs, or was ended for good.

    Raises:
        UsageError: it does, or was.
    """
    require_not_cancelled(record)
    if as_it_is(record).state == "running":
        raise UsageError(
            f"sweep {record.id[:6]} is running; nothing was changed",
            f"orch sweeps stop {record.id[:6]}, then the same again",
        )


def require_unfinished(record: SweepRecord) -> None:
    """Refuse to resume a sweep that has nothing left to run.

    Raises:
        UsageError: it has completed or was cancelled.
    """
    require_not_cancelled(record)
    if record.state == "completed":
        raise UsageError(
            f"sweep {record.id[:6]} has completed; there is nothing left to run",
            f"orch sweeps extend {record.id[:6]} --trials +10",
        )


def require_not_cancelled(record: SweepRecord) -> None:
    """Refuse a sweep that was ended for good.

    Raises:
        UsageError: it was cancelled.
    """
    if record.state == "cancelled":
        raise UsageError(
            f"sweep {record.id[:6]} was cancelled and does not go on; its results are safe",
            f"orch sweeps resume {record.id[:6]} --fork",
        )
