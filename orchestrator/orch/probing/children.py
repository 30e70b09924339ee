"""Processes of their own for strangers' code: in a session that ends with them, in time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

GRACE = 5  # seconds that a child has to be ended by whoever started it, before it ends itself
PR_SET_PDEATHSIG = 1  # of prctl(2)


@contextmanager
def started(
    module: str,
    words: Sequence[str],
    *,
    flags: Sequence[str] = (),
    stdout: IO[Any] | int = subprocess.DEVNULL,
    stderr: IO[Any] | int = subprocess.DEVNULL,
) -> Generator[subprocess.Popen[bytes]]:
    """Run a module of ours as a process that sees the modules which this one sees.

    It does not see the terminal, and nothing that it started outlives this context.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", *flags, "-m", module, *words],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a process; False where it goes on after so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def death(code: int | None) -> str:
    """How a process ended, for people: "exit code 3", "signal SIGSEGV"."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def end_in_time(seconds: float) -> None:
    """In a child: end with whoever started it, and in time even where this process hangs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.alarm(int(seconds) + GRACE)
