"""A writer in one process, readers that come and go in others: no row may be lost.

SQLite's locks are POSIX locks: a process that opens and closes the database file by itself drops
those that its own connections hold (https://www.sqlite.org/howtocorrupt.html, section 2.2). A
reader elsewhere then takes itself for the last, and deletes the log under the writer.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orch_db.queries import Queries
from orch_db.records import SweepRecord
from orch_db.store import Store

READER = """
import sys
from orch_db.queries import Queries
queries = Queries.open(sys.argv[1])
print(len(queries.sweeps()))
queries.close()
"""
WRITER = """
import sys
from orch_db.store import Store
Store.open(sys.argv[1]).close()
"""


def sweep(number: int) -> SweepRecord:
    return SweepRecord(
        id=f"{number:012}",
        name="digits",
        state="running",
        dataset="digits",
        strategy="fine-tune",
        backbone="vgg-mini",
        metric="val_accuracy",
        direction="maximize",
        board="board",
        spec={},
        versions={},
        git_commit=None,
        created_at=f"2026-01-01T00:00:{number:02}",
    )


@pytest.mark.parametrize("script", [READER, WRITER])
def test_others_that_come_and_go_take_no_row_away(tmp_path: Path, script: str) -> None:
    url = f"sqlite:///{tmp_path}/orch.db"
    store = Store.open(url)
    for number in range(4):
        store.add_sweep(sweep(number))
        Queries.open(url).close()
        other = subprocess.run(
            [sys.executable, "-c", script, url], capture_output=True, text=True, check=True
        )
        if script == READER:
            assert other.stdout == f"{number + 1}\n"
        assert (tmp_path / "orch.db-wal").exists(), "the log was deleted under its writer"
    store.close()
    with sqlite3.connect(tmp_path / "orch.db") as database:
        assert database.execute("SELECT count(*) FROM sweeps").fetchone() == (4,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_nothing_but_sqlite_opens_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a store is open, no code of ours may open and close the file."""
    url = f"sqlite:///{tmp_path}/orch.db"
    store = Store.open(url)
    store.add_sweep(sweep(1))
    opened: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and "orch.db" in str(arguments[0]):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    queries = Queries.open(url)
    assert len(queries.sweeps()) == 1
    queries.close()
    second = Store.open(url)
    second.close()
    seen = list(opened)
    store.close()
    assert seen == []
