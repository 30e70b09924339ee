"""Ctrl-C, SIGTERM, closed terminals and closed pipes: the code, no traceback, nothing half done."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from faults import faulty, needs_strace
from killing import Arena

pytestmark = pytest.mark.slow


def when_noted(arena: Arena) -> subprocess.Popen[bytes]:
    """A driver without Ray that has recorded something."""
    process = arena.start("--alone")
    while not arena.noted():
        assert process.poll() is None, arena.said()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_drains_and_the_rest_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    arena = Arena(tmp_path, f"sqlite:///{tmp_path}/orch.db", 4, 1)
    monkeypatch.setenv("FAKE_SECONDS", "0.3")
    process = when_noted(arena)
    process.send_signal(number)
    assert process.wait(60) == code
    assert "of 4 trials have ended and are saved → orch sweeps resume 012345" in arena.said()
    assert "Traceback" not in arena.said()
    assert "sweep 012345 was interrupted; 1 of 4" in arena.said(), "the running one finished"
    monkeypatch.setenv("FAKE_SECONDS", "0.01")
    assert arena.start("--alone").wait(60) == 0
    arena.driver = None
    arena.check()


def test_a_driver_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    arena = Arena(tmp_path, f"sqlite:///{tmp_path}/orch.db", 2, 1)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as nohup does it
    try:
        process = when_noted(arena)
    finally:
        signal.signal(signal.SIGHUP, former)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0, arena.said()
    arena.driver = None
    arena.check()


@pytest.mark.parametrize("words", [["sweeps"], ["strategies"], ["sweeps", "--json"], ["doctor"]])
def test_output_that_nobody_reads_is_no_traceback(orch_script: str, words: list[str]) -> None:
    process = subprocess.Popen(
        [orch_script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(60) == (0 if words == ["sweeps"] else 141), said
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


@needs_strace
@pytest.mark.parametrize(
    ("call", "when"), [("rename", 1), ("fsync", 1), ("rename", 2), ("fsync", 2)]
)
def test_an_interrupted_addition_is_whole_or_not_there(
    orch_script: str, tmp_path: Path, call: str, when: int
) -> None:
    """What publishes a dataset is interrupted: its content, its manifest, their folder."""
    under = faulty(call, f"signal=INT:when={when}")
    done = subprocess.run(
        [*under, orch_script, "datasets", "add", "digits"], capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    assert "error: interrupted; nothing was left half done" in done.stderr
    assert "Traceback" not in done.stderr
    place = tmp_path / "home" / "datasets" / "digits"
    there = (place / "manifest.json").exists()
    shown = subprocess.run(
        [orch_script, "datasets", "path", "digits"], capture_output=True, text=True
    )
    assert shown.returncode == (0 if there else 3), shown.stderr
    again = subprocess.run([orch_script, "datasets", "add", "digits"], capture_output=True)
    assert again.returncode == 0, again.stderr
    assert len([path for path in place.iterdir() if path.is_dir()]) == 1, "nothing is left over"
