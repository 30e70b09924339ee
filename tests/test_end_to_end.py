"""The real thing: the installed script, Ray, SQLite, Keras, and a stranger's plugin."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest
from own_files import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STRATEGY = '''
"""A stranger's strategy: fine-tune, which raises, waits or dies when it is told to."""

import os
import time

from orch.contracts import Choice, Parameter, StrategyFacts
from orch.space import Fixed
from orch_plugins.fine_tune import FineTune


class Moody(FineTune):
    facts = StrategyFacts("moody", "does what it is told, sometimes")

    def parameters(self, problem):
        moods = Choice(("calm", "raises", "dies", "slow", "nan", "hangs"))
        mood = Parameter("mood", Fixed("calm"), "calm", moods, "what to do")
        return (*super().parameters(problem), mood)

    def plan(self, params, problem):
        worker = "ray" in __import__("sys").argv[0] or "default_worker" in __import__("sys").argv[0]
        if worker and params["mood"] == "raises":
            raise RuntimeError("in a bad mood")
        if worker and params["mood"] == "dies":
            os.kill(os.getpid(), 9)
        if worker and params["mood"] == "hangs":
            time.sleep(3600)
        if worker and params["mood"] == "slow":
            time.sleep(3)
        if params["mood"] == "nan":
            params = {**params, "optimizer": "sgd", "learning_rate": 1e30, "frozen_layers": 0}
        return super().plan(params, problem)
'''


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution that brings the strategy `moody`."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "moody.py").write_text(STRATEGY)
    about = folder / "moody-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: moody\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[orch.strategies]\nmoody = moody:Moody\n")
    return folder


@pytest.fixture
def command(orch_script: str, stranger: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run the installed script in a folder of its own, with the stranger's plugin there."""
    environment = {**os.environ, "PYTHONPATH": str(stranger), "ORCH_HOME": str(tmp_path / "home")}

    def start(*words: str, **options: Any) -> Any:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen(
            [orch_script, *words], env=environment, cwd=tmp_path, start_new_session=True, **options
        )

    return start


def finish(process: Any, seconds: float = 300) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def wait_for_epoch(home: Path, process: Any, seconds: float = 120) -> None:
    """Return when the first epoch is in the database."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if (home / "orch.db").exists():
            with sqlite3.connect(home / "orch.db") as rows:
                tables = rows.execute("SELECT count(*) FROM sqlite_master WHERE name='epochs'")
                there = tables.fetchone()[0]
                if there and rows.execute("SELECT count(*) FROM epochs").fetchone()[0]:
                    return
        time.sleep(0.1)
    raise AssertionError(f"no epoch was reported; exit code {process.poll()}")


def left_behind(session: int) -> list[str]:
    """Processes of a session that are still there."""
    found = []
    for each in psutil.process_iter(["pid", "name"]):
        try:
            if os.getsid(each.pid) == session:
                found.append(f"{each.pid} {each.info['name']}")
        except ProcessLookupError:
            continue
    return found


def rows(home: Path, query: str) -> list[Any]:
    with sqlite3.connect(home / "orch.db") as database:
        return database.execute(query).fetchall()


def test_a_sweep_on_digits_is_one_json_document(command, tmp_path: Path) -> None:
    process = command(
        "sweep",
        "digits",
        "--trials",
        "3",
        "-S",
        "frozen_layers=choice(15,22)",
        "-S",
        "epochs=2",
        "--json",
    )
    code, out, err = finish(process)
    assert code == 0, err
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert document["state"] == "completed"
    assert [trial["state"] for trial in document["trials"]] == ["completed"] * 3
    assert document["best"]["score"] >= 0.9
    assert document["trials"][0]["params"]["frozen_layers"] == 22
    assert {trial["frozen"] for trial in document["trials"]} <= {15, 22}
    assert "[3/3]" in err
    assert "\x1b" not in err
    assert "ray" not in err.lower().replace("starting ray", "")
    assert not left_behind(process.pid)

    home = tmp_path / "home"
    assert rows(home, "SELECT count(*) FROM epochs") == [(6,)]
    spec, versions = rows(home, "SELECT spec, versions FROM sweeps")[0]
    assert json.loads(spec)["space"]["learning_rate"].startswith("log(")
    assert json.loads(versions)["strategy"].startswith("orch-sweeps ")

    code, out, _ = finish(command("leaderboard", "digits", "--json"))
    assert code == 0
    board = json.loads(out)["rows"]
    assert [row["rank"] for row in board] == [1, 2, 3]
    assert board[0]["id"] == document["best"]["id"]
    code, out, _ = finish(command("trials", "show", board[0]["id"][:5]))
    assert code == 0
    assert "computed once up to" in out
    assert "val_loss" in out


def test_trials_that_fail_are_rows_and_the_sweep_goes_on(command, tmp_path: Path) -> None:
    process = command(
        "sweep", "digits", "--strategy", "moody", "--sampler", "grid", "--strict",
        "-S", "mood=choice(calm,raises,dies,nan,hangs)", "-S", "frozen_layers=26",
        "-S", "learning_rate=0.001", "-S", "epochs=1", "--limit", "200", "--hang-timeout", "25s",
    )  # fmt: skip
    code, out, err = finish(process)
    assert code == 9, err
    assert "4 trials of sweep" in err
    home = tmp_path / "home"
    found = rows(home, "SELECT state, failure_kind, failure_message, traceback FROM trials")
    kinds = {kind: (state, message, trace) for state, kind, message, trace in found}
    assert kinds[None][0] == "completed"
    assert kinds["plugin"][1] == "the strategy 'moody' raised RuntimeError: in a bad mood"
    assert "in a bad mood" in kinds["plugin"][2]
    assert kinds["worker lost"][0] == kinds["not finite"][0] == "failed"
    assert "in a bad mood" in err
    assert "1 of 5 trials" in out
    state, message, _ = kinds["hung"]
    assert (state, message.partition(";")[0]) == ("failed", "it made no progress and was ended")
    stacks = Path(message.rpartition("see ")[2])
    assert "moody.py" in stacks.read_text(), "the stacks name the line that hangs"
    tries = dict(rows(home, "SELECT failure_kind, count(*) FROM attempts GROUP BY 1"))
    assert tries == {None: 1, "plugin": 1, "not finite": 1, "hung": 2, "worker lost": 4}
    assert "is tried again (attempt 4)  worker lost" in err
    assert "raylet" not in err + out
    assert "tune.py" not in err + out
    assert not left_behind(process.pid)


def test_no_trial_completes(command) -> None:
    code, _, err = finish(
        command("sweep", "digits", "--strategy", "moody", "--trials", "2", "-S", "mood=raises")
    )
    assert code == 8, err
    assert "ended without a completed trial" in err
    assert "orch sweeps show" in err


def test_one_interrupt_drains_and_the_rest_is_resumed(command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = command("sweep", "digits", "--trials", "5", "-S", "epochs=2", "-S", "mood=slow",
                      "--strategy", "moody", "-S", "frozen_layers=choice(22,26)",
                      "--keep", "4")  # fmt: skip
    wait_for_epoch(home, process)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert "finishing the running trials" in err
    sweep = rows(home, "SELECT id FROM sweeps")[0][0]
    assert f"orch sweeps resume {sweep[:6]}" in err
    assert not left_behind(process.pid)
    states = dict(rows(home, "SELECT state, count(*) FROM trials GROUP BY state"))
    assert states["completed"] >= 1
    assert "running" not in states
    before = rows(home, "SELECT id, score, finished_at FROM trials WHERE state='completed'")

    code, _, err = finish(command("sweeps", "resume", sweep[:6]))
    assert code == 0, err
    assert rows(home, "SELECT count(*), min(number), max(number) FROM trials") == [(5, 0, 4)]
    after = rows(home, "SELECT id, score, finished_at FROM trials")
    assert set(before) <= set(after)
    assert rows(home, "SELECT state FROM sweeps") == [("completed",)]
    best = "SELECT id FROM trials ORDER BY score DESC, number LIMIT 4"
    kept = {path.stem for path in (home / "checkpoints").glob("*.npz")}
    assert kept == {row[0] for row in rows(home, best)}, "--keep outlives a resume"
    code, _, err = finish(command("sweeps", "resume", sweep[:6]))
    assert code == 2
    assert "has completed" in err


def test_sigterm_is_one_interrupt(command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = command("sweep", "digits", "--trials", "40", "-S", "epochs=2",
                      "-S", "frozen_layers=26", "--pruner", "none")  # fmt: skip
    wait_for_epoch(home, process)
    process.terminate()
    code, _, err = finish(process)
    assert code == 143, err
    assert "orch sweeps resume" in err
    assert not left_behind(process.pid)
    assert rows(home, "SELECT state FROM sweeps") == [("stopped",)]
    assert "running" not in dict(rows(home, "SELECT state, 1 FROM trials"))


def test_a_paused_trial_goes_on_after_its_epoch(command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = command("sweep", "digits", "--trials", "2", "-S", "epochs=25",
                      "-S", "frozen_layers=22", "--pruner", "none")  # fmt: skip
    wait_for_epoch(home, process)
    sweep = rows(home, "SELECT id FROM sweeps")[0][0]
    assert finish(command("sweeps", "pause", sweep))[0] == 0
    code, _, err = finish(process)
    assert (code, "was paused" in err) == (130, True), err
    before = dict(rows(home, "SELECT trial_id, max(epoch) FROM epochs GROUP BY trial_id"))
    saved = {path.stem for path in (home / "checkpoints" / "running").glob("*.npz")}
    assert set(before) == saved
    code, _, err = finish(command("sweeps", "resume", sweep))
    assert code == 0, err
    first = "SELECT trial_id, min(epoch) FROM epochs WHERE attempt > 1 GROUP BY trial_id"
    after = dict(rows(home, first))
    assert {trial: after[trial] for trial in before} == {
        trial: epoch + 1 for trial, epoch in before.items()
    }


def test_time_that_is_up_keeps_what_there_is(command, tmp_path: Path) -> None:
    started = time.monotonic()
    code, out, err = finish(
        command("sweep", "digits", "--trials", "50", "--time", "30s", "-S", "epochs=100000",
                "-S", "frozen_layers=26", "--pruner", "none", "--json")
    )  # fmt: skip
    assert code == 8, err
    assert "its time was up" in err
    assert time.monotonic() - started < 75
    home = tmp_path / "home"
    assert rows(home, "SELECT state FROM sweeps") == [("stopped",)]
    states = dict(rows(home, "SELECT state, count(*) FROM trials GROUP BY state"))
    assert 1 <= states["pruned"] <= 2
    assert set(states) <= {"pruned", "queued"}
    assert all(trial["score"] for trial in json.loads(out)["trials"] if trial["state"] == "pruned")


def test_two_interrupts_stop_now(command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = command("sweep", "digits", "--trials", "4", "-S", "epochs=1000",
                      "-S", "frozen_layers=22", "--pruner", "none")  # fmt: skip
    wait_for_epoch(home, process)
    running = rows(home, "SELECT id FROM sweeps")[0][0]
    refused, _, said = finish(command("sweeps", "resume", running))
    assert refused == 2, said
    assert "is being run by another process" in said
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    code, _, err = finish(process)
    assert code == 130, err
    assert time.monotonic() - started < 30
    assert "orch sweeps resume" in err
    assert not left_behind(process.pid)
    assert set(rows(home, "SELECT state FROM trials")) == {("queued",)}
    assert rows(home, "SELECT count(*) > 0 FROM epochs") == [(1,)]


def on_terminal(command: Callable[..., Any], *words: str) -> str:
    """What a command that succeeds writes to a terminal, escapes included."""
    main, side = pty.openpty()
    process = command(*words, stderr=side, stdout=side)
    os.close(side)
    shown = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(main)
    assert process.wait(30) == 0
    return shown.decode()


def test_a_terminal_is_shown_a_live_table_and_bars_that_go(command, tmp_path: Path) -> None:
    text = on_terminal(
        command, "sweep", "digits", "--trials", "1", "-S", "epochs=2", "-S", "frozen_layers=26"
    )
    assert "1/1 trial " in text
    assert "epoch" in text
    assert "best val_accuracy" in text
    assert "orch trials show" in text
    (trial,) = rows(tmp_path / "home", "SELECT id FROM trials")[0]
    text = on_terminal(command, "evaluate", trial)
    assert "predicting validation" in text
    between = text[text.rindex("predicting validation") : text.index("true \\ predicted")]
    assert "\x1b[2K" in between, "the bar stays on the line where the table begins"


@pytest.fixture
def cluster(stranger: Path) -> Generator[str]:
    """A Ray cluster that someone else started; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["start", "--head", "--block", f"--port={port}"]
    words += ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), *words],
        env={**os.environ, "PYTHONPATH": str(stranger)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
        time.sleep(0.2)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(60)


def test_a_running_cluster_is_joined_and_left_running(command, cluster: str) -> None:
    process = command("sweep", "digits", "--trials", "1", "-S", "epochs=1", "--limit", "200",
                      "-S", "frozen_layers=26", "--ray-address", cluster, "--json")  # fmt: skip
    code, out, err = finish(process)
    assert code == 0, err
    assert json.loads(out)["trials"][0]["state"] == "completed"
    host, port = cluster.split(":")
    with socket.create_connection((host, int(port)), 5) as still_there:
        assert still_there.getpeername()[1] == int(port)


@pytest.mark.real_data
def test_cifar10_with_vgg16_from_local_files(command, real_data: Path) -> None:
    archive, weights = real_data / "cifar10-images.tar.xz", real_data / "vgg16_notop.weights.h5"
    assert finish(command("datasets", "add", "cifar10", "--from", str(archive)))[0] == 0
    assert finish(command("backbones", "add", "vgg16", "--from", str(weights)))[0] == 0
    code, out, err = finish(
        command(
            "sweep", "cifar10", "--trials", "2", "--limit", "800", "-S", "epochs=2",
            "-S", "frozen_layers=choice(15,19)", "--json",
        )
    )  # fmt: skip
    assert code == 0, err
    document = json.loads(out)
    assert [trial["state"] for trial in document["trials"]] == ["completed"] * 2
    assert document["best"]["score"] >= 0.35, "a guess is right one time in ten"
    assert document["limit"] == 800


def test_a_folder_of_ones_own_is_swept_ranked_and_predicted(command, tmp_path: Path) -> None:
    shades = {"dark": 0, "light": 4}
    for name, first in shades.items():
        for at in range(20):
            picture(tmp_path / "photos" / name / f"{at}.png", 40 * first + 3 * at, (32, 32))
    assert finish(command("datasets", "add", "./photos", "--name", "shades"))[0] == 0
    words = ("--trials", "1", "--backbone", "vgg-mini", "-S", "epochs=3", "-S", "batch_size=8")
    code, out, err = finish(command("sweep", "shades", *words, "--json"))
    assert code == 0, err
    (trial,) = json.loads(out)["trials"]
    assert trial["score"] == 1.0
    code, out, err = finish(command("datasets", "rename", "shades", "greys"))
    assert code == 0, err
    board = json.loads(finish(command("leaderboard", "greys", "--json"))[1])
    assert [row["id"] for row in board["rows"]] == [trial["id"]]
    unseen = picture(tmp_path / "unseen.webp", 200, (32, 32))
    code, out, err = finish(command("predict", trial["id"][:6], str(unseen), "--json"))
    assert code == 0, err
    assert json.loads(out)["predictions"][0]["top"] == "light"


def test_the_script_is_that_of_this_environment(orch_script: str) -> None:
    done = subprocess.run([orch_script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("orch ")
    assert Path(orch_script).parent == Path(sys.executable).parent
