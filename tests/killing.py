"""Kills drivers, workers and Ray's own processes at random, and checks that nothing was lost.

As a script: `python tests/killing.py --kills 500 --seed 1` prints what it killed and found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from fake_sweeps import PLANNED_ID, value
from postgresql_server import Server, running
from sqlalchemy import select

from orch.home import Home
from orch_db.connect import open_engine
from orch_db.queries import Queries
from orch_db.tables import Epoch

DRIVER = Path(__file__).parent / "fake_sweeps.py"
EPOCHS = 5
OFTEN = {"driver": 15, "worker": 40, "raylet": 5, "gcs_server": 5, "flush": 35}
KILLS_OF_ONE = 25  # kills of one sweep at most
MOST_LOSSES = 4  # attempts that a trial has


@dataclass
class Arena:
    """One sweep, its database, its ledger, and the processes that run it in turn."""

    folder: Path
    url: str
    trials: int
    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    sessions: list[int] = field(default_factory=list)
    server: Server | None = None
    driver: subprocess.Popen[bytes] | None = None
    flush: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.home = Home(self.folder / "home")
        self.ledger = self.folder / "ledger"

    # what is done to it

    def kill(self, target: str) -> bool:
        """Kill one process of a running sweep; False where the sweep was over before."""
        if target == "flush":
            return self.kill_at_flush()
        if not self.running():
            return False
        time.sleep(self.random.uniform(0, 0.8))
        if target == "server":
            return self.restart_server()
        victim = self.driver.pid if target == "driver" and self.driver else self.find(target)
        if victim is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.killed[target] += 1
        if target != "worker":
            self.wait()
        return True

    def restart_server(self) -> bool:
        """Cut the database's power while the sweep runs, and start it again."""
        assert self.server is not None
        self.server.stop()
        time.sleep(self.random.uniform(0, 1))
        self.server.start()
        self.killed["server"] += 1
        return True

    def kill_at_flush(self) -> bool:
        """Let a driver without Ray be killed as it flushes the database the next time but n."""
        self.stop()
        self.flush += 1
        calls = "fsync,fdatasync"
        inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={self.flush}"]
        code = self.start("--alone", under=["strace", "-qq", "-o", "/dev/null", *inject]).wait(60)
        self.driver = None
        self.killed["flush"] += code == -signal.SIGKILL
        return code == -signal.SIGKILL

    def running(self) -> bool:
        """Make sure that a driver runs and has recorded something; False once all is over."""
        if self.driver is None or self.driver.poll() is not None:
            self.start()
        before = self.noted()
        while self.noted() == before:
            assert self.driver is not None
            if self.driver.poll() is not None:
                assert self.driver.returncode in (0, 7), self.said()
                return False
            time.sleep(0.02)
        return True

    def start(self, *words: str, under: list[str] | None = None) -> subprocess.Popen[bytes]:
        """Start a driver, as it is or under another program."""
        sweep = [self.url, str(self.ledger), "--trials", str(self.trials), "--epochs", str(EPOCHS)]
        with (self.folder / "said").open("ab") as said:
            self.driver = subprocess.Popen(
                [*(under or ()), sys.executable, str(DRIVER), *sweep, *words],
                env={**os.environ, "ORCH_HOME": str(self.home.root)},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.sessions.append(self.driver.pid)
        return self.driver

    def stop(self) -> None:
        """Kill the driver that runs, if one does."""
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.killed["driver"] += 1
        self.wait()

    def wait(self) -> None:
        """Wait for the driver to end."""
        if self.driver is not None:
            self.driver.wait(60)
            self.driver = None

    def finish(self) -> None:
        """Let the sweep run to its end."""
        for _ in range(2):
            if self.driver is None:
                self.start()
            assert self.driver is not None
            code = self.driver.wait(180)
            self.driver = None
            if code == 0:
                return
        raise AssertionError(f"the sweep does not end: {code}\n{self.said()}")

    # what is seen of it

    def find(self, target: str) -> int | None:
        """A process of the running sweep."""
        assert self.driver is not None
        there = psutil.Process(self.driver.pid).children(recursive=True)
        if target == "worker":
            known = {int(each.name) for each in (self.home.root / "workers").iterdir()}
            found = [each.pid for each in there if each.pid in known]
        else:
            found = [each.pid for each in there if each.name() == target]
        return self.random.choice(found) if found else None

    def noted(self) -> int:
        return self.ledger.stat().st_size if self.ledger.exists() else 0

    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")[-2000:]

    def left(self) -> list[str]:
        """Processes of any of its sessions that are still there after some seconds."""
        deadline = time.monotonic() + 15
        while True:
            found = [each for each in psutil.process_iter(["name"]) if self._ours(each)]
            if not found or time.monotonic() > deadline:
                return [f"{each.pid} {each.info['name']}" for each in found]
            time.sleep(0.2)

    def _ours(self, process: psutil.Process) -> bool:
        try:
            return os.getsid(process.pid) in self.sessions and process.status() != "zombie"
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False

    def check(self) -> None:
        """Nothing that was acknowledged is lost, nothing is there twice, all has ended."""
        assert not self.left()
        with closing(Queries.open(self.url)) as queries:
            sweep = queries.sweep(PLANNED_ID)
            assert sweep is not None
            assert sweep.state == "completed", (sweep, self.said())
            assert sweep.holder is None
            trials = {each.id: each for each in queries.trials(PLANNED_ID)}
            attempts = queries.attempts(PLANNED_ID)
            epochs = {id: queries.epochs(id) for id in trials}
        assert [each.number for each in trials.values()] == list(range(self.trials))
        for trial in trials.values():
            ended = [each for each in attempts if each.trial_id == trial.id]
            assert "running" not in {each.state for each in ended}
            lost = sum(each.failure_kind == "worker lost" for each in ended)
            if lost == MOST_LOSSES:
                assert (trial.state, trial.failure_kind) == ("failed", "worker lost")
                continue
            assert trial.state == "completed", (trial, ended)
            assert trial.score == value(trial.number, EPOCHS)
            assert [each.state for each in ended].count("completed") == 1
            seen = [(e.epoch, e.metrics["val_accuracy"]) for e in epochs[trial.id]]
            assert seen == [(n, value(trial.number, n)) for n in range(1, EPOCHS + 1)], trial
        self._check_ledger(trials)

    def _check_ledger(self, trials: dict[str, Any]) -> None:
        engine = open_engine(self.url, write=False)
        with engine.connect() as connection:
            keys = connection.execute(select(Epoch.trial_id, Epoch.attempt, Epoch.epoch))
            recorded = {tuple(row) for row in keys}
        engine.dispose()
        for line in self.ledger.read_text().splitlines():
            kind, trial, attempt, *rest = json.loads(line)
            if kind == "epoch":
                assert (trial, attempt, rest[0]) in recorded, (
                    f"an acknowledged epoch is lost: {line}"
                )
            else:
                there = trials[trial]
                assert [there.state, there.score] == rest, f"an acknowledged end is lost: {line}"


def rage(arena: Arena, targets: list[str]) -> None:
    """Kill so many processes of a sweep, let it finish, and check it."""
    for target in targets:
        if not arena.kill(target):
            break
    arena.finish()
    arena.check()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.kills} kills, {options.database}", flush=True)
    choose, started = random.Random(options.seed), time.monotonic()
    total: Counter[str] = Counter()
    with nullcontext(None) if options.database == "sqlite" else running() as server:
        for sweeps in itertools.count(1):
            most = min(KILLS_OF_ONE, options.kills - total.total())
            total += _one_sweep(server, choose, most)
            print(f"{sweeps} sweeps, {total.total()} kills: {dict(total)}", flush=True)
            if total.total() >= options.kills:
                break
    minutes = (time.monotonic() - started) / 60
    print(f"nothing was lost or doubled, no process was left; {minutes:.1f} minutes")


def _one_sweep(server: Server | None, choose: random.Random, kills: int) -> Counter[str]:
    folder = Path(tempfile.mkdtemp(prefix="orch-torture-"))
    with server.database() if server else nullcontext("") as name:
        url = server.url(name) if server else f"sqlite:///{folder}/orch.db"
        arena = Arena(folder, url, 40, choose.randrange(2**31), server=server)
        weights = OFTEN | ({"server": 10} if server else {})
        rage(arena, choose.choices(list(weights), list(weights.values()), k=kills))
    shutil.rmtree(folder)
    return arena.killed


if __name__ == "__main__":
    main()
