"""How sweeps go through the queue: each is taken once, and whatever is sent twice is done once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from orch_db_rows import dump, sweep

from orch_db import jobs
from orch_db.connect import open_engine
from orch_db.jobs import LOST, MOST_TRIES
from orch_db.records import JobRecord, SweepRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.store import Store

NOW, LATER = "2026-01-01T00:00:05+00:00", "2026-01-01T00:00:09+00:00"
MANY = 1000
PROCESS = "here:12:345"
GONE = "its process is gone"


@pytest.fixture
def url(any_database: str) -> str:
    """Every test runs on both databases."""
    return any_database


@pytest.fixture
def store(url: str) -> Iterator[ServiceStore]:
    opened = ServiceStore.open(url, "me")
    yield opened
    opened.close()


@pytest.fixture
def other(url: str, store: ServiceStore) -> Iterator[ServiceStore]:
    opened = ServiceStore.open(url, "other")
    yield opened
    opened.close()


@pytest.fixture
def queries(store: ServiceStore, url: str) -> Iterator[ServiceQueries]:
    opened = ServiceQueries.open(url)
    yield opened
    opened.close()


def words(id: str, **changes: object) -> SweepRecord:
    """A sweep that waits as words alone."""
    return replace(sweep(id, board="", spec={"words": {}, "trials": 3}), **changes)


def job(queries: ServiceQueries, id: str = "s1") -> JobRecord:
    found = queries.job(id)
    assert found is not None
    return found


def claimed(store: ServiceStore) -> str | None:
    found = store.claim(MANY, 60, NOW)
    return found.sweep_id if found else None


def running(store: ServiceStore, id: str = "s1", seconds: float = 60) -> None:
    store.add(words(id), {})
    assert store.claim(MANY, seconds, NOW) is not None
    store.started(id, PROCESS)


# ── into the queue ──────────────────────────────────────────────────────────────────────────


def test_a_sweep_is_recorded_and_queued_at_once(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.add(words("s1"), {"concurrent": 2}, priority=4)
    found = queries.sweep("s1")
    assert found is not None
    assert found.state == "queued"
    assert job(queries) == JobRecord("s1", "queued", 4, {"concurrent": 2}, found.created_at)


def test_a_sweep_that_waits_or_runs_is_not_queued_again(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.add(words("s1"), {})
    assert not store.enqueue("s1", {"concurrent": 9}, LATER, 5)
    assert claimed(store) == "s1"
    assert not store.enqueue("s1", {"concurrent": 9}, LATER, 5)
    assert (job(queries).state, job(queries).priority, job(queries).flags) == ("running", 0, {})


def test_a_sweep_that_ended_is_queued_again_as_new(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    running(store)
    assert store.end_job("s1", PROCESS, 1, "no disk", NOW)
    assert store.enqueue("s1", {"concurrent": 2}, LATER, 5)
    assert job(queries) == JobRecord("s1", "queued", 5, {"concurrent": 2}, LATER)


# ── who is next ─────────────────────────────────────────────────────────────────────────────


def test_the_higher_priority_goes_first_then_the_older(store: ServiceStore) -> None:
    for id, priority, second in (("a", 0, 3), ("b", 0, 2), ("c", 5, 9), ("d", -1, 0), ("e", 5, 8)):
        store.add(words(id, created_at=f"2026-01-01T00:00:0{second}+00:00"), {}, priority)
    assert [claimed(store) for _ in range(6)] == ["e", "c", "b", "a", "d", None]


def test_a_service_runs_no_more_than_it_may_and_another_takes_the_rest(
    store: ServiceStore, other: ServiceStore
) -> None:
    for id in "abcd":
        store.add(words(id), {})
    assert [store.claim(2, 60, NOW) is None for _ in range(3)] == [False, False, True]
    assert [other.claim(1, 60, NOW) is None for _ in range(2)] == [False, True]
    store.started("a", PROCESS)
    store.end_job("a", PROCESS, 0, "", NOW)
    assert claimed(store) == "d"


def test_a_job_that_waits_for_another_lets_the_next_go_first(
    url: str, store: ServiceStore, queries: ServiceQueries
) -> None:
    running(store, "a")
    store.add(words("b"), {})
    engine = open_engine(url, write=True)
    for sweeps, after in (("c", "a"), ("d", "nobody")):
        Store(engine).add_sweep(words(sweeps))
        with engine.begin() as connection:
            assert jobs.enqueue(connection, sweeps, {}, LATER, 9, after)
    engine.dispose()
    assert [claimed(store) for _ in range(3)] == ["d", "b", None]
    store.end_job("a", PROCESS, 1, "", NOW)
    assert claimed(store) == "c"
    assert job(queries, "c").after == "a"


def test_many_services_that_claim_at_once_take_no_job_twice(
    url: str, store: ServiceStore, queries: ServiceQueries
) -> None:
    ids = [f"s{number:02}" for number in range(48)]
    for id in ids:
        store.add(words(id), {})
    taken: list[tuple[str, str]] = []

    def take(name: str) -> None:
        opened = ServiceStore.open(url, name)
        while found := opened.claim(MANY, 60, NOW):
            taken.append((found.sweep_id, name))
        opened.close()

    threads = [threading.Thread(target=take, args=(f"service {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = [each.sweep_id for each in queries.jobs("queued")]
    assert left == []
    assert sorted(id for id, _ in taken) == ids
    assert dict(taken) == {each.sweep_id: each.service for each in queries.jobs("running")}
    assert Counter(each.tries for each in queries.jobs("running")) == {1: 48}


# ── while it runs, and its end ──────────────────────────────────────────────────────────────


def test_a_job_runs_and_ends(store: ServiceStore, queries: ServiceQueries) -> None:
    running(store)
    found = job(queries)
    assert (found.state, found.service, found.process) == ("running", "me", PROCESS)
    assert (found.started_at, found.tries) == (NOW, 1)
    assert store.end_job("s1", PROCESS, 2, "no such dataset", LATER)
    found = job(queries)
    assert (found.state, found.exit_code, found.message) == ("ended", 2, "no such dataset")
    assert (found.finished_at, found.held_until) == (LATER, None)


def test_only_the_process_that_runs_a_job_ends_it(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    running(store)
    assert not store.end_job("s1", "here:99:1", 0, "", NOW)
    assert not store.end_job("nobody", PROCESS, 0, "", NOW)
    assert job(queries).state == "running"


def test_a_sweep_that_ended_before_it_was_planned_has_failed(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    running(store)
    store.end_job("s1", PROCESS, 2, "no such dataset", LATER)
    found = queries.sweep("s1")
    assert found is not None
    assert (found.state, found.reason, found.finished_at) == ("failed", "no such dataset", LATER)


def test_a_sweep_that_was_planned_keeps_its_own_state(
    url: str, store: ServiceStore, queries: ServiceQueries
) -> None:
    opened = Store.open(url)
    opened.add_sweep(sweep("s1", state="stopped"))
    opened.close()
    store.enqueue("s1", {}, NOW)
    assert claimed(store) == "s1"
    store.started("s1", PROCESS)
    store.end_job("s1", PROCESS, 1, "no disk", LATER)
    found = queries.sweep("s1")
    assert found is not None
    assert found.state == "stopped"


def test_a_lost_job_is_queued_again_but_not_for_ever(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.add(words("s1"), {})
    states: list[str] = []
    for number in range(MOST_TRIES):
        assert claimed(store) == "s1"
        assert job(queries).tries == number + 1
        store.started("s1", PROCESS)
        states.append(store.lose("s1", "me", GONE, LATER))
        assert (job(queries).service, job(queries).process) == (None, None)
    assert states == ["queued", "queued", "ended"]
    assert (job(queries).exit_code, job(queries).message) == (LOST, GONE) == (7, GONE)
    assert claimed(store) is None
    found = queries.sweep("s1")
    assert found is not None
    assert (found.state, found.reason) == ("failed", GONE)


def test_a_job_that_another_service_runs_is_not_lost(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    running(store)
    assert store.lose("s1", "other", GONE, LATER) == "running"
    assert store.lose("nobody", "other", GONE, LATER) == "ended"
    assert (job(queries).state, job(queries).service) == ("running", "me")


# ── a service that is gone ──────────────────────────────────────────────────────────────────


def test_a_job_that_is_held_is_not_abandoned(
    store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    running(store, seconds=0)
    store.hold(60)
    assert other.recover(GONE, LATER) == []
    store.hold(0)
    other.hold(60)  # holds its own alone
    assert other.recover(GONE, LATER) == ["s1"]
    assert job(queries).state == "queued"


def test_a_process_whose_service_is_gone_is_adopted_by_one_alone(
    url: str, store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    running(store, seconds=0)
    (orphan,) = queries.jobs("running")
    assert other.adopt(orphan, 60)
    third = ServiceStore.open(url, "third")
    assert not third.adopt(orphan, 60)
    third.close()
    assert (job(queries).service, job(queries).process) == ("other", PROCESS)
    assert other.recover(GONE, LATER) == []
    assert store.lose("s1", "me", GONE, LATER) == "running"
    assert other.end_job("s1", PROCESS, 0, "", LATER)


def test_what_nobody_runs_is_queued_again_at_once(
    store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    running(store, seconds=0)
    assert other.recover(GONE, LATER) == ["s1"]
    assert (job(queries).state, job(queries).message) == ("queued", GONE)
    assert not store.end_job("s1", PROCESS, 0, "", LATER)
    assert claimed(other) == "s1"
    store.started("s1", "late:1:1")
    assert job(queries).process is None


def test_what_a_driver_still_holds_is_left_alone(
    url: str, store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    running(store, seconds=0)
    driver = Store.open(url)
    driver.add_sweep(sweep("s1"))
    assert driver.take("s1", "driver", 60) is None
    assert other.recover(GONE, LATER) == []
    driver.let_go("stopped", LATER)
    driver.close()
    assert other.recover(GONE, LATER) == ["s1"]


# ── sent twice ──────────────────────────────────────────────────────────────────────────────

MOVES: dict[str, Callable[[ServiceStore], object]] = {
    "add": lambda store: store.add(words("s2"), {}, 3),
    "enqueue": lambda store: store.enqueue("ended", {"concurrent": 1}, LATER, 2),
    "started": lambda store: store.started("s1", "here:77:1"),
    "end": lambda store: store.end_job("s1", PROCESS, 3, "why", LATER),
    "lose": lambda store: store.lose("s1", "me", GONE, LATER),
    "recover": lambda store: store.recover(GONE, LATER),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_move_that_is_sent_twice_is_made_once(move: str, url: str, store: ServiceStore) -> None:
    running(store, "ended")
    store.end_job("ended", PROCESS, 0, "", NOW)
    running(store, "s1", seconds=0)
    before = dump(url)
    first = MOVES[move](store)
    once = dump(url)
    second = MOVES[move](store)
    assert before != once
    assert dump(url) == once
    assert first == second or move in ("end", "recover")  # these say who made the move
