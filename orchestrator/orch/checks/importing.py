"""Imports one plugin and says how it went; see `imports`, which starts it as a process.

    python -X importtime -m orch.checks.importing TARGET ANSWER STACK SECONDS

NumPy and the contracts are imported before, so that their time is not the plugin's. Where the
import hangs, its stack is in the file STACK.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import operator
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from orch import contracts
from orch.checks.imports import BEGINNING, HEAVY, STARTING
from orch.errors import first_line
from orch.probing.children import end_in_time

WARM = (np, contracts)


def main() -> None:
    """Import, build, and write what it took."""
    target, answer, stack, seconds = sys.argv[1:]
    end_in_time(float(seconds) + STARTING)
    before = set(sys.modules)
    print(BEGINNING, file=sys.stderr, flush=True)
    with Path(stack).open("w") as file:
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=file)
        began = time.perf_counter()
        fault = load(target)
        took = time.perf_counter() - began
        faulthandler.cancel_dump_traceback_later()
    heavy = [name for name in HEAVY if name in sys.modules and name not in before]
    Path(answer).write_text(json.dumps({"fault": fault, "seconds": took, "heavy": heavy}))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever threads a plugin has started


def load(target: str) -> str:
    """Import what an entry point names and build it; why that failed, or nothing."""
    module, _, name = target.partition("[")[0].partition(":")
    try:
        operator.attrgetter(name.strip())(importlib.import_module(module.strip()))()
    except SystemExit as error:
        return f"it ends the program while it is imported (SystemExit: {error}){_where(error)}"
    except Exception as error:
        return f"it raised {type(error).__name__}: {first_line(error)}{_where(error)}"
    return ""


def _where(error: BaseException) -> str:
    """The line of the plugin that raised."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in frame.filename
    ][1:]  # the first is this module
    return f" ({Path(frames[-1].filename).name} line {frames[-1].lineno})" if frames else ""


if __name__ == "__main__":
    main()
