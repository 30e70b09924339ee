"""A sweep goes on as what it was, or not at all; a fork begins anew with what there is today."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_sweeps
import pytest

from orch import registry
from orch.errors import DataError, UsageError
from orch.home import Home
from orch.planning.spec import PlannedSweep, SweepRequest, SweepSpec, plan_sweep
from orch.settings import Settings
from orch.sweeps import life, orders, resumption
from orch.sweeps.provenance import versions
from orch.testing import silent
from orch.trials import EpochReport, Failure, TrialOutcome, TrialSpec
from orch_db.records import SweepRecord, TrialRecord

SETTINGS = Settings(trials=7, sampler="random", pruner="none", seed=5, keep=2)
SPACE = {"epochs": "2", "learning_rate": "log(1e-4,1e-2)", "frozen_layers": "choice(15,22)"}


@pytest.fixture(scope="module")
def made(home: Home) -> PlannedSweep:
    request = SweepRequest("digits", limit=200, metric="val_loss", name="mine", space=SPACE)
    return plan_sweep(request, SETTINGS, home, silent)


@pytest.fixture
def record(made: PlannedSweep, home: Home) -> SweepRecord:
    """The sweep as its row has it: interrupted, and JSON."""
    spec = made.spec
    return SweepRecord(
        id=spec.id,
        name=spec.name,
        state="interrupted",
        dataset=spec.dataset,
        strategy=spec.strategy,
        backbone=spec.backbone,
        metric=spec.objective.metric,
        direction=spec.objective.direction,
        board=spec.board,
        spec=json.loads(json.dumps(spec.to_json())),
        versions=versions(spec, home),
        git_commit=None,
        created_at="2026-01-01T00:00:00+00:00",
    )


def again(record: SweepRecord, home: Home) -> PlannedSweep:
    return resumption.plan_again(record, Settings(), home, silent)


def refused(record: SweepRecord, home: Home) -> UsageError:
    with pytest.raises(UsageError) as caught:
        again(record, home)
    assert caught.value.exit_code == 2
    assert record.id[:6] in caught.value.message
    return caught.value


def changed(record: SweepRecord, **values: Any) -> SweepRecord:
    return replace(record, spec={**record.spec, **values})


def of_space(record: SweepRecord, **texts: str | None) -> SweepRecord:
    """The sweep with other parameters; None takes one away."""
    stated = {**record.spec["space"], **texts}
    space = {name: text for name, text in stated.items() if text is not None}
    first = {name: record.spec["first"].get(name, 1) for name in space}
    return changed(record, space=space, first=first)


# ── a sweep goes on ─────────────────────────────────────────────────────────────────────────


def test_what_did_not_change_goes_on_with_the_same_specification(
    record: SweepRecord, made: PlannedSweep, home: Home
) -> None:
    found = again(record, home)
    assert found.spec.to_json() == {**made.spec.to_json(), "id": record.id}
    assert found.spec.id == made.spec.id
    assert [len(each.indices) for each in found.chosen] == [
        len(each.indices) for each in made.chosen
    ]


@pytest.mark.parametrize("state", ["stopped", "paused", "failed", "interrupted", "queued"])
def test_any_sweep_with_something_left_goes_on(record: SweepRecord, home: Home, state: str) -> None:
    assert again(replace(record, state=state), home).spec.id == record.id


ALTERED: dict[str, tuple[Callable[[SweepRecord], SweepRecord], str]] = {
    "data": (
        lambda record: changed(record, dataset_digest="a" * 64),
        "dataset digest was aaaaaaaaaaaa, now ",
    ),
    "weights": (
        lambda record: changed(record, weights_digest="b" * 64),
        "weights digest was bbbbbbbbbbbb, now ",
    ),
    "dataset plugin": (
        lambda record: replace(record, versions={**record.versions, "dataset": "pets 1.0"}),
        "dataset plugin was pets 1.0, now orch-sweeps ",
    ),
    "strategy plugin": (
        lambda record: replace(record, versions={**record.versions, "strategy": "moody 2"}),
        "strategy plugin was moody 2, now orch-sweeps ",
    ),
    "backbone plugin": (
        lambda record: replace(record, versions={**record.versions, "backbone": "birdnet 2"}),
        "backbone plugin was birdnet 2, now orch-sweeps ",
    ),
    "a parameter more": (
        lambda record: of_space(record, dropout=None),
        "parameter dropout is new",
    ),
    "a parameter less": (
        lambda record: of_space(record, mood="choice(calm,wild)"),
        "parameter mood is gone",
    ),
    "a narrower parameter": (
        lambda record: of_space(record, learning_rate="log(1e-4,1000000)"),
        "parameter learning_rate was log(1e-4,1000000), now log(",
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_changed_is_named_and_not_mixed(record: SweepRecord, home: Home, name: str) -> None:
    alter, line = ALTERED[name]
    error = refused(alter(record), home)
    assert error.message.startswith(f"sweep {record.id[:6]} cannot go on: {line}")
    assert error.message.endswith("; its results are safe")
    assert error.message.count(";") == 1, "one line for the one thing that changed"
    assert f"orch sweeps resume {record.id[:6]} --fork" in error.hint


def test_all_that_changed_is_named(record: SweepRecord, home: Home) -> None:
    for alter, _ in ALTERED.values():
        record = alter(record)
    message = refused(record, home).message
    for _, line in ALTERED.values():
        assert line in message


@pytest.mark.parametrize(
    ("state", "words", "hint"),
    [
        ("completed", "has completed; there is nothing left to run", "extend {} --trials +10"),
        ("cancelled", "was cancelled and does not go on; its results are safe", "resume {} --fork"),
    ],
)
def test_a_sweep_that_is_over_does_not_go_on(
    record: SweepRecord, state: str, words: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        orders.require_unfinished(replace(record, state=state))
    error = caught.value
    assert error.message == f"sweep {record.id[:6]} {words}"
    assert error.hint == f"orch sweeps {hint.format(record.id[:6])}"


# ── a fork ──────────────────────────────────────────────────────────────────────────────────


def fork(record: SweepRecord, home: Home, **params: Any) -> PlannedSweep:
    best = TrialRecord(
        id="t1", sweep_id=record.id, number=3, board="b", state="completed", attempt=1, seed=0,
        params=params, score=0.5, created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return resumption.fork(record, best if params else None, Settings(), home, silent)


def test_a_fork_keeps_the_words_and_takes_what_there_is_today(
    record: SweepRecord, made: PlannedSweep, home: Home
) -> None:
    other = changed(record, dataset_digest="a" * 64, weights_digest="b" * 64, trials=9)
    spec = fork(other, home).spec
    assert spec.id != record.id
    kept = ("name", "space", "first", "limit", "sampler", "pruner", "seed", "keep", "objective")
    for name in (*kept, "dataset_digest", "weights_digest"):
        assert getattr(spec, name) == getattr(made.spec, name), name
    assert spec.trials == 9, "what it was extended to"


def test_a_fork_begins_with_the_best_of_its_parent(record: SweepRecord, home: Home) -> None:
    rate = 0.0031
    spec = fork(record, home, learning_rate=rate, frozen_layers=15, epochs=2).spec
    assert (spec.first["learning_rate"], spec.first["frozen_layers"]) == (rate, 15)


def test_values_that_are_no_longer_in_the_space_are_not_tried_first(
    record: SweepRecord, home: Home
) -> None:
    spec = fork(record, home, learning_rate=0.5, frozen_layers=15, mood="wild").spec
    assert spec.first["learning_rate"] == record.spec["first"]["learning_rate"]
    assert spec.first["frozen_layers"] == 15
    assert "mood" not in spec.first


@pytest.mark.parametrize("name", ["a parameter more", "a parameter less", "a narrower parameter"])
def test_a_fork_has_the_parameters_of_today(record: SweepRecord, home: Home, name: str) -> None:
    spec = fork(ALTERED[name][0](record), home).spec
    assert spec.space.keys() == record.spec["space"].keys()
    assert spec.first.keys() == spec.space.keys()
    assert spec.space["frozen_layers"] == record.spec["space"]["frozen_layers"]


@pytest.mark.parametrize(("space", "recipe"), [({}, "digits/x"), ({"mood": "1"}, None)])
def test_a_fork_of_a_recipe_is_that_recipe_while_its_values_are(
    record: SweepRecord, home: Home, space: dict[str, str], recipe: str | None
) -> None:
    spec = fork(changed(of_space(record, **space), recipe="digits/x"), home).spec
    assert spec.recipe == recipe


def test_a_fork_that_waited_is_what_it_would_have_been_at_once(
    record: SweepRecord, home: Home
) -> None:
    """A parameter that is gone by the time it runs is in nobody's way."""
    other = changed(of_space(record, mood="choice(calm,wild)"), trials=9)
    waiting = resumption.queued_fork(other, SETTINGS)
    stored = replace(waiting, spec=json.loads(json.dumps(waiting.spec)))
    planned = resumption.begin(stored, other, None, Settings(), home, silent)
    assert planned.spec == replace(fork(other, home).spec, id=waiting.id)
    assert (waiting.parent, waiting.state, waiting.name) == (other.id, "queued", "mine")


def test_a_fork_of_words_that_were_not_planned_has_an_id_of_its_own(
    record: SweepRecord, home: Home
) -> None:
    waiting = replace(resumption.queued_fork(record, SETTINGS), state="cancelled")
    spec = fork(waiting, home).spec
    assert spec.id not in (waiting.id, record.id)
    assert (spec.name, spec.trials, spec.limit) == ("mine", 7, 200)


# ── both, as they are typed ─────────────────────────────────────────────────────────────────


def moody(spec: TrialSpec, home: Home) -> Generator[EpochReport, None, TrialOutcome]:
    """Finds no room in its second trial as long as a file lies in home."""
    yield EpochReport(1, 1, {"val_accuracy": fake_sweeps.value(spec.number, 1)}, 0.01)
    if spec.number == 1 and (home.root / "full").exists():
        return TrialOutcome(None, None, {}, 0.1, failure=Failure("storage", "no space left"))
    return TrialOutcome(fake_sweeps.value(spec.number, 1), 1, {}, 0.1)


@pytest.fixture
def paused(orch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a sweep that paused after one of its three trials."""

    def alone(it: life.Driver, *rest: Any) -> Any:
        return fake_sweeps.alone(replace(it, trainer=moody), *rest)

    monkeypatch.setattr(life, "_directed", alone)
    full = tmp_path / "home" / "full"
    full.parent.mkdir()
    full.touch()
    words = ("--trials", "3", "-S", "epochs=1", "--limit", "200", "--seed", "8", "--keep", "1")
    ran = orch("sweep", "digits", *words)
    assert ran.code == 5, ran.err
    full.unlink()
    return rows("SELECT id FROM sweeps")[0][0]


def rows(query: str) -> list[Any]:
    with closing(sqlite3.connect("home/orch.db")) as database, database:
        return database.execute(query).fetchall()


def test_it_goes_on_as_it_was(orch: Any, paused: str) -> None:
    before = rows("SELECT spec, versions FROM sweeps")
    first = rows("SELECT id, params, score FROM trials WHERE state = 'completed'")
    ran = orch("sweeps", "resume", paused[:6])
    assert ran.code == 0, ran.err
    assert rows("SELECT state FROM sweeps") == [("completed",)]
    assert rows("SELECT spec, versions FROM sweeps") == before
    assert len(first) == 1
    assert set(first) < set(rows("SELECT id, params, score FROM trials"))
    ran = orch("sweeps", "resume", paused[:6])
    assert (ran.code, "has completed" in ran.err) == (2, True)
    assert f"orch sweeps extend {paused[:6]} --trials +10" in ran.err


def test_what_changed_is_refused_and_forked(orch: Any, paused: str) -> None:
    rows("UPDATE sweeps SET spec = json_set(spec, '$.dataset_digest', 'feedfeedfeed')")
    before = rows("SELECT * FROM trials")
    ran = orch("sweeps", "resume", paused[:6])
    assert ran.code == 2, ran.err
    assert "dataset digest was feedfeedfeed, now " in ran.err
    assert f"orch sweeps resume {paused[:6]} --fork" in ran.err
    assert rows("SELECT * FROM trials") == before, "nothing was started"
    ran = orch("sweeps", "resume", paused[:6], "--fork")
    assert ran.code == 0, ran.err
    assert rows("SELECT state, parent FROM sweeps ORDER BY parent") == [
        ("paused", None),
        ("completed", paused),
    ]
    same = "SELECT DISTINCT json_extract(spec, '$.seed', '$.trials', '$.keep') FROM sweeps"
    assert rows(same) == [("[8,3,1]",)]
    (former,) = rows(f"SELECT params FROM trials WHERE sweep_id = '{paused}' AND score IS NOT NULL")
    (first,) = rows(f"SELECT params FROM trials WHERE sweep_id != '{paused}' AND number = 0")
    assert first == former, "it begins with the best of its parent"
    (other,) = rows("SELECT id FROM sweeps WHERE parent IS NOT NULL")[0]
    assert paused[:6] in orch("sweeps", "show", other).out


def test_a_cancelled_sweep_is_forked_only(orch: Any, paused: str) -> None:
    assert orch("sweeps", "cancel", paused).code == 0
    for words in (("resume",), ("extend", "--trials", "+3"), ("retry", "--failed")):
        ran = orch("sweeps", words[0], paused, *words[1:])
        assert ran.code == 2, ran.err
        assert "was cancelled and does not go on; its results are safe" in ran.err
        assert f"orch sweeps resume {paused[:6]} --fork" in ran.err
    assert orch("sweeps", "resume", paused, "--fork").code == 0


def test_a_plugin_that_is_gone_is_named(
    orch: Any, paused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = registry._found(registry.STRATEGIES)
    without = {name: point for name, point in there.items() if name != "fine-tune"}
    found = registry._found
    monkeypatch.setattr(
        registry, "_found", lambda group: without if group == registry.STRATEGIES else found(group)
    )
    ran = orch("sweeps", "resume", paused)
    assert ran.code == 3, ran.err
    assert "no strategy is called 'fine-tune'" in ran.err
    assert rows("SELECT state FROM sweeps") == [("paused",)]


@pytest.mark.parametrize("document", [{"id": "5eed"}, {"objective": {"metric": "loss"}}])
def test_a_record_of_another_version_is_one_line(document: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"of sweep (5eed|\?) cannot be read: ") as caught:
        SweepSpec.from_json(document)
    assert caught.value.exit_code == 4
    assert caught.value.hint
