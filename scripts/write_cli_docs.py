"""Write docs/cli.md from the commands themselves; `--check` fails where it is out of date."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import typer.main

from orch import cli
from orch.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """\
# Commands

Written by `make docs` from the commands themselves. Ids may be shortened to any unique
beginning. Data goes to stdout, messages and progress to stderr. Every command takes `--help`
and `--debug` (the traceback behind an error).

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug in orch |
| 2 | words or settings that make no sense |
| 3 | not found |
| 4 | data or weights missing, damaged or not what they claim |
| 5 | database or disk |
| 6 | a plugin that breaks its contract |
| 7 | Ray cannot be reached, or its workers are lost |
| 8 | the sweep ended without a completed trial |
| 9 | `--strict`, and a trial failed |
| 130, 143 | interrupted; everything that ended is saved |
"""


def names(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, groups before their members."""
    if path:
        yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from names(child, (*path, name))


def section(path: tuple[str, ...]) -> str:
    """One command: its own help, as it is shown on a terminal of 92 columns."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        cli.run([*path, "--help"])
    text = "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())
    return f"## orch {' '.join(path)}\n\n```text\n{text}\n```\n"


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = "92"
    root = typer.main.get_command(app)
    return "\n".join([HEAD, *(section(path) for path in names(root))])


def main() -> None:
    """Write the page, or compare it."""
    fresh = page().rstrip() + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        sys.exit("docs/cli.md is out of date; run: make docs")


if __name__ == "__main__":
    main()
