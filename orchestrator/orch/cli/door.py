"""What every command begins with: settings, home, and the database for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.home import Home
from orch.settings import Settings, load

if TYPE_CHECKING:
    from orch_db.queries import Queries


def enter(**flags: Any) -> tuple[Settings, Home]:
    """The settings, with these flags on top, and the home folder they name."""
    settings = load(flags)
    return settings, Home(Path(settings.home).expanduser().absolute())


def database_url(settings: Settings, home: Home) -> str:
    """The database's URL; the default is a file in home."""
    return settings.database_url or f"sqlite:///{home.database}"


@contextmanager
def reading() -> Iterator[Queries]:
    """Open the database for reading; one that is not there yet has no rows."""
    from orch_db.queries import Queries

    queries = Queries.open(database_url(*enter()))
    try:
        yield queries
    finally:
        queries.close()
