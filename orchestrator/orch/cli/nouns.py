"""How a plural noun becomes a group of commands, listing when it stands alone."""

from __future__ import annotations

import typer


def noun(name: str, help: str) -> typer.Typer:
    """A group of commands; its callback lists."""
    return typer.Typer(name=name, help=help, invoke_without_command=True, rich_markup_mode=None)
