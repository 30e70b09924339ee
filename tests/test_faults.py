"""Disks that fail, locks that stay, signals, clocks, handles: the words, the code, and the rows.

Kills are in `test_kills.py`, full disks in `test_sweep_life.py` and `test_catalog.py`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_sweeps
import pytest
from fake_sweeps import PLANNED_ID, planned, value
from faults import faulty, needs_strace
from killing import Arena

from orch.cluster import connection
from orch.cluster.connection import Resources
from orch.errors import StorageError, UsageError
from orch.home import Home
from orch.sweeps import life
from orch.trials import EpochReport, TrialOutcome, TrialSpec
from orch_db.store import Store

pytestmark = pytest.mark.slow

Steps = Generator[EpochReport, None, TrialOutcome]
SAFE = "what was recorded before is safe"


# ── a disk that fails ───────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize(
    ("calls", "first", "later"),
    [
        ("fdatasync", 30, ("9", "14+", "20", "26+")),
        ("pwrite64", 300, ("9", "60+", "90", "120+")),
    ],
)
def test_a_database_whose_disk_fails_loses_nothing_it_acknowledged(
    tmp_path: Path, calls: str, first: int, later: tuple[str, ...]
) -> None:
    """The same call fails once, or from then on; the next run finds all that was acknowledged."""
    arena = Arena(tmp_path, f"sqlite:///{tmp_path}/orch.db", 12, 1)
    arena.start("--alone", under=faulty(calls, f"error=EIO:when={first}")).wait(60)
    begun = arena.noted()
    assert begun, "it failed before anything was acknowledged"
    for when in later:
        under = faulty(calls, f"error=EIO:when={when}")
        code = arena.start("--alone", under=under).wait(60)
        last = arena.said().splitlines()[-1]
        assert code == 5, last
        assert f"orch.db: disk I/O error; {SAFE}" in last
        assert "dmesg; then orch db check" in last
    assert "orch db check; then orch sweeps resume 012345" in arena.said()
    assert arena.noted() > begun
    arena.driver = None
    arena.finish()
    arena.check()


@needs_strace
@pytest.mark.parametrize("when", ["1", "1+", "2"])
def test_a_dataset_that_cannot_be_flushed_is_not_published(
    orch_script: str, tmp_path: Path, when: str
) -> None:
    subprocess.run([orch_script, "datasets", "show", "digits"], check=True)  # asks the plugin
    under = faulty("fsync", f"error=EIO:when={when}")
    done = subprocess.run(
        [*under, orch_script, "datasets", "add", "digits"], capture_output=True, text=True
    )
    assert done.returncode == 5, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Input/output error; digits was not added" in error
    assert "Traceback" not in done.stderr
    place = tmp_path / "home" / "datasets" / "digits"
    there = (place / "manifest.json").exists()
    assert there == (when == "2"), "the second flush is that of the folder, after the rename"
    assert not list(place.glob(".*"))
    again = subprocess.run([orch_script, "datasets", "add", "digits"], capture_output=True)
    assert again.returncode == 0, again.stderr


PUBLISHER = """
import sys
from pathlib import Path
from orch.home import publishing
for content in (b"first", b"second"):
    with publishing(Path(sys.argv[1])) as file:
        file.write(content)
    print(content.decode(), flush=True)
"""


@needs_strace
@pytest.mark.parametrize(
    ("when", "said", "left"),
    [("1", "", None), ("3", "first\n", b"first"), ("4", "first\n", b"second")],
    ids=["first file", "second file", "folder"],
)
def test_a_file_that_cannot_be_flushed_is_never_acknowledged(
    tmp_path: Path, when: str, said: str, left: bytes | None
) -> None:
    file = tmp_path / "file"
    words = [sys.executable, "-c", PUBLISHER, str(file)]
    done = subprocess.run(
        [*faulty("fsync", f"error=EIO:when={when}"), *words], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "OSError: [Errno 5] Input/output error" in done.stderr
    assert done.stdout == said
    assert (file.read_bytes() if file.exists() else None) == left
    assert [each for each in tmp_path.iterdir() if each.name.startswith(".")] == []


# ── a lock that stays ───────────────────────────────────────────────────────────────────────

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locking(path: Path) -> Iterator[None]:
    """Another process holds the database's write lock."""
    words = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        yield
        other.stdin.close()


def calm(spec: TrialSpec, home: Home) -> Steps:
    last = int(spec.params["epochs"])
    for epoch in range(spec.known_epochs + 1, last + 1):
        yield EpochReport(epoch, 1, {"val_accuracy": value(spec.number, epoch)}, 0.01)
    return TrialOutcome(value(spec.number, last), last, {}, 0.1)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[life.Driver]:
    """A driver without Ray, which waits for locks for a moment only."""
    monkeypatch.setattr(life, "_directed", fake_sweeps.alone)
    url = f"sqlite:///{tmp_path}/orch.db"
    made = fake_sweeps.driver(url, Home(tmp_path / "home"), tmp_path / "ledger")
    made.store.close()
    made = replace(made, store=fake_sweeps.Ledger.open(url, busy_seconds=0.1), trainer=calm)
    yield made
    made.store.close()
    made.queries.close()


def states(driver: life.Driver) -> list[str]:
    return [each.state for each in driver.queries.trials(PLANNED_ID)]


def test_a_database_that_stays_locked_ends_a_sweep_that_can_be_resumed(
    driver: life.Driver, tmp_path: Path
) -> None:
    path = tmp_path / "orch.db"
    with closing(Store.open(f"sqlite:///{path}")) as elsewhere:  # it keeps the log open

        def meets_a_lock(spec: TrialSpec, home: Home) -> Steps:
            for report in calm(spec, home):
                yield report
                if (spec.number, report.epoch) == (1, 1):
                    lock.__enter__()
            return TrialOutcome(value(spec.number, 3), 3, {}, 0.1)

        lock = locking(path)
        with pytest.raises(StorageError) as caught:
            life.start(replace(driver, trainer=meets_a_lock), planned(3, epochs=3))
        assert caught.value.exit_code == 5
        assert caught.value.message == f"{path} is locked by another process; {SAFE}"
        assert caught.value.hint == (
            f"see who holds it: fuser -v {path}; then orch sweeps resume 012345"
        )
        assert states(driver) == ["completed", "running"], "nothing more could be written"
        lock.__exit__(None, None, None)
        life.resume(driver, planned(3, epochs=3))
        assert states(driver) == ["completed"] * 3
        trials = driver.queries.trials(PLANNED_ID)
        seen = [[e.epoch for e in driver.queries.epochs(each.id)] for each in trials]
        assert seen == [[1, 2, 3]] * 3
        elsewhere.request(PLANNED_ID, "stop", "2026-01-01")


# ── clocks ──────────────────────────────────────────────────────────────────────────────────

DAY, YEAR = 86_400, 365 * 86_400


def moved(path: Path, seconds: float) -> None:
    """Put the clock forward by so much as far as the database can tell: all it knows is older."""
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("UPDATE sweeps SET held_until = held_until - ?", (seconds,))


@pytest.mark.parametrize("jump", [1, -1, 3600, -3600, DAY, -DAY, YEAR, -YEAR])
def test_a_clock_that_jumps_costs_a_living_driver_nothing(
    driver: life.Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Holds are by the database's clock, everything else that is waited for is monotonic."""
    really = time.time

    def jumps(spec: TrialSpec, home: Home) -> Steps:
        for report in calm(spec, home):
            if (spec.number, report.epoch) == (1, 2):
                moved(tmp_path / "orch.db", jump)
                monkeypatch.setattr(time, "time", lambda: really() + jump)
            yield report
        return TrialOutcome(value(spec.number, 3), 3, {}, 0.1)

    life.start(replace(driver, trainer=jumps), planned(3, epochs=3, seconds=600.0))
    assert states(driver) == ["completed"] * 3
    record = driver.queries.sweep(PLANNED_ID)
    assert record is not None
    assert (record.state, record.holder) == ("completed", None)


@pytest.mark.parametrize("jump", [DAY, -DAY, YEAR, -YEAR])
def test_a_clock_that_jumps_leaves_no_sweep_held_for_ever(
    driver: life.Driver, tmp_path: Path, jump: float
) -> None:
    """A driver elsewhere was killed: its hold ends although the clock was put back a year."""
    life.start(driver, planned(2, epochs=1))
    with closing(Store.open(f"sqlite:///{tmp_path}/orch.db")) as elsewhere:
        assert elsewhere.take(PLANNED_ID, "elsewhere:1:x", 60) is None
        assert driver.store.take(PLANNED_ID, "here:2:y", 60) == "elsewhere:1:x"
        moved(tmp_path / "orch.db", jump)
        record = driver.queries.sweep(PLANNED_ID)
        assert record is not None
        assert record.state == "interrupted"
        assert not elsewhere.request(PLANNED_ID, "pause", "2026-01-01"), "nobody would hear it"
        assert driver.store.take(PLANNED_ID, "here:2:y", 60) is None


# ── what there is not enough of ─────────────────────────────────────────────────────────────


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_two_hundred_trials_leave_no_handle_open(driver: life.Driver, tmp_path: Path) -> None:
    life.start(driver, planned(5, epochs=1))
    before = handles()
    life.start(driver, planned(200, epochs=2, identity="ba9876543210"))
    assert handles() < before + 10, "the pools of connections have their size"
    ended = driver.queries.trials("ba9876543210")
    assert [each.state for each in ended] == ["completed"] * 200


@pytest.mark.parametrize(
    ("most", "safe"), [(5, SAFE), (6, "digits was not added"), (7, "digits was not added")]
)
def test_too_few_handles_are_one_line(
    orch_script: str, tmp_path: Path, most: int, safe: str
) -> None:
    """With fewer, Python itself does not start; with more, a dataset is added."""
    words = f"ulimit -n {most}; exec {orch_script} datasets add digits"
    ran = subprocess.run(["sh", "-c", words], capture_output=True, text=True)
    assert ran.returncode == 5, ran.stderr
    assert "Traceback" not in ran.stderr
    assert f"Too many open files; {safe}" in ran.stderr
    assert not list((tmp_path / "home").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.EMFILE, "Too many open files", "ulimit -n 4096, then the same again"),
        (errno.ENOSPC, "No space left on device", "free some space, then the same again"),
        (errno.EIO, "Input/output error", "dmesg"),
    ],
)
def test_what_the_system_refuses_is_no_bug_of_orch(
    orch: Any, monkeypatch: pytest.MonkeyPatch, number: int, words: str, hint: str
) -> None:
    def refuse(self: Home) -> None:
        raise OSError(number, words, "/home/x")

    monkeypatch.setattr(Home, "create", refuse)
    ran = orch("sweep", "digits")
    assert ran.code == 5
    assert ran.err.startswith(f"error: /home/x: {words}; {SAFE}\n  try: ")
    assert hint in ran.err


def test_fewer_cores_than_were_asked_for_are_said_and_cost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is fake here: four cores, then one, then four again."""
    cores = 4

    @contextmanager
    def connecting(*_: Any) -> Iterator[Callable[[], Resources]]:
        yield lambda: Resources(cores, 0.0, 2**36)

    def run(self: Any, home: Home, slots: Any, keeping: Any, trainer: Any) -> None:
        while isinstance(spec := self.next_trial(), TrialSpec):
            self.on_start(spec.number)
            for report in calm(spec, home):
                self.on_epoch(spec.number, report, "here:1")
            self.on_outcome(spec.number, TrialOutcome(0.5, 3, {}, 0.1))

    from orch.cluster import dispatch

    monkeypatch.setattr(connection, "connecting", connecting)
    monkeypatch.setattr(dispatch, "run", run)
    url, home = f"sqlite:///{tmp_path}/orch.db", Home(tmp_path / "home")
    it = fake_sweeps.driver(url, home, tmp_path / "ledger", cpus_per_trial=4)
    life.start(it, planned(2, epochs=3))
    before = it.queries.trials(PLANNED_ID)
    it.store.extend(PLANNED_ID, 2, 4)
    cores = 1
    with pytest.raises(UsageError) as caught:
        life.resume(it, planned(4, epochs=3))
    assert caught.value.exit_code == 2
    assert "asks for 0 GPUs and 4 cores, the cluster has 0 and 1" in caught.value.message
    assert "--cpus-per-trial" in caught.value.hint
    assert it.queries.trials(PLANNED_ID) == before
    cores = 4
    life.resume(it, planned(4, epochs=3))
    assert states(it) == ["completed"] * 4
    it.store.close()
    it.queries.close()
