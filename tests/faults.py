"""System calls that fail, or bring a signal: strace injects them."""

from __future__ import annotations

import shutil

import pytest

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace, which injects the faults, is not installed"
)


def faulty(calls: str, fault: str) -> list[str]:
    """Run a command so that some of its system calls fail, or bring a signal."""
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    return ["strace", "-qq", "-o", "/dev/null", *inject]
