"""Reports of attempts that come late, twice, in another order or never, whatever that order is.

What is recorded depends on nothing but which attempt counted when a report came.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orch_db_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from orch_db_rows import dump

from orch_db.queries import Queries
from orch_db.records import EpochRecord, TrialRecord
from orch_db.store import Store

NOW = "2026-01-01T00:00:05+00:00"
LOST = {"failure_kind": "worker lost", "failure_message": "gone", "finished_at": NOW}
ENDS = ("completed", "pruned", "failed")
EPOCHS = st.integers(1, 6)


def trial(attempt: int) -> TrialRecord:
    return orch_db_rows.trial(attempt=attempt)


def epoch(attempt: int, number: int) -> EpochRecord:
    """An epoch whose numbers tell which attempt reported it."""
    metrics = {"val_accuracy": attempt + number / 100}
    return EpochRecord("t1", attempt, number, 1, metrics, 1.0, NOW)


def send(store: Store, attempt: int, what: str, number: int) -> bool:
    """Send one report of an attempt; True where it was taken."""
    if what == "begin":
        return store.begin(trial(attempt), NOW)
    if what == "epoch":
        return store.add_epoch(epoch(attempt, number), f"node:{attempt}")
    if what == "lost":
        return store.again(trial(attempt), **LOST)
    score = attempt + number / 100
    return store.end(trial(attempt), state=what, score=score, finished_at=NOW)


@dataclass
class Model:
    """What must be recorded."""

    attempt: int = 1
    ended: str | None = None
    epochs: dict[tuple[int, int], float] = field(default_factory=dict)
    attempts: dict[int, str] = field(default_factory=dict)


class Reports(RuleBasedStateMachine):
    """Any attempt says anything at any time; the one that counts is begun first, as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="orch-reports-")
        self.url = f"sqlite:///{Path(self.folder.name)}/orch.db"
        self.store, self.queries = Store.open(self.url), Queries.open(self.url)
        self.model = Model()

    @initialize()
    def a_trial_begins(self) -> None:
        self.store.add_sweep(orch_db_rows.sweep())
        assert self.store.take("s1", "me", 60) is None
        self.store.add_trial(trial(1))
        self.begins()

    def begins(self) -> None:
        assert send(self.store, self.model.attempt, "begin", 0)
        self.model.attempts[self.model.attempt] = "running"

    @rule(number=EPOCHS)
    def an_epoch(self, number: int) -> None:
        open_ = self.model.ended is None
        assert send(self.store, self.model.attempt, "epoch", number) == open_
        if open_:
            value = self.model.attempt + number / 100
            self.model.epochs[self.model.attempt, number] = value

    @rule(state=st.sampled_from(ENDS), number=EPOCHS)
    def an_end(self, state: str, number: int) -> None:
        taken = send(self.store, self.model.attempt, state, number)
        assert taken == (self.model.ended in (None, state)), "or the same was sent twice"
        if self.model.ended is None:
            self.model.ended = self.model.attempts[self.model.attempt] = state

    @precondition(lambda self: self.model.ended is None)
    @rule()
    def a_loss(self) -> None:
        assert send(self.store, self.model.attempt, "lost", 0)
        self.model.attempts[self.model.attempt] = "lost"
        self.model.attempt += 1
        self.begins()

    @precondition(lambda self: self.model.ended is None)
    @rule()
    def the_same_begin(self) -> None:
        assert send(self.store, self.model.attempt, "begin", 0)

    @precondition(lambda self: self.model.attempt > 1)
    @rule(data=st.data(), what=st.sampled_from(("begin", "epoch", "lost", *ENDS)), number=EPOCHS)
    def a_stale_report(self, data: st.DataObject, what: str, number: int) -> None:
        stale = data.draw(st.integers(1, self.model.attempt - 1), label="attempt")
        before = dump(self.url)
        taken = send(self.store, stale, what, number)
        assert dump(self.url) == before
        assert taken == (what == "lost"), "that it was lost is said twice, the rest is refused"

    @precondition(lambda self: self.model.ended is not None)
    @rule(what=st.sampled_from(("begin", "epoch", "lost")), number=EPOCHS)
    def a_report_after_the_end(self, what: str, number: int) -> None:
        before = dump(self.url)
        assert not send(self.store, self.model.attempt, what, number)
        assert dump(self.url) == before

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        found = self.queries.trial("t1")
        if found is None:
            return
        assert (found.attempt, found.state) == (self.model.attempt, self.model.ended or "running")
        attempts = self.queries.attempts("s1")
        assert {each.attempt: each.state for each in attempts} == self.model.attempts
        rows = dump(self.url)["epochs"]
        values = {(row.attempt, row.epoch): row.metrics["val_accuracy"] for row in rows}
        assert values == self.model.epochs
        assert len(rows) == len(values)

    def teardown(self) -> None:
        self.queries.close()
        self.store.close()
        self.folder.cleanup()


Reports.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestReports = Reports.TestCase


def recorded(reports: list[tuple[str, int]]) -> dict[str, list[Any]]:
    """All rows after one attempt's reports."""
    with tempfile.TemporaryDirectory(prefix="orch-reports-") as folder:
        url = f"sqlite:///{folder}/orch.db"
        store = Store.open(url)
        store.add_sweep(orch_db_rows.sweep())
        store.add_trial(trial(1))
        send(store, 1, "begin", 0)
        for what, number in reports:
            send(store, 1, what, number)
        send(store, 1, "completed", 6)
        store.close()
        return dump(url)


@settings(max_examples=20, deadline=None)
@given(
    st.sets(EPOCHS, min_size=1).flatmap(
        lambda numbers: st.tuples(
            st.just(sorted(numbers)),
            st.permutations([*numbers, *numbers]),
            st.lists(st.sampled_from(sorted(numbers))),
        )
    )
)
def test_order_and_repetition_leave_no_trace(
    case: tuple[list[int], list[int], list[int]],
) -> None:
    plain, shuffled, more = case
    expected = recorded([("epoch", number) for number in plain])
    assert recorded([("epoch", number) for number in [*shuffled, *more]]) == expected


def test_an_epoch_that_was_never_reported_leaves_the_others() -> None:
    rows = recorded([("epoch", 1), ("epoch", 4)])
    assert [(row.epoch, row.attempt) for row in rows["epochs"]] == [(1, 1), (4, 1)]
