"""Prints every `except` and `finally` of ours that no test ran.

    COVERAGE_FILE=.coverage coverage run --source orch,orch_db,orch_plugins,orch_datasets -m pytest
    python scripts/handlers.py .coverage

Several data files may be given, such as those of processes that tests started.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOTS = ("orchestrator", "plugins", "datasets", "db")


@dataclass(frozen=True)
class Handler:
    """The body of an `except` or `finally`: where it begins, and what runs first in it."""

    path: Path
    line: int
    what: str
    first: range

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.what}"


def sources() -> list[Path]:
    """Every module of ours."""
    return [path for root in ROOTS for path in sorted((ROOT / root).rglob("*.py"))]


def handlers(path: Path) -> Iterator[Handler]:
    """The handlers of one module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Try):
            continue
        for each in node.handlers:
            caught = f"except {ast.unparse(each.type)}" if each.type else "except"
            yield Handler(path, each.lineno, caught, _lines(each.body[0]))
        if node.finalbody:
            first = node.finalbody[0]
            yield Handler(path, first.lineno, "finally", _lines(first))


def _lines(statement: ast.stmt) -> range:
    return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)


def ran(files: list[Path]) -> dict[str, set[int]]:
    """The lines that ran, by module, as coverage wrote them down; modules by their last parts,
    since a test may have run an installed copy.
    """
    from coverage import CoverageData

    found: defaultdict[str, set[int]] = defaultdict(set)
    for file in files:
        data = CoverageData(basename=str(file), suffix=False)
        data.read()
        for measured in data.measured_files():
            found[_module(Path(measured))].update(data.lines(measured) or ())
    return found


def _module(path: Path) -> str:
    parts = path.parts
    begins = [at for at, part in enumerate(parts) if part.startswith("orch") and part != ROOTS[0]]
    return "/".join(parts[begins[-1] if begins else 0 :])


def main() -> None:
    """Print what did not run; exit code 1 where there is any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="data files of coverage")
    lines = ran(parser.parse_args().files)
    every = [each for path in sources() for each in handlers(path)]
    missed = [each for each in every if not lines[_module(each.path)].intersection(each.first)]
    for each in missed:
        print(each)
    print(f"{len(every) - len(missed)} of {len(every)} handlers ran", file=sys.stderr)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
