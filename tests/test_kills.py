"""Processes are killed, databases lose their power: nothing acknowledged is lost or doubled.

`make torture KILLS=500` does the same for longer.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killing import Arena, rage
from postgresql_server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace, which injects the kills, is not installed"
)


def on_sqlite(folder: Path, trials: int, seed: int) -> Arena:
    return Arena(folder, f"sqlite:///{folder}/orch.db", trials, seed)


@needs_strace
def test_a_driver_is_killed_at_every_flush(tmp_path: Path) -> None:
    arena = on_sqlite(tmp_path, 12, 1)
    rage(arena, ["flush"] * 17)
    assert arena.killed == {"flush": 17}


def test_processes_of_a_sweep_are_killed_at_random(tmp_path: Path) -> None:
    arena = on_sqlite(tmp_path, 48, 2)
    targets = ["worker", "worker", "driver", "worker", "raylet", "worker", "gcs_server", "worker"]
    rage(arena, [*targets, "driver", "worker", "worker"])
    assert arena.killed.total() >= 10, arena.said()


@needs_strace
def test_postgresql_and_what_uses_it_are_killed(tmp_path: Path, postgresql_server: Server) -> None:
    with postgresql_server.database() as name:
        arena = Arena(tmp_path, postgresql_server.url(name), 40, 3, server=postgresql_server)
        targets = ["worker", "server", "worker", "driver", "server", "worker", "worker", "driver"]
        rage(arena, ["flush"] * 2 + targets + ["server"])
        assert arena.killed.total() >= 10, arena.said()


def test_trials_that_train_go_on_after_kills(orch_script: str, tmp_path: Path) -> None:
    """Two workers and a driver that run Keras are killed, each after an epoch was recorded."""
    home = tmp_path / "home"
    sweep = ["sweep", "digits", "--trials", "2", "-S", "epochs=30", "-S", "frozen_layers=22"]
    words = [*sweep, "--pruner", "none", "--keep", "0"]
    driver = Driver(orch_script, home, words)
    driver.kill_a_worker()
    driver.kill_a_worker()
    driver.process.kill()
    driver.process.wait()
    (identity,) = rows(home, "SELECT id FROM sweeps")[0]
    again = Driver(orch_script, home, ["sweeps", "resume", identity])
    _, err = again.process.communicate(timeout=200)
    assert again.process.returncode == 0, err
    assert rows(home, "SELECT state FROM trials") == [("completed",)] * 2
    lost = "SELECT count(*) FROM attempts WHERE failure_kind = 'worker lost'"
    assert rows(home, lost) == [(2,)]
    assert "is tried again (attempt 2)  worker lost" in driver.said()
    first = "SELECT min(epoch) FROM epochs WHERE attempt > 1 GROUP BY trial_id, attempt"
    assert all(epoch > 1 for (epoch,) in rows(home, first)), "it went on, not from the start"
    assert not list((home / "checkpoints" / "running").glob("*"))


def rows(home: Path, query: str) -> list[Any]:
    with sqlite3.connect(home / "orch.db") as database:
        return database.execute(query).fetchall()


class Driver:
    """The installed script, and its workers."""

    def __init__(self, script: str, home: Path, words: list[str]) -> None:
        self.home = home
        environment = {**os.environ, "ORCH_HOME": str(home), "ORCH_CHECKPOINT_SECONDS": "0"}
        self.file = home.parent / f"said-{len(words)}"
        with self.file.open("w") as said:
            self.process = subprocess.Popen(
                [script, *words], env=environment, start_new_session=True, stderr=said,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.file.read_text()

    def kill_a_worker(self) -> None:
        """Kill the process of a trial that has recorded two epochs; wait until that is known."""
        running = (
            "SELECT t.worker FROM trials t JOIN epochs e ON e.trial_id = t.id "
            "AND e.attempt = t.attempt WHERE t.state = 'running' GROUP BY t.id HAVING count(*) > 1"
        )
        lost = "SELECT count(*) FROM attempts WHERE state = 'lost'"
        self.wait_for(lambda: self._has_epochs() and rows(self.home, running))
        before = rows(self.home, lost)
        os.kill(int(rows(self.home, running)[0][0].rpartition(":")[2]), signal.SIGKILL)
        self.wait_for(lambda: rows(self.home, lost) != before)

    def wait_for(self, there: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not there():
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def _has_epochs(self) -> bool:
        if not (self.home / "orch.db").exists():
            return False
        return bool(rows(self.home, "SELECT 1 FROM sqlite_master WHERE name = 'epochs'"))
