"""What importing a plugin does: measured in a process of its own, which may die of it."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orch.checks import Check, Fault
from orch.probing import children, files
from orch.registry import Plugin

MOST_SECONDS = 2.0
STARTING = 20.0  # seconds that the process may take before it imports anything of the plugin
HEAVY = (
    *("tensorflow", "keras", "torch", "ray", "pandas", "sqlalchemy"),
    *("scipy", "matplotlib", "librosa", "sklearn"),
)
BEGINNING = "orch: the import begins"
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$")
_PLACE = re.compile(r'File "(.+)", line (\d+)')


@dataclass(frozen=True)
class Measured:
    """One import: whether and how it failed, how long it took, what it loaded and printed.

    `costs` are seconds by top-level package, without what each imports in turn.
    """

    fault: str
    seconds: float
    heavy: tuple[str, ...]
    printed: str
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Imported:
    """A plugin that is imported elsewhere; `patience` is in seconds."""

    plugin: Plugin
    patience: float = 20.0

    @property
    def module(self) -> str:
        """The module that the entry point names."""
        return self.plugin.target.partition(":")[0].strip()

    @cached_property
    def measured(self) -> Measured:
        """The import, measured; one that was slow is measured again: the disk may have been."""
        first = _measure(self.plugin, self.patience)
        if first.fault or first.seconds <= MOST_SECONDS:
            return first
        again = _measure(self.plugin, self.patience)
        return min(first, again, key=lambda each: each.seconds)


def imported(subject: Imported) -> None:
    """It can be imported and built, and does not exit, hang or crash."""
    if subject.measured.fault:
        raise Fault(subject.measured.fault)


def prints_nothing(subject: Imported) -> None:
    """Nothing is written to stdout or stderr while it is imported."""
    if text := subject.measured.printed:
        raise Fault(f"importing {subject.module} prints {text[:60]!r}")


def is_fast(subject: Imported) -> None:
    """Importing it takes at most MOST_SECONDS, NumPy and orch's contracts not counted."""
    found = subject.measured
    if found.seconds > MOST_SECONDS:
        slowest = max(found.costs, key=lambda name: found.costs[name], default=subject.module)
        raise Fault(
            f"importing {subject.module} takes {found.seconds:.1f} s, most of it in {slowest}; "
            f"{MOST_SECONDS:g} s is the most: import what is slow where it is used"
        )


def is_light(subject: Imported) -> None:
    """No large library is imported at module level."""
    heavy = subject.measured.heavy
    if not heavy:
        return
    file = files.read(subject.plugin).file
    lines = dict(files.imports(file)) if file is not None and file.suffix == ".py" else {}
    where = f"{file.name} line {lines[heavy[0]]}" if file and heavy[0] in lines else "indirectly"
    raise Fault(
        f"importing {subject.module} imports {', '.join(heavy)} ({where}): "
        "import it inside the function that uses it"
    )


CHECKS: tuple[Check[Any], ...] = (
    Check("import", "it is imported without an error, an exit or a hang", imported, "import", True),
    Check("silence", "importing it prints nothing", prints_nothing, "import"),
    Check("import-time", f"importing it takes at most {MOST_SECONDS:g} s", is_fast, "import"),
    Check("light", "no large library is imported at module level", is_light, "import"),
)


# ── measuring ───────────────────────────────────────────────────────────────────────────────


def _measure(plugin: Plugin, patience: float) -> Measured:
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        place = Path(folder)
        words = [plugin.target, str(place / "answer"), str(place / "stack"), str(patience)]
        with (
            (place / "out").open("wb") as out,
            (place / "err").open("wb") as err,
            children.started(
                "orch.checks.importing", words, flags=("-X", "importtime"), stdout=out, stderr=err
            ) as process,
        ):
            in_time = children.ended(process, patience + STARTING)
        written = {name: _text(place / name) for name in ("answer", "stack", "out", "err")}
    hangs = not in_time or bool(written["stack"])
    return _measured(written, f"{patience:g}" if hangs else "", process.returncode)


def _measured(written: dict[str, str], waited: str, code: int | None) -> Measured:
    """What the files say that an import left."""
    noise = written["err"].partition(BEGINNING)[2].splitlines()[1:]
    costs: dict[str, float] = defaultdict(float)
    said: list[str] = []
    for line in noise:
        if found := _LINE.match(line):
            costs[found[2].partition(".")[0]] += int(found[1]) / 1e6
        elif line and not line.startswith("import time:"):
            said.append(line)
    printed = written["out"] + "\n".join(said)
    try:
        answer: dict[str, Any] = json.loads(written["answer"])
        fault, seconds = str(answer["fault"]), float(answer["seconds"])
        return Measured(fault, seconds, tuple(answer["heavy"]), printed, costs)
    except (ValueError, KeyError, TypeError):
        place = _PLACE.search(written["stack"])
        where = f" at {Path(place[1]).name} line {place[2]}" if place and waited else ""
        fault = f"it is not imported after {waited} s{where}"
        if not waited:
            fault = f"importing it ends the process ({children.death(code)})"
        return Measured(fault, 0.0, (), printed, costs)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
