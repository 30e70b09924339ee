"""Ends a trial that hangs, and fails one that takes too long.

While a trial computes, a thread of the interpreter's own counts down (`faulthandler`), which
needs neither the GIL nor a signal. Every batch is a beat, which starts the count again. Where
none came for too long, the stacks of all threads are written to a file and the process ends.
"""

from __future__ import annotations

import faulthandler
import math
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, TypeVar

from orch.home import Home

Step = TypeVar("Step")
Beat = Callable[[], None]
"""Called after every batch: says that the trial is alive, and raises where its time is over."""

RESOLUTION = 1.0  # seconds between counts that are started again; nothing is ended sooner for it
GRACE = 5.0  # seconds after a trial's time in which it may still fail by itself


class TrialTimeoutError(Exception):
    """A trial that is alive took longer than it may."""


def quiet() -> None:
    """A beat that nobody listens to."""


def stacks(home: Home, trial_id: str, attempt: int) -> Path:
    """Where the stacks of an attempt are written if it hangs; empty while it runs."""
    return home.stacks / f"{trial_id}-{attempt}.txt"


def dumped(home: Home, trial_id: str, attempt: int) -> str:
    """The stacks of an attempt whose process is gone; nothing where it did not hang.

    The file of one that was killed otherwise is empty, and deleted here.
    """
    file = stacks(home, trial_id, attempt)
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    if not text:
        file.unlink(missing_ok=True)
    return text


class Watchdog:
    """Watches one trial of a process at a time; there can be one watchdog in a process."""

    def __init__(self) -> None:
        self._path = Path()
        self._file: IO[bytes] | None = None
        self._hang = self._deadline = self._next = math.inf
        self._limit = 0.0

    def begin(self, stacks: Path, hang_seconds: float | None, trial_seconds: float | None) -> None:
        """Watch a trial from now on.

        It may take `hang_seconds` from one beat to the next, or the process ends, and
        `trial_seconds` altogether, or `beat` raises. None is no limit.
        """
        self.end()
        if hang_seconds is None and trial_seconds is None:
            return
        self._path, self._file = stacks, _opened(stacks)
        self._hang = math.inf if hang_seconds is None else hang_seconds
        self._limit = math.inf if trial_seconds is None else trial_seconds
        self._deadline = time.monotonic() + self._limit
        self._arm(time.monotonic())

    def beat(self) -> None:
        """Say that the trial is alive.

        Raises:
            TrialTimeoutError: its time is over.
        """
        now = time.monotonic()
        if now >= self._next:
            if now >= self._deadline:
                raise TrialTimeoutError(f"it was not over after {self._limit:g} seconds")
            self._arm(now)

    def pause(self) -> None:
        """Expect no beat until the next one: the trial waits to be asked for its next step."""
        if self._file is not None:
            faulthandler.cancel_dump_traceback_later()
            self._next = -math.inf

    def end(self) -> None:
        """Watch no longer, and remove the file of stacks where nothing was written to it."""
        self._hang = self._deadline = self._next = math.inf
        if self._file is None:
            return
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        self._file = None
        if self._path.exists() and not self._path.stat().st_size:
            self._path.unlink()

    def watched(self, steps: Generator[Step, None, Any]) -> Generator[Step, None, None]:
        """The steps of a trial, each watched while it is computed and not while it is looked at.

        Raises:
            TrialTimeoutError: the trial's time was over when a step was asked for.
        """
        with closing(steps):
            for step in steps:
                self.pause()
                yield step
                self.beat()

    def _arm(self, now: float) -> None:
        """Start the count again, so late that a beat may come `RESOLUTION` before it is noted."""
        left = min(self._hang + RESOLUTION, self._deadline + GRACE - now)
        faulthandler.dump_traceback_later(left, exit=True, file=self._file or 2)
        self._next = min(now + RESOLUTION, self._deadline)


def _opened(path: Path) -> IO[bytes]:
    """A file for stacks; where the disk refuses one they go where errors go."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.open("wb")
    except OSError as error:
        print(f"{path} cannot be written: {error}", file=sys.stderr)
        return open(2, "wb", closefd=False)
