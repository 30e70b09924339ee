"""Runs the checks of one plugin, in a process of its own; see `running`, which starts it.

    python -m orch.checks.child GROUP NAME SOURCE HOME SCRATCH ANSWERS PATIENCE

Each line of the file ANSWERS is a JSON document: a check that begins, or how one ended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orch import registry
from orch.checks import Check, Result, backbones, datasets, run, strategies
from orch.checks.imports import Imported
from orch.checks.running import most_seconds
from orch.home import Home
from orch.probing import files
from orch.probing.children import end_in_time


def main() -> None:
    """Run every check and write how each ended."""
    group, name, source, home, scratch, answers, patience = sys.argv[1:]
    plugin, seconds = registry.find(group, name), float(patience)
    file = files.read(plugin).file
    if group == registry.DATASETS:
        subject = datasets.DatasetSubject(
            plugin,
            seconds,
            source=Path(source) if source else None,
            scratch=Path(scratch),
            home=Home(Path(home)),
        )
        ran = run(datasets.CHECKS, subject, subject.lacks, file)
    elif group == registry.BACKBONES:
        ran = run(backbones.CHECKS, Imported(plugin, seconds), lambda check: "", file)
    else:
        planned = strategies.StrategySubject(plugin, seconds)
        ran = run(strategies.CHECKS, planned, lambda check: "", file)
    record(ran, Path(answers), seconds)
    os._exit(0)  # whatever threads a plugin has started


def record(ran: Iterator[tuple[Check[Any], Result | None]], answers: Path, patience: float) -> None:
    """Write a line as each check begins, and one as it ends."""
    with answers.open("a", encoding="utf-8") as file:
        for check, result in ran:
            seconds = most_seconds(check, patience)
            end_in_time(seconds)
            line = asdict(result) if result else {"begins": check.name, "seconds": seconds}
            file.write(f"{json.dumps(line)}\n")
            file.flush()


if __name__ == "__main__":
    main()
