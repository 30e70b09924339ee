from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orch_db_rows import epoch, sweep, trial

from orch_db.errors import DatabaseError, NotUniqueError
from orch_db.queries import Queries
from orch_db.store import Store


@pytest.fixture
def url(any_database: str) -> str:
    """Every test runs on both databases."""
    return any_database


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    yield opened
    opened.close()


@pytest.fixture
def queries(store: Store, url: str) -> Iterator[Queries]:
    opened = Queries.open(url)
    yield opened
    opened.close()


DONE: dict[str, Any] = {
    "state": "completed",
    "plan": {"stages": [{"frozen_layers": 3}]},
    "cut": "block4_pool",
    "score": 0.875,
    "best_epoch": 2,
    "metrics": {"val_accuracy": 0.875, "loss": 1e-300},
    "worker": "node-1",
    "started_at": "2026-01-01T00:00:02+00:00",
    "finished_at": "2026-01-01T00:02:00+00:00",
    "seconds": 118.25,
}


# ── what goes in comes out ──────────────────────────────────────────────────────────────────


def test_a_sweep_comes_back_as_it_was_given(store: Store, queries: Queries) -> None:
    given_one = sweep(name="Größe – 大", spec={"a": [1, 2.5, None, {"b": True}]}, git_commit=None)
    store.add_sweep(given_one)
    assert queries.sweep("s1") == given_one
    assert queries.sweeps() == [given_one]


def test_a_trial_comes_back_as_it_was_given(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep())
    full = trial(**DONE, failure_kind="data", failure_message="line", traceback="a\nb")
    store.add_trial(full)
    store.add_trial(trial("t2", number=1))
    assert queries.trial("t1") == full
    assert queries.trials("s1") == [full, trial("t2", number=1)]


def test_epochs_come_back_in_order(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep())
    store.add_trial(trial())
    for number in (1, 3, 2):
        store.add_epoch(epoch(number), "node-1")
    assert queries.epochs("t1") == [epoch(1), epoch(2), epoch(3)]
    found = queries.trial("t1")
    assert found is not None
    assert found.worker == "node-1"


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    params=st.dictionaries(
        st.text(max_size=5),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**63),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=10),
        ),
        max_size=4,
    ),
    score=st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_value_survives_exactly(
    store: Store, queries: Queries, params: dict[str, Any], score: float
) -> None:
    id = uuid.uuid4().hex
    store.add_sweep(sweep(id))
    store.add_trial(trial(id, sweep_id=id, params=params, score=score))
    found = queries.trial(id)
    assert found is not None
    assert found.params == params
    assert [type(value) for value in found.params.values()] == [
        type(value) for value in params.values()
    ]
    assert found.score == score


def test_texts_of_any_bytes_are_kept_readable(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep())
    store.add_trial(trial(failure_message="a\0b", traceback="\udcff"))
    found = queries.trial("t1")
    assert found is not None
    assert (found.failure_message, found.traceback) == ("a\\x00b", "\\udcff")
    store.end(trial(), state="failed", failure_message="c\0\udc80")
    ended = queries.trial("t1")
    assert ended is not None
    assert ended.failure_message == "c\\x00\\udc80"


def test_a_sweep_says_how_many_trials_are_in_each_state(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep())
    store.add_sweep(sweep("s2", created_at="2026-01-02T00:00:00+00:00"))
    for number, state in enumerate(["completed", "completed", "failed", "queued"]):
        store.add_trial(trial(f"t{number}", number=number, state=state))
    counted = queries.sweep("s1")
    assert counted is not None
    assert counted.trials == {"completed": 2, "failed": 1, "queued": 1}
    assert [each.trials for each in queries.sweeps()] == [{}, counted.trials]


def test_sweeps_come_newest_first(store: Store, queries: Queries) -> None:
    for day in (2, 3, 1):
        store.add_sweep(sweep(f"s{day}", created_at=f"2026-01-0{day}T00:00:00+00:00"))
    assert [each.id for each in queries.sweeps()] == ["s3", "s2", "s1"]
    assert [each.id for each in queries.sweeps(limit=2)] == ["s3", "s2"]


def test_a_trial_of_no_sweep_is_refused(store: Store, queries: Queries) -> None:
    with pytest.raises(DatabaseError, match=r"(?i)foreign key"):
        store.add_trial(trial(sweep_id="nowhere"))
    assert queries.trial("t1") is None


def test_an_epoch_of_no_trial_is_refused(store: Store) -> None:
    assert not store.add_epoch(epoch(), None)


# ── looking up ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def named(store: Store, queries: Queries) -> Queries:
    for number, id in enumerate(["abc1", "abd2", "x%y", "x_z"]):
        store.add_sweep(sweep(id))
        store.add_trial(trial(f"t{id}", sweep_id=id, number=number))
    return queries


def test_the_beginning_of_an_id_is_enough_where_it_is_unique(named: Queries) -> None:
    for prefix, id in (("abc", "abc1"), ("abc1", "abc1"), ("abd", "abd2")):
        found, one = named.sweep(prefix), named.trial(f"t{prefix}")
        assert found is not None
        assert one is not None
        assert (found.id, one.id) == (id, f"t{id}")


def test_no_id_begins_so(named: Queries) -> None:
    assert named.sweep("abc12") is None
    assert named.trial("bc") is None


def test_the_beginning_of_several_ids_is_not_unique(named: Queries) -> None:
    with pytest.raises(NotUniqueError, match="several sweeps have an id that begins with 'ab'"):
        named.sweep("ab")
    with pytest.raises(NotUniqueError, match="several trials") as caught:
        named.trial("ta")
    assert caught.value.hint == "give more characters of it"


def test_wildcards_stand_for_themselves(named: Queries) -> None:
    found = named.sweep("x%")
    assert found is not None
    assert found.id == "x%y"
    assert named.sweep("a%") is None
    assert named.sweep("ab__") is None


# ── boards ──────────────────────────────────────────────────────────────────────────────────


def ranks(queries: Queries, dataset: str | None = None, top: int = 10) -> list[list[str]]:
    return [[row.id for row in board.rows] for board in queries.boards(dataset, top)]


def test_a_board_ranks_completed_trials_with_a_score_alone(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep())
    for number, (id, state, score) in enumerate(
        [
            ("low", "completed", 0.1),
            ("pruned", "pruned", 0.99),
            ("failed", "failed", 0.98),
            ("running", "running", None),
            ("high", "completed", 0.9),
            ("none", "completed", None),
        ]
    ):
        store.add_trial(trial(id, number=number, state=state, score=score))
    assert ranks(queries) == [["high", "low"]]
    assert ranks(queries, top=1) == [["high"]]


@pytest.mark.parametrize(
    ("direction", "order"), [("maximize", ["b", "c", "a"]), ("minimize", ["a", "c", "b"])]
)
def test_a_board_ranks_in_its_direction(
    store: Store, queries: Queries, direction: str, order: list[str]
) -> None:
    store.add_sweep(sweep(direction=direction))
    for number, (id, score) in enumerate([("a", -1.0), ("b", 0.75), ("c", 0.5)]):
        store.add_trial(trial(id, number=number, state="completed", score=score))
    assert ranks(queries) == [order]
    found = queries.sweep("s1")
    assert found is not None
    best = queries.best(found)
    assert best is not None
    assert best.id == order[0]


def test_a_sweep_without_a_completed_trial_has_no_best(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep())
    store.add_trial(trial(state="pruned", score=0.9))
    assert queries.best(sweep()) is None
    assert ranks(queries) == [[]]


def test_a_board_joins_the_sweeps_that_may_be_compared(store: Store, queries: Queries) -> None:
    store.add_sweep(sweep("s1", spec={"limit": 500}))
    store.add_sweep(sweep("s2", spec={"limit": 500}, strategy="feature-extraction"))
    store.add_trial(trial("t1", sweep_id="s1", state="completed", score=0.5))
    store.add_trial(trial("t2", sweep_id="s2", state="completed", score=0.6))
    (board,) = queries.boards(None, 10)
    assert [row.id for row in board.rows] == ["t2", "t1"]
    assert {id: found.strategy for id, found in board.sweeps.items()} == {
        "s1": "fine-tune",
        "s2": "feature-extraction",
    }
    assert (board.dataset, board.metric, board.direction, board.limit) == (
        "digits",
        "val_accuracy",
        "maximize",
        500,
    )


def test_the_board_of_the_newest_sweep_comes_first(store: Store, queries: Queries) -> None:
    for day, name in ((1, "old"), (3, "new"), (2, "middle"), (4, "old-again")):
        store.add_sweep(
            sweep(
                name,
                board=name.removesuffix("-again"),
                dataset="cifar10" if name == "middle" else "digits",
                created_at=f"2026-01-0{day}T00:00:00+00:00",
            )
        )
    assert [board.board for board in queries.boards(None, 5)] == ["old", "new", "middle"]
    assert [board.board for board in queries.boards("cifar10", 5)] == ["middle"]
    assert queries.boards("birds", 5) == []


def test_the_best_of_each_recipe_that_was_run_whole(store: Store, queries: Queries) -> None:
    whole = {"recipe": "cats/tune", "shortened": False}
    store.add_sweep(sweep("s1", spec=whole))
    store.add_sweep(sweep("s2", spec={**whole, "shortened": True}))
    store.add_sweep(sweep("s3", spec={"recipe": None, "shortened": False}))
    store.add_sweep(sweep("s4", spec={**whole, "recipe": "pokemon/tune"}))
    for number, (id, score) in enumerate(
        [("s1", 0.5), ("s1", 0.7), ("s2", 0.9), ("s3", 0.8), ("s4", 0.6)]
    ):
        values: dict[str, Any] = {"number": number, "state": "completed", "score": score}
        store.add_trial(trial(f"t{number}", sweep_id=id, **values))
    assert queries.best_of_recipes() == {"cats/tune": 0.7, "pokemon/tune": 0.6}


# ── reading what is not there ───────────────────────────────────────────────────────────────


def test_an_absent_database_has_nothing_and_is_not_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orch.db"
    queries = Queries.open(url)
    assert queries.sweeps() == []
    assert queries.sweep("s") is None
    assert queries.trial("t") is None
    assert queries.trials("s") == []
    assert queries.epochs("t") == []
    assert queries.boards(None, 5) == []
    assert queries.best(sweep()) is None
    queries.close()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_has_nothing_and_stays_empty(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orch.db"
    (tmp_path / "orch.db").touch()
    queries = Queries.open(url)
    assert queries.sweeps() == []
    queries.close()
    assert (tmp_path / "orch.db").read_bytes() == b""
