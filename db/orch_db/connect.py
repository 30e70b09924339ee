"""The door to a database: which kind a URL names, an engine for it, errors in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from orch_db import postgresql, sqlite
from orch_db.errors import DatabaseError

BUSY_SECONDS = 15.0
WRITE_ONE = "write sqlite:////folder/orch.db or postgresql://user@host/database"


def parse_url(text: str) -> URL:
    """Read a database URL.

    Raises:
        DatabaseError: it is no URL, or of a database that is not supported.
    """
    try:
        url = make_url(text)
        if url.drivername in postgresql.NAMES:
            url = url.set(drivername=postgresql.DRIVER)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise DatabaseError("the database URL cannot be understood", WRITE_ONE) from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite", postgresql.DRIVER):
        raise DatabaseError(f"databases of the kind {url.drivername} are not supported", WRITE_ONE)
    if "@" in (url.host or ""):  # part of a password, which must not be shown
        raise DatabaseError(
            "the database URL cannot be understood: it has more than one @",
            "write an @ of its user or password as %40",
        )
    return url


def is_sqlite(url: URL) -> bool:
    """Tell an SQLite database from one of PostgreSQL."""
    return url.get_backend_name() == "sqlite"


def shown(text: str) -> str:
    """A database URL as it may be shown: without its passwords."""
    url = parse_url(text)
    if is_sqlite(url):
        return url.render_as_string(hide_password=True)
    secret = {key: "***" for key in postgresql.SECRETS if key in url.query}
    plain = url.update_query_dict(secret).set(drivername="postgresql")
    return plain.render_as_string(hide_password=True)


def open_engine(
    text: str,
    *,
    write: bool,
    busy_seconds: float = BUSY_SECONDS,
    allow_network: bool = False,
) -> Engine:
    """Open a database for writing or for reading.

    A writer creates an SQLite file that is not there; a database of PostgreSQL must exist, and
    that it does is found out when it is first used.

    Raises:
        DatabaseError: it cannot be opened; see the modules of the two databases.
    """
    url = parse_url(text)
    if is_sqlite(url):
        return sqlite.open_engine(
            url, write=write, busy_seconds=busy_seconds, allow_network=allow_network
        )
    return postgresql.open_engine(url, write=write, busy_seconds=busy_seconds)


def database_file(text: str) -> Path:
    """The file of an SQLite database."""
    return Path(parse_url(text).database or "")


def exists(text: str) -> bool:
    """Tell whether there is a database to read; a server is asked when it is first used.

    Raises:
        ReadOnlyError: the folder of an SQLite database may not be entered.
    """
    url = parse_url(text)
    return not is_sqlite(url) or sqlite.exists(Path(url.database or ""))


def name(url: URL) -> str:
    """What messages call a database: its file, or its name and server."""
    return (url.database or "the database") if is_sqlite(url) else postgresql.name(url)


def product(engine: Engine) -> str:
    """The database's kind and version: "SQLite 3.51.3", "PostgreSQL 15.14"."""
    if is_sqlite(engine.url):
        return f"SQLite {sqlite3.sqlite_version}"
    with translated(engine), engine.connect() as connection:
        version = str(connection.exec_driver_sql("SHOW server_version").scalar())
    return f"PostgreSQL {version.partition(' ')[0]}"


@contextmanager
def translated(engine: Engine) -> Generator[None]:
    """Turn the driver's errors into ours, naming the database and what is safe."""
    try:
        yield
    except DBAPIError as error:
        if is_sqlite(engine.url):
            raise sqlite.translate(str(error.orig), name(engine.url)) from error
        raise postgresql.translate(error, engine.url) from error
