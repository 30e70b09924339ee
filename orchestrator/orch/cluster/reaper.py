"""Ends the processes that it was told of when whoever told it is gone. Run as a script.

Each line of standard input names a process: its number and when it began, in clock ticks since
the machine did (proc(5), field 22 of stat). The end of the input, which a killed process brings
about like any other, is what this waits for.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def began(process: int) -> str:
    """When a process began; "" where there is none."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def main() -> None:
    """Wait, then kill what is still there."""
    for line in sys.stdin.read().splitlines():
        process, when = line.split()
        if int(process) != os.getpid() and began(int(process)) == when:
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


if __name__ == "__main__":
    main()
