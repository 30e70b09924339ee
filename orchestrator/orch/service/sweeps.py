"""What the service does with sweeps: queue, list, ask, show what they said. Returns documents."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from orch import views
from orch.clock import now
from orch.errors import NotFoundError, UsageError, nearest
from orch.planning import words as planning
from orch.planning.words import SweepWords
from orch.service import processes
from orch.service.due import written
from orch.service.state import Service
from orch.sweeps import orders, resumption
from orch.sweeps.control import as_it_is
from orch.sweeps.orders import Wanted
from orch.trials import FailureKind
from orch_db.records import SweepRecord

MOST_LOG = 1_000_000  # characters of a log that are given at one time


def queue(service: Service, words: SweepWords, priority: int = 0) -> dict[str, Any]:
    """Queue a new sweep.

    Raises:
        NotFoundError, UsageError: its words make no sense.
    """
    planning.check(words, service.home)
    record = planning.queued(words, service.settings)
    service.store.add(record, words.flags, priority)
    return document(service, record.id)


def listing(service: Service, limit: int, before: str = "", since: str = "") -> dict[str, Any]:
    """Sweeps, newest first: those created before one whose id is given, and those that changed
    or were created since an instant. `next` is where the next page begins.

    Raises:
        UsageError: `since` is no instant.
        NotFoundError: no sweep has the id `before`.
    """
    edge = service.sweep(before).id if before else ""
    records = service.queries.page(limit + 1, edge, _instant(since) if since else "")
    shown = [as_it_is(each) for each in records[:limit]]
    more = shown[-1].id if len(records) > limit else None
    listed = [views.sweep(each, service.queries.best(each)) for each in shown]
    return views.document(sweeps=listed, next=more)


def _instant(text: str) -> str:
    """An instant as rows have it; one without an offset is UTC."""
    try:
        read = datetime.fromisoformat(text)
        known = read if read.tzinfo else read.replace(tzinfo=UTC)
        return written(known)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no instant", "write 2027-12-31T18:00:00Z") from None


def document(service: Service, prefix: str) -> dict[str, Any]:
    """A sweep, its place in the queue, and its trials."""
    record = service.sweep(prefix)
    trials, best = service.queries.trials(record.id), service.queries.best(record)
    job = service.queries.job(record.id)
    shown = views.sweep(record, best, trials)
    return views.document(**shown, job=views.job(job) if job else None)


def ask(service: Service, prefix: str, wanted: Wanted) -> dict[str, Any]:
    """Ask for a pause, a stop, a cancel.

    Raises:
        UsageError: it is not running.
    """
    record = service.sweep(prefix)
    said = orders.ask(service.sweeps, service.queries, record, wanted)
    return views.document(id=record.id, said=said)


def resume(service: Service, prefix: str, priority: int = 0) -> dict[str, Any]:
    """Queue a sweep that stopped before its end.

    Raises:
        UsageError: it has nothing left to run, or waits or runs already.
    """
    record = service.sweep(prefix)
    orders.require_unfinished(record)
    return _again(service, record, priority, f"sweep {record.id[:6]} is queued again")


def fork(service: Service, prefix: str, priority: int = 0) -> dict[str, Any]:
    """Queue a new sweep from another, with the data, weights and plugins of the day it runs.

    Raises:
        NotFoundError: its dataset, strategy or backbone is gone.
    """
    record = service.sweep(prefix)
    made = resumption.queued_fork(record, service.settings)
    planning.check(planning.SweepWords.from_json(made.spec["words"]), service.home)
    service.store.add(made, _flags(service, record), priority)
    return document(service, made.id)


def extend(
    service: Service, prefix: str, trials: int, priority: int = 0, *, in_all: bool = False
) -> dict[str, Any]:
    """Give a sweep so many trials more, or in all, and queue it where it does not run.

    Raises:
        UsageError: it was cancelled, has as many, or was just extended by another.
    """
    record = service.sweep(prefix)
    wanted = trials if in_all else int(record.spec["trials"]) + trials
    orders.extend(service.sweeps, record, wanted)
    said = f"sweep {record.id[:6]} has {wanted} trials now"
    if record.state == "running" or not _enqueued(service, record, priority):
        return views.document(id=record.id, said=said)
    return views.document(id=record.id, said=f"{said}, and is queued again")


def retry(
    service: Service, prefix: str, kinds: Sequence[str] = (), priority: int = 0
) -> dict[str, Any]:
    """Queue a sweep's failed trials again, those of some classes or all.

    Raises:
        UsageError: it runs, was cancelled, or a class is none.
        NotFoundError: no trial failed so.
    """
    known: tuple[FailureKind, ...] = get_args(FailureKind)
    for kind in kinds:
        if kind not in known:
            raise UsageError(f"no class of failures is called {kind!r}{nearest(kind, known)}")
    record = service.sweep(prefix)
    count = orders.retry(service.sweeps, record, [kind for kind in known if kind in kinds])
    trials = "trial is" if count == 1 else "trials are"
    said = f"{count} {trials} queued again in sweep {record.id[:6]}"
    return _again(service, record, priority, said)


def _again(service: Service, record: SweepRecord, priority: int, said: str) -> dict[str, Any]:
    if not _enqueued(service, record, priority):
        raise UsageError(
            f"sweep {record.id[:6]} is in the queue already; nothing was changed", "orch queue"
        )
    return views.document(id=record.id, said=said)


def _enqueued(service: Service, record: SweepRecord, priority: int) -> bool:
    return service.store.enqueue(record.id, _flags(service, record), now(), priority)


def _flags(service: Service, record: SweepRecord) -> Mapping[str, Any]:
    """What was said of the process that ran it."""
    job = service.queries.job(record.id)
    return job.flags if job else {}


def in_queue(service: Service) -> dict[str, Any]:
    """What runs and what waits, in the order in which it runs."""
    jobs = [*service.queries.jobs("running"), *service.queries.jobs("queued")]
    listed = []
    for each in jobs:
        record = service.queries.sweep(each.sweep_id)
        if record is not None:
            listed.append({**views.job(each), **_named(record)})
    leader = service.queries.leader()
    return views.document(queue=listed, service=bool(leader and leader.alive))


def _named(record: SweepRecord) -> dict[str, Any]:
    ended = sum(
        count for state, count in record.trials.items() if state not in ("queued", "running")
    )
    names = {"name": record.name, "dataset": record.dataset, "strategy": record.strategy}
    return {**names, "ended": ended, "trials": record.spec.get("trials")}


def log(service: Service, prefix: str, start: int = 0) -> dict[str, Any]:
    """What the process of a sweep said, from a character of its log on.

    Raises:
        NotFoundError: it was not run by the service, or on another machine.
    """
    record = service.sweep(prefix)
    file = processes.log(service.home, record.id)
    if not file.is_file():
        _require_started(service, record)
        raise NotFoundError(
            f"sweep {record.id[:6]} has no log in {file.parent}: no service has run it here",
            f"orch sweeps show {record.id[:6]}",
        )
    with file.open("rb") as content:
        content.seek(min(max(0, start), file.stat().st_size))
        found = content.read(MOST_LOG)
    text, length = _plain(found)
    return views.document(id=record.id, start=start, end=start + length, text=text)


def _require_started(service: Service, record: SweepRecord) -> None:
    """Say that the queue never came to a sweep, where that is why it has said nothing.

    Raises:
        NotFoundError: it did not.
    """
    job, identity = service.queries.job(record.id), record.id[:6]
    if job is None or job.started_at is not None:
        return
    if job.state == "ended":
        raise NotFoundError(
            f"no service started sweep {identity}: it was {record.state} while it waited",
            f"orch sweeps show {identity}",
        )
    raise NotFoundError(f"sweep {identity} waits in the queue and has not started", "orch queue")


def _plain(content: bytes) -> tuple[str, int]:
    """Bytes as text, and how many of them that is; a character that is cut off comes later."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content)
    return text, len(content) - len(decoder.getstate()[0])
