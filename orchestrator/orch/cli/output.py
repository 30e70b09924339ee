"""Printing: tables to a terminal, JSON and CSV for programs; data on stdout, words on stderr."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]

WIDE = 10_000  # columns: what is piped is not folded
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def clean(text: str, lines: bool = False) -> str:
    """Strip control characters from text that came from outside; `lines` keeps line ends."""
    shown = (_CONTROL_BUT_LINES if lines else _CONTROL).sub("", text)
    return shown.encode("utf-8", "backslashreplace").decode()  # names of files may be any bytes


def console(stderr: bool = False) -> Console:
    """A console for stdout or stderr: colours only on a terminal, `NO_COLOR` honoured."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() else WIDE
    return Console(stderr=stderr, highlight=False, markup=False, width=wide)


def say(text: str) -> None:
    """Print a message to stderr."""
    console(stderr=True).print(text)


def say_blocked(states: Iterable[object]) -> None:
    """Say, on a line for each, which plugins are blocked and why."""
    for state in states:
        say(clean(str(state)))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Print a table to stdout."""
    made = table(columns, rows, title)
    if sys.stdout.isatty():
        console().print(made)
        return
    plain = console()
    with plain.capture() as captured:
        plain.print(made)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> Table:
    """A table without lines; numbers stand right. Cells are plain text, never markup."""
    from rich.table import Table
    from rich.text import Text

    shown = [[_cell(value) for value in row] for row in rows]
    made = Table(
        box=None,
        padding=(0, 1 if console().width < 100 else 2, 0, 0),
        header_style="bold",
        title=Text(clean(title)) if title else None,
        title_justify="left",
        pad_edge=False,
        show_edge=False,
    )
    for at, name in enumerate(columns):
        numeric = bool(shown) and all(_NUMBER.match(row[at]) for row in shown)
        made.add_column(
            Text(clean(name)),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=at == 0,  # what names a row stays in one piece, to be copied
        )
    for row in shown:
        made.add_row(*(Text(value) for value in row))
    return made


_NUMBER = re.compile(r"-?[\d.,]*(e[+-]?\d+)?( ?[smh%]| [kMGT]B)?\Z")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return clean(f"{value:.4g}" if isinstance(value, float) else str(value))


def listing(
    document: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    as_json: bool,
    as_csv: bool,
    empty: str,
    title: str = "",
) -> None:
    """Print a list the way that was asked for; `empty` is said where there is nothing."""
    if as_json:
        print_json(document)
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(map(csv_row, rows))
    elif rows:
        show_table(columns, rows, title)
    else:
        say(empty)


def csv_row(row: Sequence[Any]) -> list[Any]:
    """A row as a spreadsheet may open it."""
    return [_csv_cell(value) for value in row]


def _csv_cell(value: Any) -> Any:
    """Keep spreadsheets from reading text as a formula (OWASP ASVS 5, 1.2.10)."""
    if isinstance(value, str):
        value = clean(value)
        return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
    return value


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout; what is not a number in JSON becomes null."""
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False)
    print(_UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def size(count: int | None) -> str | None:
    """A number of bytes for people."""
    if count is None:
        return None
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def count(number: int, what: str, plural: str = "") -> str:
    """A number of things: "1 sweep", "2,000 sweeps"."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def confirm(question: str, yes: bool) -> None:
    """Ask before something is deleted; a pipe cannot be asked.

    Raises:
        UsageError: the answer is no, or nobody can answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"to {question.removesuffix('?')}: say --yes; nothing was changed")
    if not typer.confirm(question[0].upper() + question[1:], err=True):
        raise UsageError("nothing was changed")


def duration(seconds: float | None) -> str:
    """A duration for people: "3.2 s", "4 m 10 s", "2 h 5 m"."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    return f"{minutes // 60} h {minutes % 60} m" if minutes % 60 else f"{minutes // 60} h"
