"""How states change: every move is made once, by the attempt and the driver that may make it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from orch_db_rows import dump

from orch_db.errors import LostSweepError, NotFoundError
from orch_db.queries import Queries
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.store import Store

NOW = "2026-01-01T00:00:05+00:00"
SWEEP = SweepRecord(
    id="s1",
    name="digits-fine-tune",
    state="queued",
    dataset="digits",
    strategy="fine-tune",
    backbone="vgg-mini",
    metric="val_accuracy",
    direction="maximize",
    board="board",
    spec={"trials": 5, "limit": None},
    versions={},
    git_commit=None,
    created_at="2026-01-01T00:00:00+00:00",
)
TRIAL = TrialRecord(
    id="t1",
    sweep_id="s1",
    number=0,
    board="board",
    state="queued",
    attempt=1,
    seed=3,
    params={},
    created_at="2026-01-01T00:00:01+00:00",
)
SECOND = replace(TRIAL, attempt=2)
LOST = {"failure_kind": "worker lost", "failure_message": "gone", "finished_at": NOW}


@pytest.fixture
def url(any_database: str) -> str:
    """Every test runs on both databases."""
    return any_database


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    opened.add_sweep(SWEEP)
    assert opened.take("s1", "me", 60) is None
    opened.add_trial(TRIAL)
    yield opened
    opened.close()


@pytest.fixture
def other(url: str, store: Store) -> Iterator[Store]:
    opened = Store.open(url)
    yield opened
    opened.close()


@pytest.fixture
def queries(store: Store, url: str) -> Iterator[Queries]:
    opened = Queries.open(url)
    yield opened
    opened.close()


def epoch(number: int, attempt: int = 1, value: float = 0.5) -> EpochRecord:
    return EpochRecord("t1", attempt, number, 1, {"val_accuracy": value}, 1.0, NOW)


def the_sweep(queries: Queries) -> SweepRecord:
    found = queries.sweep("s1")
    assert found is not None
    return found


def the_trial(queries: Queries) -> TrialRecord:
    found = queries.trial("t1")
    assert found is not None
    return found


def attempts(queries: Queries) -> list[tuple[int, str, str | None]]:
    return [(each.attempt, each.state, each.failure_kind) for each in queries.attempts("s1")]


# ── a trial ─────────────────────────────────────────────────────────────────────────────────


def test_a_trial_runs_and_completes(store: Store, queries: Queries) -> None:
    assert store.begin(TRIAL, NOW)
    assert (the_trial(queries).state, the_trial(queries).started_at) == ("running", NOW)
    assert attempts(queries) == [(1, "running", None)]
    assert store.add_epoch(epoch(1), "node:1")
    assert store.end(TRIAL, state="completed", score=0.5, finished_at=NOW)
    assert (the_trial(queries).state, the_trial(queries).worker) == ("completed", "node:1")
    assert attempts(queries) == [(1, "completed", None)]


def test_a_lost_attempt_is_recorded_and_its_trial_waits_for_another(
    store: Store, queries: Queries
) -> None:
    store.begin(TRIAL, NOW)
    assert store.again(TRIAL, **LOST)
    found = the_trial(queries)
    assert (found.state, found.attempt, found.started_at) == ("queued", 2, None)
    assert attempts(queries) == [(1, "lost", "worker lost")]


def test_what_a_lost_attempt_still_says_is_refused(store: Store, queries: Queries) -> None:
    store.begin(TRIAL, NOW)
    store.again(TRIAL, **LOST)
    store.begin(SECOND, NOW)
    assert not store.add_epoch(epoch(1), "late:1")
    assert not store.end(TRIAL, state="completed", score=1.0, finished_at=NOW)
    assert queries.epochs("t1") == []
    assert (the_trial(queries).state, the_trial(queries).score) == ("running", None)
    assert the_trial(queries).worker is None


def test_a_trial_that_ended_takes_nothing_more(store: Store, queries: Queries) -> None:
    store.begin(TRIAL, NOW)
    store.end(TRIAL, state="completed", score=0.5, finished_at=NOW)
    assert not store.add_epoch(epoch(9), "late:1")
    assert not store.end(TRIAL, state="failed", score=None, finished_at=NOW)
    assert not store.again(TRIAL, **LOST)
    assert not store.begin(TRIAL, NOW)
    assert (the_trial(queries).state, the_trial(queries).score) == ("completed", 0.5)


def test_a_trial_nobody_knows_is_refused(store: Store) -> None:
    assert not store.begin(replace(TRIAL, id="nobody"), NOW)
    assert not store.end(replace(TRIAL, id="nobody"), state="failed", finished_at=NOW)


def test_an_attempt_goes_on_from_where_the_one_before_was_saved(
    store: Store, queries: Queries
) -> None:
    for number in (1, 2, 3, 4):
        store.add_epoch(epoch(number, value=number / 10), "a:1")
    store.again(TRIAL, **LOST)
    store.add_epoch(epoch(3, attempt=2, value=0.9), "b:2")
    shown = [(each.attempt, each.epoch) for each in queries.epochs("t1")]
    assert shown == [(1, 1), (1, 2), (2, 3)]


def test_failed_trials_are_queued_again(store: Store, queries: Queries) -> None:
    for number, kind in enumerate(("plugin", "data"), start=1):
        trial = replace(TRIAL, id=f"f{number}", number=number)
        store.add_trial(trial)
        store.begin(trial, NOW)
        store.end(trial, state="failed", failure_kind=kind, finished_at=NOW)
    store.let_go("completed", NOW)
    assert store.retry_failed("s1", ("data",)) == 1
    assert store.retry_failed("s1", ("data",)) == 0
    found = {each.id: each for each in queries.trials("s1")}
    assert (found["f1"].state, found["f1"].attempt) == ("failed", 1)
    assert (found["f2"].state, found["f2"].attempt, found["f2"].failure_kind) == ("queued", 2, None)
    assert the_sweep(queries).state == "stopped"
    assert store.retry_failed("s1") == 1


# ── a sweep and its driver ──────────────────────────────────────────────────────────────────


def test_one_driver_at_a_time(store: Store, other: Store) -> None:
    assert other.take("s1", "you", 60) == "me"
    assert store.take("s1", "me", 60) is None
    store.let_go("stopped", NOW)
    assert other.take("s1", "you", 60) is None


def test_a_driver_that_is_known_to_be_gone_is_not_waited_for(store: Store, other: Store) -> None:
    assert other.take("s1", "you", 60, dead="someone else") == "me"
    assert other.take("s1", "you", 60, dead="me") is None


def test_a_driver_that_was_not_heard_of_loses_its_sweep(
    store: Store, other: Store, queries: Queries
) -> None:
    store.renew(60)
    assert the_sweep(queries).state == "running"
    store.renew(0.01)
    time.sleep(0.1)
    assert the_sweep(queries).state == "interrupted"
    assert other.take("s1", "you", 60) is None
    assert the_sweep(queries).state == "running"


LATE: dict[str, Callable[[Store], object]] = {
    "add_trial": lambda store: store.add_trial(replace(TRIAL, id="t2", number=1)),
    "begin": lambda store: store.begin(TRIAL, NOW),
    "add_epoch": lambda store: store.add_epoch(epoch(1), "late:1"),
    "end": lambda store: store.end(TRIAL, state="completed", score=1.0),
    "again": lambda store: store.again(TRIAL, **LOST),
    "renew": lambda store: store.renew(60),
}


@pytest.mark.parametrize("name", LATE)
def test_a_driver_that_lost_its_sweep_writes_nothing(
    store: Store, other: Store, url: str, name: str
) -> None:
    other.take("s1", "you", 60, dead="me")
    before = dump(url)
    with pytest.raises(LostSweepError, match="another process has taken over sweep s1") as caught:
        LATE[name](store)
    assert caught.value.hint == "orch sweeps show s1"
    assert dump(url) == before


def test_a_driver_that_lost_its_sweep_does_not_end_it(
    store: Store, other: Store, queries: Queries
) -> None:
    other.take("s1", "you", 60, dead="me")
    store.let_go("completed", NOW)
    assert the_sweep(queries).state == "running"


@pytest.mark.parametrize("state", ["stopped", "paused", "completed", "failed"])
def test_what_runs_when_a_driver_lets_go_is_queued_again(
    store: Store, queries: Queries, state: str
) -> None:
    store.begin(TRIAL, NOW)
    store.let_go(state, NOW, "because")
    assert (the_sweep(queries).state, the_sweep(queries).reason) == (state, "because")
    assert the_sweep(queries).finished_at == NOW
    assert (the_trial(queries).state, the_trial(queries).attempt) == ("queued", 2)
    assert attempts(queries) == [(1, "interrupted", None)]


def test_what_a_killed_driver_left_is_queued_again(
    store: Store, other: Store, queries: Queries
) -> None:
    store.begin(TRIAL, NOW)
    other.take("s1", "you", 60, dead="me")
    other.interrupt("lost", NOW)
    assert (the_trial(queries).state, the_trial(queries).attempt) == ("queued", 2)
    assert attempts(queries) == [(1, "lost", None)]


# ── what another terminal asks ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wanted", ["pause", "stop", "cancel"])
def test_a_running_sweep_is_asked(
    store: Store, other: Store, queries: Queries, wanted: str
) -> None:
    assert queries.orders("s1").request is None
    assert other.request("s1", wanted, NOW)
    assert queries.orders("s1").request == wanted
    store.let_go("stopped", NOW)
    other.take("s1", "you", 60)
    assert queries.orders("s1").request is None, (
        "what was asked of one run is not asked of the next"
    )


def test_a_sweep_that_nobody_runs_cannot_be_asked(
    store: Store, other: Store, queries: Queries
) -> None:
    store.let_go("stopped", NOW)
    before = the_sweep(queries)
    assert not other.request("s1", "pause", NOW)
    assert the_sweep(queries) == before


def test_a_sweep_that_nobody_runs_is_cancelled_at_once(
    store: Store, other: Store, queries: Queries
) -> None:
    store.begin(TRIAL, NOW)
    store.let_go("stopped", NOW)
    assert not other.request("s1", "cancel", NOW)
    assert (the_sweep(queries).state, the_trial(queries).state) == ("cancelled", "cancelled")


def test_a_completed_sweep_is_not_cancelled(store: Store, other: Store, queries: Queries) -> None:
    store.end(TRIAL, state="completed", score=0.5)
    store.let_go("completed", NOW)
    other.request("s1", "cancel", NOW)
    assert (the_sweep(queries).state, the_trial(queries).state) == ("completed", "completed")


def test_a_sweep_is_extended(store: Store, other: Store, queries: Queries) -> None:
    assert other.extend("s1", 5, 12)
    assert queries.orders("s1").trials == 12
    assert the_sweep(queries).spec == {"trials": 12, "limit": None}
    store.let_go("completed", NOW)
    assert other.extend("s1", 12, 20)
    assert the_sweep(queries).state == "stopped"


def test_no_sweep_to_extend(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no sweep s2"):
        store.extend("s2", 2, 3)


# ── the same again ──────────────────────────────────────────────────────────────────────────

WRITES: dict[str, Callable[[Store], object]] = {
    "add_sweep": lambda store: store.add_sweep(replace(SWEEP, id="s9")),
    "add_trial": lambda store: store.add_trial(replace(TRIAL, id="t9", number=9)),
    "begin": lambda store: store.begin(TRIAL, NOW),
    "add_epoch": lambda store: store.add_epoch(epoch(1), "node:1"),
    "end": lambda store: store.end(TRIAL, state="failed", failure_kind="data", finished_at=NOW),
    "again": lambda store: store.again(TRIAL, **LOST),
    "let_go": lambda store: store.let_go("stopped", NOW),
    "request": lambda store: store.request("s1", "pause", NOW),
    "extend": lambda store: store.extend("s1", 5, 9),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_sent_twice_changes_nothing(store: Store, url: str, name: str) -> None:
    if name in ("add_epoch", "end", "again"):
        store.begin(TRIAL, NOW)
    before = dump(url)
    first = WRITES[name](store)
    once = dump(url)
    assert once != before
    again = WRITES[name](store)
    assert dump(url) == once
    assert again == first


def test_adding_again_does_not_overwrite(store: Store, queries: Queries) -> None:
    store.end(TRIAL, state="completed", score=0.875)
    store.add_trial(TRIAL)
    store.let_go("completed", NOW)
    store.add_sweep(SWEEP)
    assert (the_trial(queries).state, the_sweep(queries).state) == ("completed", "completed")
