from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import orch_db_rows
import pytest
from fake_sweeps import planned, record
from own_files import add, folder
from scheduler_room import HOURLY

from orch import catalog, upkeep
from orch.errors import NotFoundError, UsageError
from orch.home import Home
from orch.service.state import Service, serving
from orch.settings import Settings
from orch_db.records import SweepRecord


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    add(made, folder(tmp_path / "photos", {"a": 2, "b": 2}))
    return made


@pytest.fixture
def here(home: Home) -> Generator[Service]:
    with serving(Settings(), home, f"sqlite:///{home.database}") as service:
        yield service


def swept(here: Service, state: str = "completed", dataset: str = "mine") -> SweepRecord:
    """A sweep with one trial that completed, as the database has it."""
    made = planned(1, 1, f"{state[:4]}{dataset[:4]}0000", dataset=dataset)
    row = replace(record(made), state=state)
    here.sweeps.add_sweep(row)
    assert here.sweeps.take(row.id, "driver", 60) is None
    changes = {"id": f"t{row.id}", "sweep_id": row.id, "board": row.board, "score": 0.75}
    trial = orch_db_rows.trial(state="completed", **changes)
    here.sweeps.add_trial(trial)
    here.sweeps.let_go(state, "2026-01-02")
    return row


def rename(here: Service, former: str, name: str) -> int:
    return upkeep.rename(here.home, former, name, here.sweeps, here.queries)


def test_results_come_with_a_dataset_that_is_renamed(here: Service) -> None:
    mine, other = swept(here), swept(here, dataset="digits")
    before = catalog.find(here.home, "mine")
    assert before is not None
    assert rename(here, "mine", "birds") == 1
    after = catalog.find(here.home, "birds")
    assert after is not None
    assert (after.name, after.digest) == ("birds", before.digest)
    assert len(catalog.open_splits(here.home, "birds")["train"].labels) == 4
    assert catalog.load(here.home, "birds").facts.name == "birds"
    assert "mine" not in catalog.names(here.home)
    (board,) = here.queries.boards("birds", 5)
    assert [row.id for row in board.rows] == [f"t{mine.id}"]
    assert here.queries.boards("mine", 5) == []
    assert [row.id for row in here.queries.boards("digits", 5)[0].rows] == [f"t{other.id}"]


def test_a_sweep_after_the_renaming_is_ranked_with_those_before(here: Service) -> None:
    former = swept(here)
    rename(here, "mine", "birds")
    swept(here, "stopped", "birds")
    (board,) = here.queries.boards("birds", 5)
    assert {row.sweep_id for row in board.rows} == {former.id, "stopbird0000"}
    renamed = here.queries.sweep(former.id)
    assert renamed is not None
    assert renamed.spec["dataset"] == "birds"


@pytest.mark.parametrize(
    ("former", "name", "kind", "words"),
    [
        ("robins", "birds", NotFoundError, "no dataset of your own is called 'robins'"),
        ("digits", "birds", NotFoundError, "no dataset of your own is called 'digits'"),
        ("mine", "digits", UsageError, "digits is the name of a dataset of orch"),
        ("mine", "A", UsageError, "'A' cannot be a dataset's name"),
        ("mine", "mine", UsageError, "there is a dataset mine already"),
    ],
)
def test_a_name_that_cannot_be_given(
    here: Service, former: str, name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        rename(here, former, name)
    assert catalog.own_names(here.home) == ["mine"]


def test_what_a_sweep_needs_stays(here: Service) -> None:
    waiting = replace(record(planned(1, 1, dataset="mine")), state="queued")
    here.sweeps.add_sweep(waiting)
    with pytest.raises(UsageError, match="the sweep 012345 of mine is queued; nothing was renamed"):
        rename(here, "mine", "birds")
    with pytest.raises(UsageError, match="nothing was removed"):
        upkeep.remove(here.home, "mine", here.queries)
    assert catalog.own_names(here.home) == ["mine"]


def test_what_a_schedule_sweeps_is_not_renamed(here: Service) -> None:
    here.store.add_schedule(replace(HOURLY, words={**HOURLY.words, "dataset": "mine"}))
    with pytest.raises(UsageError, match="the schedule hourly sweeps mine") as caught:
        rename(here, "mine", "birds")
    assert "orch schedules remove hourly" in caught.value.hint
    assert upkeep.remove(here.home, "mine", here.queries) > 0


def test_removing_frees_the_copy_and_leaves_the_files(here: Service, tmp_path: Path) -> None:
    swept(here)
    assert upkeep.remove(here.home, "mine", here.queries) > 1000
    assert catalog.own_names(here.home) == []
    assert list(here.home.datasets.iterdir()) == []
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 4
    assert here.queries.boards("mine", 5)[0].rows
    with pytest.raises(NotFoundError, match="no installed dataset is called 'mine'"):
        upkeep.remove(here.home, "mine", here.queries)


def test_removing_links_never_touches_what_they_link_to(here: Service, tmp_path: Path) -> None:
    add(here.home, tmp_path / "photos", link=True)
    upkeep.remove(here.home, "mine", here.queries)
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 4


def test_a_renaming_that_was_killed_goes_on(here: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    former = swept(here)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upkeep.installing, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            rename(here, "mine", "birds")
    assert rename(here, "mine", "birds") == 0
    (board,) = here.queries.boards("birds", 5)
    assert [row.sweep_id for row in board.rows] == [former.id]
    assert catalog.own_names(here.home) == ["birds"]
