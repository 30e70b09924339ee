"""Checks an installed plugin from outside: in a process of its own, whose death is a finding."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from orch import registry
from orch.checks import Check, Result, backbones, datasets, strategies
from orch.home import Home
from orch.probing import State, children, memory

CHECKS: Mapping[str, tuple[Check[Any], ...]] = {
    registry.DATASETS: datasets.CHECKS,
    registry.STRATEGIES: strategies.CHECKS,
    registry.BACKBONES: backbones.CHECKS,
}
"""The checks of each group of entry points that has some."""

CONTENT_SECONDS = 600.0  # a large archive may be unpacked, a large split be read
IMPORTS = 3  # times that a check may wait for an import, its process included
SCRATCH = "check-"
DAY = 86_400.0  # seconds
LOOK = 0.02  # seconds between two looks at what a child has written
USABLE = ("import", "api", "name")  # a fault in one of these and the plugin is blocked


def check(state: State, home: Home, source: Path | None, patience: float) -> Iterator[Result]:
    """Run every check of a plugin, and remember in `home` whether it can be used.

    `patience` is how many seconds an import may take.
    """
    results: list[Result] = []
    for result in _unusable(state) if state.why else _outside(state, home, source, patience):
        results.append(result)
        yield result
    faults = [each.why for each in results if each.outcome == "fault" and each.check in USABLE]
    if state.why:
        return
    if faults:
        memory.block(home, state.plugin, state.file, faults[0])
    else:
        memory.forget(home, state.plugin)


def most_seconds(check: Check[Any], patience: float) -> float:
    """After how many seconds a check is over, whatever it does."""
    return CONTENT_SECONDS if check.needs in ("content", "install") else IMPORTS * patience


def _unusable(state: State) -> Iterator[Result]:
    """The results where the file alone shows that nothing can be run."""
    first, *rest = CHECKS[state.plugin.group]
    yield Result(first.name, first.promise, "fault", state.why)
    yield from _not_run(rest, f"{first.name} has a fault")


def _not_run(checks: list[Check[Any]], why: str) -> Iterator[Result]:
    for each in checks:
        yield Result(each.name, each.promise, "not run", why)


@dataclass
class _Reader:
    """Reads whole lines of a file that grows."""

    path: Path
    position: int = 0

    def fresh(self) -> list[dict[str, Any]]:
        with self.path.open("rb") as file:
            file.seek(self.position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def _outside(state: State, home: Home, source: Path | None, patience: float) -> Iterator[Result]:
    group, name = state.plugin.group, state.plugin.name
    known = {each.name: each for each in CHECKS[group]}
    with _scratch(home) as folder:
        answers = folder / "answers"
        answers.touch()
        place = folder / "content"
        place.mkdir()
        words = [group, name, str(source or ""), str(home.root), str(place), str(answers)]
        with children.started("orch.checks.child", [*words, str(patience)]) as process:
            for line in _follow(process, _Reader(answers), patience):
                result = Result(**line)
                del known[result.check]
                yield result
            hangs = process.poll() is None
    if not known:
        return
    first, *rest = known.values()
    how = children.death(process.returncode)
    limit = most_seconds(first, patience)
    why = f"it is not over after {limit:g} s" if hangs else f"it ends the process ({how})"
    yield Result(first.name, first.promise, "fault", why)
    yield from _not_run(rest, f"{first.name} has a fault")


def _follow(process: Popen[bytes], reader: _Reader, patience: float) -> Iterator[dict[str, Any]]:
    """What a child writes, until it is over or a check of it takes longer than it may."""
    until = time.monotonic() + IMPORTS * patience
    over = False
    while not over and time.monotonic() < until:
        over = children.ended(process, LOOK)
        for line in reader.fresh():
            if "begins" in line:
                until = time.monotonic() + float(line["seconds"])
            else:
                yield line


@contextmanager
def _scratch(home: Home) -> Generator[Path]:
    """An empty folder on the disk of the datasets, which is gone afterwards."""
    home.create()
    home.plugins.mkdir(mode=0o700, exist_ok=True)
    for former in home.plugins.glob(f"{SCRATCH}*"):  # of a check that was killed
        if time.time() - former.stat().st_mtime > DAY:
            shutil.rmtree(former, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home.plugins, prefix=SCRATCH) as folder:
        yield Path(folder)
