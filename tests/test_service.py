"""`orch serve` as a user runs it: real processes, a real clock, sweeps that train."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SMALL = ("--trials", "1", "--limit", "100", "-S", "epochs=1", "-S", "frozen_layers=26")
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


@dataclass
class Receiver:
    """A webhook's other side: keeps what it is sent."""

    port: int
    got: list[tuple[dict[str, str], bytes]] = field(
        default_factory=list[tuple[dict[str, str], bytes]]
    )

    def of(self, event: str) -> list[dict[str, Any]]:
        """The data of each notice of an event."""
        found = [json.loads(body) for _, body in self.got]
        return [each["data"] for each in found if each["type"] == event]


@pytest.fixture
def receiver() -> Generator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.got.append(({name.lower(): text for name, text in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = Receiver(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kept
        server.shutdown()


class Serving:
    """A service in a folder of its own, and commands beside it."""

    def __init__(self, script: str, folder: Path, **environment: str) -> None:
        self.script, self.home = script, folder / "home"
        self.environment = {**os.environ, "ORCH_HOME": str(self.home), **environment}
        self.said = folder / "said"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.said.open("ab") as said:
            process = subprocess.Popen(
                [self.script, "serve", "--port", "0"],
                env=self.environment,
                stderr=said,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
            )
        count = self.said.read_text().count("orch serve on") + 1
        wait_for(lambda: self.said.read_text().count("orch serve on") == count, 60)
        return process

    @property
    def url(self) -> str:
        lines = self.said.read_text().splitlines()
        return [line for line in lines if "serve on" in line][-1].split()[3].rstrip(",")

    def orch(self, *words: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [self.script, *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout


def _hear_interrupts() -> None:
    """A test run in the background ignores them, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(there: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


@pytest.fixture
def serving(orch_script: str, tmp_path: Path, receiver: Receiver) -> Generator[Serving]:
    hook = f"http://127.0.0.1:{receiver.port}/hook"
    made = Serving(orch_script, tmp_path, ORCH_WEBHOOK_URL=hook, ORCH_WEBHOOK_SECRET=SECRET)
    yield made
    made.process.send_signal(signal.SIGINT)
    assert made.process.wait(30) == 130
    stopped = "stopped; sweeps that run go on, and the next service finds them"
    assert stopped in made.said.read_text()


def verified(headers: dict[str, str], body: bytes) -> bool:
    """As a receiver checks a webhook: https://www.standardwebhooks.com."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{expected}"


def test_what_is_queued_runs_and_what_is_due_fires(serving: Serving, receiver: Receiver) -> None:
    sweep = serving.orch("sweep", "digits", *SMALL, "--detach").strip()
    serving.orch("schedules", "add", "minutely", "* * * * *", "digits", *SMALL)
    serving.orch("sweeps", "wait", sweep)
    assert f"sweep {sweep[:6]} is saved" in serving.orch("sweeps", "logs", sweep)
    shown = json.loads(serving.orch("sweeps", "show", sweep, "--json"))
    assert (shown["state"], len(shown["trials"])) == ("completed", 1)
    remote = {"ORCH_URL": serving.url, "ORCH_HOME": str(serving.home / "elsewhere")}
    remote["ORCH_TOKEN"] = (serving.home / "token").read_text().strip()
    assert serving.orch("leaderboard", **remote) == serving.orch("leaderboard")
    assert serving.orch("sweeps", "show", sweep, **remote) == serving.orch("sweeps", "show", sweep)
    trial = shown["best"]["id"]
    shown_here = serving.orch("trials", "show", trial)
    assert serving.orch("trials", "show", trial, **remote) == shown_here
    wait_for(lambda: "fired" in serving.orch("schedules", "history", "minutely"), 70)
    serving.orch("schedules", "pause", "minutely")
    (fire,) = json.loads(serving.orch("schedules", "history", "minutely", "--json"))["fires"][-1:]
    assert fire["late_seconds"] < 2.0
    assert datetime.fromisoformat(fire["due_at"]).astimezone(UTC).second == 0
    serving.orch("sweeps", "wait", fire["sweep"])
    wait_for(lambda: len(receiver.of("sweep.finished")) == 2, 20)
    assert {each["sweep"] for each in receiver.of("sweep.finished")} == {sweep, fire["sweep"]}
    assert all(verified(*each) for each in receiver.got)


def child_of(serving: Serving, sweep: str) -> psutil.Process:
    """The process that runs a sweep of the queue."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = [
            each
            for each in psutil.process_iter(["cmdline"])
            if each.info["cmdline"] and each.info["cmdline"][-1:] == [sweep]
        ]
        return bool(found)

    wait_for(there, 60)
    return found[0]


def test_sweeps_outlive_the_service_and_are_run_again_when_killed(serving: Serving) -> None:
    long = ("--trials", "1", "-S", "epochs=15", "-S", "frozen_layers=22", "--detach")
    sweep = serving.orch("sweep", "digits", *long).strip()
    waiting = serving.orch("sweep", "digits", *SMALL, "--detach", "--priority", "5").strip()
    child = child_of(serving, sweep)
    serving.process.kill()
    serving.process.wait()
    serving.process = serving.start()
    assert child.is_running(), "it goes on without the service"
    queue = json.loads(serving.orch("queue", "--json"))["queue"]
    assert [(each["sweep"], each["state"]) for each in queue] == [
        (sweep, "running"),
        (waiting, "queued"),
    ]
    serving.orch("sweeps", "cancel", waiting)
    child.kill()
    serving.orch("sweeps", "wait", waiting, code=130)
    serving.orch("sweeps", "wait", sweep)
    document = json.loads(serving.orch("sweeps", "show", sweep, "--json"))
    assert document["state"] == "completed"
    assert not list((serving.home / "checkpoints" / "running").glob("*"))
