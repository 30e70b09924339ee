"""Many drivers on one database at once: exact counts, no lock error."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fake_sweeps import value
from postgresql_server import Server

from orch_db.queries import Queries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRIALS, EPOCHS = 50, 3


def drive(url: str, folder: Path, drivers: int) -> None:
    """Run so many drivers at once, each with a sweep of its own, and count what they recorded."""
    names = [f"{number:012x}" for number in range(1, drivers + 1)]
    script = Path(__file__).parent / "fake_sweeps.py"
    environment = {**os.environ, "ORCH_HOME": str(folder / "home"), "FAKE_SECONDS": "0"}
    sweep = ["--alone", "--trials", str(TRIALS), "--epochs", str(EPOCHS)]
    running = [
        subprocess.Popen(
            [sys.executable, str(script), url, str(folder / name), *sweep, "--id", name],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for each in running:
        _, said = each.communicate(timeout=250)
        assert each.returncode == 0, said
        assert "lock" not in said
    with closing(Queries.open(url)) as queries:
        assert {each.id: (each.state, each.trials) for each in queries.sweeps()} == {
            name: ("completed", {"completed": TRIALS}) for name in names
        }
        for name in names:
            trials = queries.trials(name)
            assert [each.number for each in trials] == list(range(TRIALS))
            for trial in (trials[0], trials[-1]):
                seen = [each.metrics["val_accuracy"] for each in queries.epochs(trial.id)]
                assert seen == [value(trial.number, n) for n in range(1, EPOCHS + 1)]
        assert len(queries.attempts(names[0])) == TRIALS


def test_eight_drivers_share_an_sqlite_file(tmp_path: Path) -> None:
    drive(f"sqlite:///{tmp_path}/orch.db", tmp_path, drivers=8)


def test_sixteen_drivers_share_a_postgresql_database(
    tmp_path: Path, postgresql_server: Server
) -> None:
    with postgresql_server.database() as name:
        drive(postgresql_server.url(name), tmp_path, drivers=16)
