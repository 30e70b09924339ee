"""The thread that holds a sweep: what it hears, and when it gives the sweep up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import fake_sweeps
import pytest
from fake_sweeps import PLANNED_ID, planned

from orch.errors import StorageError
from orch.home import Home
from orch.sweeps import control, halts, life
from orch.sweeps.control import Control, holding
from orch.sweeps.interrupts import Interrupts
from orch_db.errors import LockedError, LostSweepError
from orch_db.store import Store


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[life.Driver]:
    """A driver of a sweep that has run; it looks often, and waits for no lock."""
    monkeypatch.setattr(life, "_directed", fake_sweeps.alone)
    monkeypatch.setattr(control, "OBEY_SECONDS", 0.02)
    monkeypatch.setattr(control, "RENEW_SECONDS", 0.05)
    monkeypatch.setenv("FAKE_SECONDS", "0")
    url = f"sqlite:///{tmp_path}/orch.db"
    made = fake_sweeps.driver(url, Home(tmp_path / "home"), tmp_path / "ledger")
    life.start(made, planned(1, epochs=1))
    made.store.close()
    store = Store.open(url, busy_seconds=0.01)
    yield life.Driver(made.settings, made.home, store, made.queries, made.watcher, made.abandon)
    store.close()
    made.queries.close()


def lost(held: Control) -> Exception:
    deadline = time.monotonic() + 20
    while held.lost is None:
        assert time.monotonic() < deadline, "it still takes itself for the driver"
        time.sleep(0.01)
    return held.lost


def said(held: Control) -> StorageError:
    """What the sweep ends with."""
    halt = halts.wanted(held, Interrupts(), False)
    assert halt is not None
    assert (halt.state, halt.when) == ("failed", "now")
    assert isinstance(halt.error, StorageError)
    assert halt.error.exit_code == 5
    return halt.error


def test_a_driver_that_was_replaced_hears_of_it(driver: life.Driver, tmp_path: Path) -> None:
    with holding(driver.store, driver.queries, PLANNED_ID, driver.home) as held:
        with closing(Store.open(f"sqlite:///{tmp_path}/orch.db")) as elsewhere:
            record = driver.queries.sweep(PLANNED_ID)
            assert record is not None
            assert elsewhere.take(PLANNED_ID, "elsewhere:1:x", 60, dead=record.holder) is None
        assert isinstance(lost(held), LostSweepError)
        assert "another process has taken over sweep 012345; it goes on there" in said(held).message


def test_a_driver_that_cannot_renew_gives_up_before_others_may_take_over(
    driver: life.Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control.GIVE_UP_SECONDS < control.HOLD_SECONDS
    monkeypatch.setattr(control, "GIVE_UP_SECONDS", 0.5)
    with holding(driver.store, driver.queries, PLANNED_ID, driver.home) as held:
        with closing(sqlite3.connect(tmp_path / "orch.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert isinstance(lost(held), LockedError)
            assert "is locked by another process; what was recorded before is safe" in (
                said(held).message
            )


def test_a_lock_that_goes_away_in_time_costs_nothing(
    driver: life.Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "GIVE_UP_SECONDS", 60.0)
    with holding(driver.store, driver.queries, PLANNED_ID, driver.home) as held:
        with closing(sqlite3.connect(tmp_path / "orch.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(1)
        assert held.lost is None
