"""Write the pages that come from the code itself; `--check` fails where one is out of date."""

from __future__ import annotations

import dataclasses
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
from orch.settings import Settings, variable

DOCS = Path(__file__).parent.parent / "docs"
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
| 141 | whoever read the output stopped reading |
"""


SETTINGS_HEAD = """\
# Settings

Written by `make docs` from the table in `orchestrator/orch/settings.py`. A value comes from the
first of: a flag, the environment variable, `orch.toml` in the working folder, `config.toml` in
the user's configuration folder, the default. `orch config` prints each with where it came from.

```toml
# orch.toml
home = "/data/orch"
trials = 50
sampler = "tpe"
```

Read besides these: `KERAS_BACKEND` (tensorflow, jax or torch), `NO_COLOR`, and `ORCH_DEBUG=1`,
which shows the traceback behind every error.
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


def settings_page() -> str:
    """Every setting: its variable, its default, what it is."""
    lines = [SETTINGS_HEAD, "| setting | variable | default | what it is |", "|---|---|---|---|"]
    for entry in dataclasses.fields(Settings):
        default = "the platform's data folder" if entry.name == "home" else entry.default
        choices = ", ".join(entry.metadata["choices"])
        text = f"{entry.metadata['help']}{f' ({choices})' if choices else ''}"
        shown = f"`{default}`" if default != "" else "none"
        lines.append(f"| `{entry.name}` | `{variable(entry.name)}` | {shown} | {text} |")
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its help."""
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = "92"
    root = typer.main.get_command(app)
    return "\n".join([HEAD, *(section(path) for path in names(root))])


PAGES = {"cli.md": commands_page, "settings.md": settings_page}


def main() -> None:
    """Write the pages, or compare them."""
    for name, write in PAGES.items():
        path, fresh = DOCS / name, write().rstrip() + "\n"
        if "--check" not in sys.argv:
            path.write_text(fresh, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != fresh:
            sys.exit(f"docs/{name} is out of date; run: make docs")


if __name__ == "__main__":
    main()
