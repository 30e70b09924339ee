"""How one service works through the queue. No sweep is started here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from orch_db_rows import sweep

from orch.home import Home
from orch.service import processes
from orch.service.queue import GONE, Runner
from orch.settings import Settings
from orch_db.records import JobRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore

NOW = "2026-01-01T00:00:05+00:00"
NONE_AT_ONCE = replace(Settings(), sweeps_at_once=0)


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
