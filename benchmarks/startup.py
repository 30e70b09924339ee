"""How long `orch --help` takes, and `orch sweep digits` until its first epoch is in the database.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from workload import machine, table

SWEEP = ("sweep", "digits", "--trials", "2", "--limit", "200", "-S", "epochs=1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    orch = str(Path(sys.executable).parent / "orch")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        environment = {**os.environ, "ORCH_HOME": name}
        _first_epoch(
            orch, environment, Path(name)
        )  # installs digits, lists layers, fills the store
        rows = [["what", "median s", "least", "most", "runs"]]
        rows.append(_row("orch --help", [_help(orch, environment) for _ in range(2 * runs)]))
        first = [_first_epoch(orch, environment, Path(name)) for _ in range(runs)]
        rows.append(_row("orch sweep digits, to the first epoch", first))
    print(f"\n{machine()}\n\n{table(rows)}")


def _row(what: str, seconds: list[float]) -> list[str]:
    figures = (statistics.median(seconds), min(seconds), max(seconds))
    return [what, *(f"{each:.2f}" for each in figures), str(len(seconds))]


def _help(orch: str, environment: dict[str, str]) -> float:
    started = time.monotonic()
    subprocess.run([orch, "--help"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def _first_epoch(orch: str, environment: dict[str, str], home: Path) -> float:
    before, started = _epochs(home), time.monotonic()
    sweep = subprocess.Popen(
        [orch, *SWEEP], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while _epochs(home) == before and sweep.poll() is None:
        time.sleep(0.02)
    seconds = time.monotonic() - started
    if sweep.wait():
        raise SystemExit(f"the sweep ended with {sweep.returncode}")
    return seconds


def _epochs(home: Path) -> int:
    """Epoch reports in the database, read as another process may."""
    try:
        with closing(sqlite3.connect(f"file:{home}/orch.db?mode=ro", uri=True)) as connection:
            return int(connection.execute("select count(*) from epochs").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


if __name__ == "__main__":
    main()
