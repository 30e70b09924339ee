"""What every command begins with: settings, home, and the database for reading."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.errors import StorageError
from orch.home import Home
from orch.settings import Settings, load

if TYPE_CHECKING:
    from orch_db.queries import Queries
    from orch_db.service_queries import ServiceQueries
    from orch_db.store import Store

LOG_BYTES = 10_000_000  # after which a log makes way for a new one; the one before it is kept


def enter(**flags: Any) -> tuple[Settings, Home]:
    """The settings, with these flags on top, and the home folder they name."""
    settings = load(flags)
    home = Home(Path(settings.home).expanduser().absolute())
    if home.root.is_file():
        raise StorageError(
            f"the home {home.root} is a file", "choose a folder with ORCH_HOME=FOLDER"
        )
    return settings, home


def database_url(settings: Settings, home: Home) -> str:
    """The database's URL; the default is a file in home."""
    return settings.database_url or f"sqlite:///{home.database}"


def enter_with_libraries(**flags: Any) -> tuple[Settings, Home]:
    """As `enter`, for commands that load Keras or Ray, whose native code writes to stderr."""
    settings, home = enter(**flags)
    home.create()
    os.environ.setdefault("KERAS_HOME", str(home.root / "keras"))
    divert_native_stderr(home)
    return settings, home


def divert_native_stderr(home: Home) -> None:
    """From here on file descriptor 2 is a log file in home, and `sys.stderr` is where it was."""
    home.logs.mkdir(mode=0o700, exist_ok=True)
    file = home.logs / "driver.log"
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(home.logs / "driver.log.1")
    screen = os.dup(2)
    with file.open("ab") as log:
        os.dup2(log.fileno(), 2)
    sys.stderr = os.fdopen(screen, "w", buffering=1, errors="backslashreplace")


def cannot_write(path: Path, error: OSError) -> StorageError:
    """Say that a file which the user asked for could not be written."""
    return StorageError(
        f"{path} cannot be written ({error.strerror or error}); nothing else was changed",
        "give another place",
    )


@contextmanager
def reading() -> Generator[Queries]:
    """Open the database for reading; one that is not there yet has no rows."""
    from orch_db.queries import Queries

    queries = Queries.open(database_url(*enter()))
    try:
        yield queries
    finally:
        queries.close()


@contextmanager
def reading_service() -> Generator[ServiceQueries]:
    """As `reading`, for what the service keeps."""
    from orch_db.service_queries import ServiceQueries

    queries = ServiceQueries.open(database_url(*enter()))
    try:
        yield queries
    finally:
        queries.close()


@contextmanager
def opened(settings: Settings, home: Home) -> Generator[tuple[Store, Queries]]:
    """Open the database for writing and for reading; it is created where it is not there."""
    from orch_db.queries import Queries
    from orch_db.store import Store

    home.create()
    url = database_url(settings, home)
    store = Store.open(
        url,
        busy_seconds=settings.busy_seconds,
        allow_network=settings.allow_network_filesystem,
    )
    with closing(store), closing(Queries.open(url)) as queries:
        yield store, queries
