"""Sweeps as processes of their own, which outlive the service that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orch.cluster.reaper import began
from orch.home import Home
from orch.sweeps.control import machine

CHILD = "orch.cli.child"  # the module that runs one sweep and records how it ended


def identity(process: int) -> str:
    """What names a process of this machine for as long as the machine runs."""
    return f"{machine()}:{process}:{began(process)}"


def is_here(identity_text: str) -> bool:
    """True for a process of this machine, gone or not."""
    return identity_text.count(":") >= 2 and identity_text.rsplit(":", 2)[0] == machine()


def is_alive(identity_text: str) -> bool:
    """True for a process of this machine that still runs."""
    number = int(identity_text.rsplit(":", 2)[1])
    return identity(number) == identity_text and not _is_zombie(number)


def _is_zombie(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def log(home: Home, sweep_id: str) -> Path:
    """What the process of a sweep said."""
    return home.logs / "sweeps" / f"{sweep_id}.log"


def start(home: Home, sweep_id: str, flags: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start a sweep as a process with a session of its own."""
    file = log(home, sweep_id)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = {f"ORCH_{name.upper()}": str(value) for name, value in flags.items() if name != "strict"}
    with file.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", CHILD, sweep_id, *(["--strict"] if flags.get("strict") else [])],
            env={**os.environ, **said, "ORCH_HOME": str(home.root)},
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def last_error(home: Home, sweep_id: str) -> str:
    """The last line of a sweep's log that is an error; "" where there is none."""
    try:
        lines = log(home, sweep_id).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found = [line for line in lines[-50:] if line.startswith("error: ")]
    return found[-1].removeprefix("error: ") if found else ""
