"""Handlers of errors that nothing else meets: each is run, and leaves what it should."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_sweeps
import pytest
from fake_sweeps import PLANNED_ID, planned

from orch import doctor, registry
from orch.contracts import Plan, Problem
from orch.errors import ClusterError, DataError, PluginError
from orch.home import Home
from orch.sweeps import life
from orch.training import backbones
from orch.trials import Failure, TrialOutcome, TrialSpec, plan_from_json
from orch_db import backup
from orch_db.errors import DatabaseError
from orch_plugins.fine_tune import FineTune


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[life.Driver]:
    monkeypatch.setattr(life, "_directed", fake_sweeps.alone)
    url = f"sqlite:///{tmp_path}/orch.db"
    made = fake_sweeps.driver(url, Home(tmp_path / "home"), tmp_path / "ledger")
    yield made
    made.store.close()
    made.queries.close()


class Planless(FineTune):
    """A strategy that makes no plan of any values."""

    def plan(self, params: Mapping[str, Any], problem: Problem) -> Plan:
        raise ValueError("no plan today")


def test_a_strategy_that_makes_no_plan_fails_its_trials_alone(
    driver: life.Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(spec: TrialSpec, home: Home) -> Any:
        yield from ()
        return TrialOutcome(None, None, {}, 0.1, failure=Failure("plugin", "no plan today"))

    made = replace(planned(2, epochs=1), strategy=Planless())
    monkeypatch.setattr(registry, "load_strategy", lambda name: Planless())
    life.start(replace(driver, trainer=fails), made)
    found = driver.queries.trials(PLANNED_ID)
    assert [(each.state, each.failure_kind, each.plan) for each in found] == [
        ("failed", "plugin", {})
    ] * 2


def test_ctrl_c_ends_a_sweep_without_an_error(
    orch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(spec: TrialSpec, home: Home) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        yield from ()
        return TrialOutcome(0.5, 1, {}, 0.1)

    def alone(it: life.Driver, *rest: Any) -> Any:
        return fake_sweeps.alone(replace(it, trainer=interrupted), *rest)

    monkeypatch.setattr(life, "_directed", alone)
    ran = orch("sweep", "digits", "--trials", "3", "--limit", "200", "-S", "epochs=1")
    assert ran.code == 130
    assert "was interrupted; 1 of 3 trials have ended and are saved" in ran.err
    assert "try: orch sweeps resume" in ran.err
    assert "error:" not in ran.err


class Raising:
    """A director that cannot write."""

    asked = 0

    def next_trial(self) -> Any:
        self.asked += 1
        raise DatabaseError("the database is gone", "look for it")


def test_what_the_director_raises_ends_the_run_as_it_is() -> None:
    from orch.cluster.dispatch import _Adapter

    director: Any = Raising()
    adapter = _Adapter(director)
    assert adapter.next_trial() == "done"
    assert adapter.next_trial() == "done"
    assert adapter.stop_now()
    assert isinstance(adapter.failure, DatabaseError)
    assert director.asked == 1, "nothing is asked of it any more"


def test_tune_that_gives_up_is_a_cluster_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import tune

    from orch.cluster import dispatch
    from orch.cluster.slots import Slots

    def fit(self: Any) -> None:
        raise tune.TuneError("Traceback …\nno node has 4 CPUs")

    monkeypatch.setattr(tune.Tuner, "fit", fit)
    director: Any = Raising()
    with pytest.raises(ClusterError, match="Ray Tune gave up: no node has 4 CPUs") as caught:
        dispatch.run(director, Home(tmp_path), Slots(1, 1, 0, False), life.keeping(_settings()))
    assert (caught.value.exit_code, caught.value.hint) == (7, "orch doctor")


def _settings() -> Any:
    from orch.settings import Settings

    return Settings()


def test_a_database_that_is_none_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    finding = doctor._database(f"sqlite:///{tmp_path}/text")
    assert not finding.good
    assert "is not an SQLite database; it was not touched" in finding.found


def test_facts_of_a_network_that_are_damaged_are_computed_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    facts = backbones.describe(home, "vgg-mini")
    (file,) = (home.root / "backbones").iterdir()
    whole = file.read_text()
    for damaged in ("{", "{}", "[]"):
        file.write_text(damaged)
        assert backbones.describe(home, "vgg-mini") == facts
        assert file.read_text() == whole


@pytest.mark.parametrize("document", [{}, {"stages": [1]}, {"image": None}])
def test_a_plan_of_another_version_is_said(document: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="was not recorded as this version") as caught:
        plan_from_json(document)
    assert (caught.value.exit_code, caught.value.hint) == (4, "run the trial again")


def test_a_backup_that_cannot_take_its_place_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    (target / "full").mkdir(parents=True)
    with pytest.raises(DatabaseError, match="taken cannot be written: Is a directory"):
        with backup._publishing(target) as file:
            file.write_bytes(b"whole")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_a_plugin_s_own_error_keeps_its_words() -> None:
    with suppress(PluginError), registry.blaming("strategy", "moody"):
        raise PluginError("as it was", "and its hint")
    with pytest.raises(PluginError, match=r"^as it was$"), registry.blaming("strategy", "moody"):
        raise PluginError("as it was")


def test_a_worker_s_last_step_is_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Tune drives it, in this process."""
    from orch.cluster.worker import Setting, Worker

    monkeypatch.setattr(os, "environ", {**os.environ, "FAKE_SECONDS": "0"})
    setting = Setting(Home(tmp_path), 1, life.keeping(_settings()), {}, fake_sweeps.steps)
    spec = planned(1, epochs=1).spec
    worker = Worker.__new__(Worker)
    worker.setup({"spec": spec.trial(0, {"epochs": 2}, 0)}, setting)
    made = [worker.step() for _ in range(3)]
    assert [each["report"].epoch for each in made[:2]] == [1, 2]
    assert made[2]["done"]
    assert made[2]["outcome"].score == fake_sweeps.value(0, 2)
    assert worker.reset_config({"spec": spec.trial(1, {"epochs": 1}, 0)})
    assert worker.step()["report"].epoch == 1
    worker.cleanup()
