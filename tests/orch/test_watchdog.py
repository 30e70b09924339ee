"""A process that hangs ends and says where it was; one that works is left alone."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from digit_trials import run, spec

from orch.home import Home
from orch.training import examples, fit, watchdog
from orch.training.watchdog import TrialTimeoutError, Watchdog
from orch.training.workbench import Workbench

pytestmark = pytest.mark.slow

PROGRAM = """
import ctypes, re, signal, sys, threading, time
from pathlib import Path
from orch.training.watchdog import Watchdog

def sleeping():
    time.sleep(60)

def spinning():
    while True:
        pass

def matching():
    re.match("(a|a)*b", "a" * 60)

def holding_the_lock_of_the_interpreter():
    ctypes.PyDLL(None).sleep(60)

def ignoring_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)

def waiting_for_itself():
    lock = threading.Lock()
    with lock:
        lock.acquire()

def beating_in_vain():
    while True:
        time.sleep(0.01)
        try:
            watched.beat()
        except Exception:
            time.sleep(60)

watched = Watchdog()
watched.begin(Path(sys.argv[1]), *(float(word) if word else None for word in sys.argv[3:]))
globals()[sys.argv[2]]()
"""
HANG = 0.5


def ended(stacks: Path, function: str, *limits: str) -> tuple[int, float, str]:
    """Run a function in a process of its own: its status, its seconds, its stacks."""
    started = time.monotonic()
    words = [sys.executable, "-c", PROGRAM, str(stacks), function, *limits]
    done = subprocess.run(words, timeout=60)
    return done.returncode, time.monotonic() - started, stacks.read_text()


@pytest.mark.parametrize(
    "function",
    [
        "sleeping",
        "spinning",
        "matching",
        "holding_the_lock_of_the_interpreter",
        "ignoring_sigterm",
        "waiting_for_itself",
    ],
)
def test_a_process_that_hangs_ends_and_says_where(tmp_path: Path, function: str) -> None:
    status, seconds, text = ended(tmp_path / "stacks" / "t-1.txt", function, str(HANG), "")
    assert status == 1
    assert HANG <= seconds < HANG + watchdog.RESOLUTION + 5, "starting Python included"
    assert f"in {function}" in text


def test_one_that_does_not_fail_in_time_ends_too(tmp_path: Path) -> None:
    status, seconds, text = ended(tmp_path / "t-1.txt", "beating_in_vain", "", "0.2")
    assert status == 1
    assert watchdog.GRACE <= seconds < watchdog.GRACE + 6
    assert "in beating_in_vain" in text


def test_the_stacks_go_to_stderr_where_the_disk_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "stacks").touch()  # where the folder should be
    words = [str(tmp_path / "stacks" / "t.txt"), "sleeping", str(HANG), ""]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "t.txt cannot be written" in done.stderr
    assert "in sleeping" in done.stderr


def test_beats_keep_a_process_alive(tmp_path: Path) -> None:
    """And waiting to be asked for the next step is no hanging."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from orch.training.watchdog import Watchdog\n"
        "def steps():\n"
        "    for _ in range(40):\n"
        "        time.sleep(0.1); watched.beat()\n"
        "    yield 1\n"
        "    time.sleep(0.1)\n"
        "    yield 2\n"
        "watched = Watchdog()\n"
        "watched.begin(Path(sys.argv[1]), 0.3, None)\n"
        "for step in watched.watched(steps()):\n"
        "    time.sleep(2.0)\n"
        "watched.end()\n"
        "time.sleep(2.0)\n"
        "print(step)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "t.txt")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert not list(tmp_path.iterdir()), "no stacks, no file"


def test_without_limits_there_is_nothing_to_watch(tmp_path: Path) -> None:
    watched = Watchdog()
    watched.begin(tmp_path / "t.txt", None, None)
    watched.beat()
    watched.pause()
    watched.beat()
    watched.end()
    assert not list(tmp_path.iterdir())


def test_a_beat_costs_less_than_a_microsecond(tmp_path: Path) -> None:
    watched, best = Watchdog(), math.inf
    watched.begin(tmp_path / "t.txt", 60.0, 60.0)
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(1000):
            watched.beat()
        best = min(best, time.perf_counter() - started)
    watched.end()
    assert best / 1000 < 1e-6


# ── a trial ─────────────────────────────────────────────────────────────────────────────────


def stacks_of(home: Home) -> list[Path]:
    return list(home.stacks.iterdir()) if home.stacks.exists() else []


def slowed(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, seconds: float) -> None:
    """Let a function take so many seconds more."""
    original = getattr(owner, name)

    def slow(*words: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return original(*words, **named)

    monkeypatch.setattr(owner, name, slow)


@pytest.mark.parametrize("slow", ["train_on_batch", "predict_on_batch"])
def test_a_trial_past_its_time_fails_and_the_next_one_runs(
    home: Home, bench: Workbench, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    wanted = spec(home, frozen_layers=26, epochs=2)
    assert run(wanted, bench)[0].failure is None, "models are traced, features stored"
    with monkeypatch.context() as patch:
        slowed(patch, keras.Model, slow, 0.1)
        limited = replace(wanted, params={**wanted.params, "epochs": 1000}, trial_seconds=2.0)
        started = time.monotonic()
        outcome, reports = run(limited, bench)
        assert time.monotonic() - started < 4.0
    assert outcome.failure is not None
    assert outcome.failure.kind == "timeout"
    assert outcome.failure.message == "it was not over after 2 seconds"
    assert reports, "what it had reported stays"
    assert outcome.score is not None
    assert run(replace(wanted, trial_seconds=60.0), bench)[0].failure is None
    assert stacks_of(home) == []


def test_a_trial_past_its_time_between_steps_fails(home: Home, bench: Workbench) -> None:
    from orch.training import trial

    running = trial.trial_steps(replace(spec(home, frozen_layers=26), trial_seconds=0.5), bench)
    next(running)
    time.sleep(0.6)
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value.failure.kind == "timeout"


@pytest.mark.parametrize("owner", [fit, examples])
def test_filling_beats(
    tmp_path: Path, home: Home, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch of features and every decoded example is a sign of life."""
    import shutil

    own = Home(tmp_path / "own")
    shutil.copytree(home.datasets, own.datasets)
    bench, seen = Workbench(own), []
    name = "predict" if owner is fit else "decode"
    original = getattr(owner, name)

    def noted(*words: Any) -> Any:
        *others, beat = words
        return original(*others, lambda: (seen.append(1), beat()))

    monkeypatch.setattr(owner, name, noted)
    assert run(spec(own, frozen_layers=26, epochs=1), bench)[0].failure is None
    assert len(seen) >= (200 if owner is examples else 200 / 32 + 2)


def test_a_step_that_hangs_ends_its_process(home: Home, tmp_path: Path) -> None:
    program = (
        "import sys, time; from dataclasses import replace; from pathlib import Path\n"
        "import keras; from digit_trials import run, spec; from orch.home import Home\n"
        "from orch.training.workbench import Workbench\n"
        "home = Home(Path(sys.argv[1])); step = keras.Model.train_on_batch\n"
        "wanted = spec(home, frozen_layers=26, epochs=50)\n"
        "bench = Workbench(home)\n"
        "run(replace(wanted, params={**wanted.params, 'epochs': 1}), bench)\n"
        "def stuck(*words, **named):\n"
        "    time.sleep(60)\n"
        "keras.Model.train_on_batch = stuck\n"
        "run(replace(wanted, hang_seconds=1.0, attempt=3), bench)\n"
    )
    folder = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program, str(home.root)], cwd=folder, timeout=120)
    assert done.returncode == 1
    text = watchdog.dumped(home, spec(home).id, 3)
    assert "in stuck" in text
    assert "in _one_epoch" in text
    watchdog.stacks(home, spec(home).id, 3).unlink()


def test_a_process_that_was_killed_left_no_stacks(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert watchdog.dumped(home, "t", 1) == ""
    home.stacks.mkdir(parents=True)
    watchdog.stacks(home, "t", 1).touch()
    assert watchdog.dumped(home, "t", 1) == ""
    assert stacks_of(home) == []


def test_a_beat_past_the_time_raises(tmp_path: Path) -> None:
    watched = Watchdog()
    watched.begin(tmp_path / "t.txt", None, 0.01)
    time.sleep(0.02)
    with pytest.raises(TrialTimeoutError, match=r"not over after 0\.01 seconds"):
        watched.beat()
    watched.end()
    assert not list(tmp_path.iterdir())
