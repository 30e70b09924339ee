"""What keeping every result costs: durable epoch reports, and sweeps of trials that only wait.

    python benchmarks/durability.py --trials 1000 --seconds 1

Trials train nothing (`tests/fake_sweeps.py`), so that what is measured is everything else: Ray,
Tune, Optuna, the database, the driver. The ideal is trials × seconds ÷ workers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
from workload import machine, table

sys.path.append(str(Path(__file__).parent.parent / "tests"))

import fake_sweeps
from postgresql_server import running

from orch.home import Home
from orch.sweeps import life
from orch.sweeps.progress import SweepProgress
from orch_db.records import EpochRecord, TrialRecord
from orch_db.store import Store

REPORTS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(running())
        database = stack.enter_context(server.database())
        rows = [["database", "durable epoch reports per second"]]
        rows.append(["SQLite", f"{_reports(f'sqlite:///{folder}/reports.db'):.0f}"])
        rows.append(["PostgreSQL", f"{_reports(server.url(database)):.0f}"])
        print(f"\n{machine()}\n\n{table(rows)}\n", flush=True)
        _sweep(folder, options)


def _reports(url: str) -> float:
    """Epochs of one trial, each in a transaction of its own, as a driver records them."""
    store = Store.open(url)
    made = fake_sweeps.planned(1, epochs=REPORTS)
    store.add_sweep(fake_sweeps.record(made))
    store.take(made.spec.id, "bench:1:x", 3600)
    trial = made.spec.trial(0, {}, 0)
    row = TrialRecord(trial.id, made.spec.id, 0, made.spec.board, "queued", 1, 0, {}, "now")
    store.add_trial(row)
    store.begin(row, "now")
    started = time.monotonic()
    for epoch in range(1, REPORTS + 1):
        metrics = {"loss": 0.5, "val_loss": 0.5, "accuracy": 0.5, "val_accuracy": 0.5}
        store.add_epoch(EpochRecord(trial.id, 1, epoch, 1, metrics, 1.0, "now"), "bench:1")
    seconds = time.monotonic() - started
    store.close()
    return REPORTS / seconds


class _Memory(fake_sweeps.Silent):
    """Notes the driver's resident memory as trials end."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.found: dict[int, float] = {}

    def trial_ended(self, trial: TrialRecord, progress: SweepProgress) -> None:
        self.found[progress.ended] = self.process.memory_info().rss / 2**20


def _sweep(folder: Path, options: argparse.Namespace) -> None:
    os.environ["FAKE_SECONDS"] = str(options.seconds)
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[-1], os.environ.get("PYTHONPATH", "")])
    home, memory = Home(folder / "home"), _Memory()
    driver = fake_sweeps.driver(
        f"sqlite:///{folder}/sweep.db", home, folder / "ledger", concurrent=options.workers
    )
    made = fake_sweeps.planned(options.trials, epochs=1)
    started = time.monotonic()
    life.start(replace(driver, watcher=memory), made)
    seconds = time.monotonic() - started
    ideal = options.trials * options.seconds / options.workers
    rows = [["trials", "workers", "seconds", "ideal", "over ideal", "per trial"]]
    over = seconds / ideal - 1
    each = (seconds - ideal) * options.workers / options.trials
    counts = [str(options.trials), str(options.workers)]
    rows.append([*counts, f"{seconds:.1f}", f"{ideal:.1f}", f"{over:.1%}", f"{each:.3f}"])
    print(table(rows), "\n", flush=True)
    shown = [at for at in memory.found if at % max(1, options.trials // 10) == 0]
    rows = [["trials ended", "driver's memory, MiB"]]
    print(table(rows + [[str(at), f"{memory.found[at]:.1f}"] for at in shown]))


if __name__ == "__main__":
    main()
