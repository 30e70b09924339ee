"""How fast the service answers: the leaderboard of a database with a hundred thousand trials.

    python benchmarks/service.py --trials 100000 --connections 4 8 --seconds 10

`orch serve` runs as a process of its own, as users start it; the client is another process of
the standard library, whose connections stay open. Both share this machine's cores.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import insert
from workload import machine, table

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from postgresql_server import running

from orch_db.connect import open_engine
from orch_db.store import Store
from orch_db.tables import Sweep, Trial

DATASETS = ("cats-vs-dogs", "cifar10", "digits", "pokemon", "ravdess")
BOARDS = 2  # of each dataset
SWEEPS = 5  # of each board
PATH = "/api/v1/leaderboard?dataset=cats-vs-dogs&top=10"
TOKEN = "a-token-of-this-benchmark-alone"
KINDS = {"a second old at most": (), "each made anew": ("--fresh",)}
WARM_SECONDS = 1.0  # whose requests are not measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--connections", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ask", metavar="PORT", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        asked = _ask(options.ask, *options.connections, options.seconds, options.fresh)
        print(json.dumps(asked))
        return
    rows = [["database", "answers", "connections", "requests/s", "p50, ms", "p99, ms"]]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows += _measured("SQLite", f"sqlite:///{folder}/orch.db", Path(folder), options)
        with running() as server, server.database() as database:
            rows += _measured("PostgreSQL", server.url(database), Path(folder), options)
    print(f"\n{options.trials:,} trials\n{machine()}\n\n{table(rows)}\n", flush=True)


def _measured(
    name: str, url: str, folder: Path, options: argparse.Namespace
) -> Generator[list[str]]:
    _fill(url, options.trials)
    with _serving(url, folder / name) as port:
        for kind, connections in itertools.product(KINDS, options.connections):
            words = ["--ask", port, "--seconds", options.seconds, "--connections", connections]
            command = [sys.executable, __file__, *(str(word) for word in words), *KINDS[kind]]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            figures = [f"{found['rate']:.0f}", f"{found['p50']:.1f}", f"{found['p99']:.1f}"]
            yield [name, kind, str(connections), *figures]


# ── the database ────────────────────────────────────────────────────────────────────────────


def _fill(url: str, trials: int) -> None:
    """Sweeps of several boards and their trials, most of them completed."""
    Store.open(url).close()
    chance = random.Random(0)
    engine = open_engine(url, write=True)
    count = len(DATASETS) * BOARDS * SWEEPS
    with engine.begin() as connection:
        for number in range(count):
            sweep = _sweep(number, trials // count)
            connection.execute(insert(Sweep), [sweep])
            rows = [_trial(sweep, each, chance) for each in range(trials // count)]
            connection.execute(insert(Trial), rows)
    engine.dispose()


def _sweep(number: int, trials: int) -> dict[str, Any]:
    board = number // SWEEPS
    dataset = DATASETS[board // BOARDS]
    instant = f"2026-01-{1 + number % 28:02d}T00:00:00.000+00:00"
    return {
        "id": f"{number:012x}",
        "name": f"{dataset}-fine-tune",
        "state": "completed",
        "dataset": dataset,
        "strategy": "fine-tune",
        "backbone": "vgg16",
        "metric": "val_accuracy",
        "direction": "maximize",
        "board": f"board-{board}",
        "spec": {"limit": None, "trials": trials, "space": {"learning_rate": "log(1e-5,1e-2)"}},
        "versions": {"orch": "0.2", "keras": "3.15.1", "tensorflow": "2.21.0"},
        "git_commit": "0" * 40,
        "created_at": instant,
        "finished_at": instant,
    }


def _trial(sweep: dict[str, Any], number: int, chance: random.Random) -> dict[str, Any]:
    score = round(chance.random(), 6)
    state = chance.choices(("completed", "pruned", "failed"), (80, 15, 5))[0]
    stage = {"epochs": 5, "frozen_layers": 15, "optimizer": "adam", "learning_rate": 1e-4}
    return {
        "id": f"{sweep['id'][-4:]}{number:08x}",
        "sweep_id": sweep["id"],
        "number": number,
        "board": sweep["board"],
        "state": state,
        "attempt": 1,
        "seed": number,
        "params": {"learning_rate": 10 ** chance.uniform(-5, -2), "frozen_layers": 15, "units": 64},
        "plan": {"stages": [stage, stage], "batch_size": 32},
        "score": None if state == "failed" else score,
        "best_epoch": 4,
        "metrics": {"loss": 0.4, "val_loss": 0.5, "accuracy": 0.8, "val_accuracy": score},
        "created_at": sweep["created_at"],
        "started_at": sweep["created_at"],
        "finished_at": sweep["finished_at"],
        "seconds": 12.5,
    }


# ── the service ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def _serving(url: str, home: Path) -> Generator[int]:
    """`orch serve` on a free port, as users start it; yields the port."""
    own = {"ORCH_HOME": str(home), "ORCH_DATABASE_URL": url, "ORCH_TOKEN": TOKEN}
    process = subprocess.Popen(
        [sys.executable, "-c", "from orch.cli import main; main()", "serve", "--port", "0"],
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield _port(process)
        memory = psutil.Process(process.pid).memory_info().rss / 2**20
        print(f"{home.name}: orch serve takes {memory:.0f} MiB", flush=True)
    finally:
        process.terminate()
        process.wait(30)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        found = re.search(r"http://[^ ]+:(\d+),", line)
        if found:
            return int(found[1])
    raise SystemExit(f"orch serve did not start:\n{said}")


# ── its clients ─────────────────────────────────────────────────────────────────────────────


def _ask(port: int, connections: int, seconds: float, fresh: bool) -> dict[str, float]:
    """Requests per second and the milliseconds of each, by several connections at once."""
    _connection(port, time.monotonic() + WARM_SECONDS, [], fresh)
    deadline = time.monotonic() + seconds
    taken: list[list[float]] = [[] for _ in range(connections)]
    started = time.monotonic()
    threads = [
        threading.Thread(target=_connection, args=(port, deadline, each, fresh)) for each in taken
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.monotonic() - started
    found = sorted(each * 1000 for one in taken for each in one)
    hundredths = statistics.quantiles(found, n=100)
    return {"rate": len(found) / lasted, "p50": statistics.median(found), "p99": hundredths[98]}


def _connection(port: int, until: float, taken: list[float], fresh: bool) -> None:
    """Ask again and again over one connection, until an instant."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {TOKEN}"} | (
        {"Cache-Control": "no-cache"} if fresh else {}
    )
    while time.monotonic() < until:
        started = time.monotonic()
        connection.request("GET", PATH, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        taken.append(time.monotonic() - started)
        if answer.status != 200 or content.count(b'"rank"') != 10 * BOARDS:
            raise SystemExit(f"answered {answer.status}: {content[:500]!r}")
    connection.close()


if __name__ == "__main__":
    main()
