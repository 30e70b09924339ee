"""Many services on one database, killed and frozen at random: each instant is decided once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from fake_services import START, FastClock
from postgresql_server import Server

from orch.home import Home
from orch.service.due import cron, read, written
from orch_db.records import FireRecord, ScheduleRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MINUTES = 250
SPEED = 800.0
LEASE = 0.8  # seconds
END = START + timedelta(minutes=MINUTES)
CATCH_UPS = ("all", "all", "all", "all", "latest", "none")
SCRIPT = Path(__file__).parent / "fake_services.py"


def schedule(number: int, catch_up: str) -> ScheduleRecord:
    """Due every minute, but for a clock that is put forward meanwhile."""
    return ScheduleRecord(
        id=f"h{number}",
        name=f"minutely-{number}",
        cron="* * * * *" if number % 2 else "0-59 0-23 * * *",
        timezone="Europe/Berlin",
        words={"dataset": "digits"},
        decided_until=written(START),
        created_at=written(START),
        until=written(END),
        overlap="queue",
        catch_up=catch_up,
    )


SCHEDULES = [schedule(number, catch_up) for number, catch_up in enumerate(CATCH_UPS)]


@dataclass
class Crowd:
    """Services on one database, and what was done to them."""

    url: str
    folder: Path
    clock: FastClock
    running: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    done: Counter[str] = field(default_factory=Counter[str])

    def start(self) -> None:
        words = [self.url, self.folder / "home", self.clock.began, SPEED, LEASE]
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, SCRIPT, *map(str, words)], stdout=said, stderr=said
            )
        self.running.append(process)

    def kill(self, victim: subprocess.Popen[bytes]) -> None:
        victim.kill()
        victim.wait()
        self.running.remove(victim)
        self.done["killed"] += 1
        self.start()

    def freeze(self, victim: subprocess.Popen[bytes]) -> None:
        """Longer than it may be silent and lead."""
        victim.send_signal(signal.SIGSTOP)
        time.sleep(LEASE * 1.5)
        victim.send_signal(signal.SIGCONT)
        self.done["frozen"] += 1

    def leader(self, queries: ServiceQueries) -> subprocess.Popen[bytes] | None:
        found = queries.leader()
        process = int(found.holder.split(":")[0]) if found else 0
        return next((each for each in self.running if each.pid == process), None)

    def finish(self) -> None:
        for each in self.running:
            assert each.wait(100) == 0, self.said()

    def said(self) -> str:
        return (self.folder / "said").read_text()[-2000:]


def rage(crowd: Crowd, queries: ServiceQueries, choose: random.Random) -> None:
    """Kill and freeze services, most often the one that leads, while instants come."""
    while crowd.clock() < END - timedelta(minutes=10):
        time.sleep(choose.uniform(0.1, 0.7))
        victim = crowd.leader(queries) if choose.random() < 0.8 else choose.choice(crowd.running)
        if victim is None or victim.poll() is not None:
            continue
        if choose.random() < 0.5:
            crowd.kill(victim)
        else:
            crowd.freeze(victim)


def check(queries: ServiceQueries) -> int:
    """Each instant was fired or skipped, once, and each fire has a sweep and a job of its own."""
    fired: list[FireRecord] = []
    for each in SCHEDULES:
        rows = queries.fires(each.id, 10_000)[::-1]
        due = [written(instant) for instant in cron(each).between(START, END)]
        covered = 0
        for row in rows:
            covered += row.instants
            assert due[covered - 1] == row.due_at, (row, rows)
            assert row.instants == 1 or row.state == "skipped"
            assert row.reason or row.state == "fired"
        assert covered == len(due)
        assert (each.catch_up, {row.state for row in rows}) != ("all", {"fired", "skipped"})
        fired += [row for row in rows if row.state == "fired"]
        found = queries.schedule(each.id)
        assert found is not None
        assert (found.state, read(found.decided_until)) == ("ended", read(due[-1]))
    made = sorted(str(row.sweep_id) for row in fired)
    assert made == sorted({row.sweep_id for row in fired if row.sweep_id})
    assert made == sorted(each.id for each in queries.sweeps())
    assert made == sorted(each.sweep_id for each in queries.jobs("queued"))
    return len(fired)


def trial(url: str, folder: Path, services: int, seed: int) -> None:
    Home(folder / "home").create()
    with closing(ServiceStore.open(url)) as store:
        for each in SCHEDULES:
            store.add_schedule(each)
    crowd = Crowd(url, folder, FastClock(time.time() + 3, SPEED))
    with closing(ServiceQueries.open(url)) as queries:
        try:
            for _ in range(services):
                crowd.start()
            rage(crowd, queries, random.Random(seed))
            crowd.finish()
        finally:
            for each in crowd.running:
                each.kill()
        fires = check(queries)
        leader = queries.leader()
    assert fires >= 1000
    assert min(crowd.done["killed"], crowd.done["frozen"]) >= 1
    assert leader is not None
    assert leader.epoch > 1  # others did take over
    print(f"seed {seed}: {fires} fires, {dict(crowd.done)}, epoch {leader.epoch}")


@pytest.mark.parametrize("services", [2, 4])
def test_services_that_share_an_sqlite_file_decide_each_instant_once(
    services: int, tmp_path: Path
) -> None:
    trial(f"sqlite:///{tmp_path}/orch.db", tmp_path, services, seed=services)


def test_services_that_share_a_postgresql_database_decide_each_instant_once(
    tmp_path: Path, postgresql_server: Server
) -> None:
    with postgresql_server.database() as name:
        trial(postgresql_server.url(name), tmp_path, services=3, seed=3)
