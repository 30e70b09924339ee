"""How one service works through the queue. No sweep is started here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from orch_db_rows import sweep, trial

from orch.home import Home
from orch.service import processes
from orch.service.queue import GONE, Runner, end
from orch.settings import Settings
from orch_db.records import JobRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.store import Store

NOW = "2026-01-01T00:00:05+00:00"
NONE_AT_ONCE = replace(Settings(), sweeps_at_once=0, webhook_url="http://127.0.0.1:9/x")


@dataclass(frozen=True)
class Desk:
    """A runner with one job that it has claimed."""

    runner: Runner
    store: ServiceStore
    queries: ServiceQueries

    @property
    def job(self) -> JobRecord:
        found = self.queries.job("s1")
        assert found is not None
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    url = f"sqlite:///{tmp_path}/orch.db"
    store = ServiceStore.open(url, "me")
    with closing(store), closing(ServiceQueries.open(url)) as queries:
        store.add(sweep(board=""), {})
        assert store.claim(1, 60, NOW) is not None
        yield Desk(Runner(store, queries, NONE_AT_ONCE, Home(tmp_path), "me"), store, queries)


def test_a_job_whose_process_was_never_started_is_queued_again(desk: Desk) -> None:
    desk.runner.tick()
    assert (desk.job.state, desk.job.message) == ("queued", GONE)


def test_a_job_whose_process_is_gone_is_queued_again(desk: Desk) -> None:
    desk.store.started("s1", processes.identity(os.getpid()) + "0")
    desk.runner.tick()
    assert (desk.job.state, desk.job.message) == ("queued", GONE)


def test_a_job_whose_process_is_there_is_held(desk: Desk) -> None:
    desk.store.started("s1", processes.identity(os.getpid()))
    desk.store.hold(0)
    desk.runner.tick()
    assert (desk.job.state, desk.job.tries) == ("running", 1)
    assert desk.store.recover(GONE, "2026-01-01T00:00:09+00:00") == [], "it is held again"


# ── what is told ────────────────────────────────────────────────────────────────────────────


def told(desk: Desk) -> list[tuple[str, str, str]]:
    """Event, sweep or trial, and reason of every notice, the oldest first."""
    return [
        (each.event, each.payload["data"]["sweep"], str(each.payload["data"].get("reason")))
        for each in desk.queries.notices(9)[::-1]
    ]


def fail(desk: Desk, why: str) -> None:
    """The job's process ends before its sweep was planned."""
    process = processes.identity(os.getpid())
    desk.store.started("s1", process)
    end(desk.store, desk.queries, NONE_AT_ONCE, desk.job, process, 4, why)


def test_a_sweep_that_fails_before_it_begins_is_told_each_time(desk: Desk) -> None:
    fail(desk, "there is no data")
    found = desk.queries.sweep("s1")
    assert found is not None
    assert (found.state, found.reason) == ("failed", "there is no data")
    assert told(desk) == [("sweep.failed", "s1", "there is no data")]
    assert desk.store.enqueue("s1", {}, "2026-01-01T00:00:07+00:00")
    waiting = desk.queries.sweep("s1")
    assert waiting is not None
    assert (waiting.state, waiting.reason, waiting.finished_at) == ("queued", None, None)
    assert desk.store.claim(1, 60, NOW) is not None
    fail(desk, "nor now")
    assert [why for _, _, why in told(desk)] == ["there is no data", "nor now"]


def test_a_sweep_whose_process_is_lost_thrice_is_told(desk: Desk) -> None:
    for _ in range(2):
        desk.runner.tick()
        assert told(desk) == []
        assert desk.store.claim(1, 60, NOW) is not None
    desk.runner.tick()
    assert (desk.job.state, desk.job.exit_code) == ("ended", 7)
    assert told(desk) == [("sweep.failed", "s1", GONE)]


def test_a_job_that_moved_is_listed_since_then(desk: Desk) -> None:
    later = "2026-06-01T00:00:00+00:00"
    assert desk.queries.page(9, since=later) == []
    fail(desk, "no")
    assert [each.id for each in desk.queries.page(9, since=later)] == ["s1"]


@pytest.mark.parametrize(("score", "leads"), [(0.5, False), (0.6, True), (0.4, False)])
def test_a_tie_beats_nobody(tmp_path: Path, score: float, leads: bool) -> None:
    url = f"sqlite:///{tmp_path}/orch.db"
    with closing(Store.open(url)) as store, closing(ServiceQueries.open(url)) as queries:
        store.add_sweep(sweep())
        assert store.take("s1", "me", 60) is None
        for number, (name, reached) in enumerate((("t1", 0.5), ("t2", score))):
            ended = {"state": "completed", "score": reached, "finished_at": NOW}
            store.add_trial(trial(name, number=number, **ended))
        best = queries.leader_of_board("board", "maximize")
        assert (best is not None and best.id == "t2") == leads


def test_a_sweep_whose_services_are_lost_thrice_is_told(desk: Desk) -> None:
    for tries in range(3):
        desk.store.started("s1", processes.identity(os.getpid()))
        desk.store.hold(-1)
        assert told(desk) == []
        other = Runner(desk.store, desk.queries, NONE_AT_ONCE, desk.runner.home, "another")
        other._take_over()  # pyright: ignore[reportPrivateUsage]  # a tick holds "me" again
        assert tries == 2 or desk.store.claim(1, 60, NOW) is not None
    assert desk.job.state == "ended"
    assert told(desk) == [("sweep.failed", "s1", "the service that ran it is gone")]
