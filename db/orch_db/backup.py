"""Backups: whole, checked, their owner's only, and never in the place of another file.

SQLite is copied by its online backup (https://www.sqlite.org/backup.html), which sees one
instant while others write. PostgreSQL is copied by its own `pg_dump`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from orch_db import connect, postgresql, sqlite
from orch_db.connect import is_sqlite, parse_url
from orch_db.errors import DatabaseError

BUSY_SECONDS = 15.0


def suffix(url: str) -> str:
    """How the name of a backup of this database ends."""
    return ".db" if is_sqlite(parse_url(url)) else ".dump"


def instant() -> str:
    """Now in UTC, as part of a file's name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def beside(path: Path, version: str) -> Path:
    """Where an SQLite database is copied to before its schema goes on from this version."""
    return path.with_name(f"{path.name}.schema-{version}.{instant()}.backup")


def write(url: str, target: Path) -> None:
    """Copy a database into a new file.

    Raises:
        DatabaseError: there is nothing to copy, `target` is there, there is no room, the copy
            is not whole, or pg_dump is missing or refuses. No file is left then.
    """
    if not connect.exists(url):
        raise DatabaseError("there is no database yet, so there is nothing to copy", "orch sweep")
    if target.exists():
        raise DatabaseError(f"{target} is there already; nothing was written", "give another name")
    parsed = parse_url(url)
    with _publishing(target) as temporary:
        if is_sqlite(parsed):
            copy_sqlite(Path(parsed.database or ""), temporary)
        else:
            _dump_postgresql(parsed, temporary)


def copy_before_upgrade(path: Path, version: str) -> Path:
    """Copy an SQLite database beside itself; returns where the copy is."""
    target = beside(path, version)
    with _publishing(target) as temporary:
        copy_sqlite(path, temporary)
    return target


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy an SQLite database as it is at one instant, and check the copy.

    Raises:
        DatabaseError: the database cannot be read, there is no room, or the copy is damaged.
    """
    try:
        with (
            closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as original,
            closing(sqlite3.connect(target)) as copy,
        ):
            original.execute("PRAGMA query_only=ON")
            original.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise sqlite.translate(str(error), str(source)) from error
    if found != "ok":
        raise DatabaseError(
            f"the copy of {source} is damaged ({found}) and was deleted", "orch db check"
        )


def _dump_postgresql(url: URL, target: Path) -> None:
    arguments = ["pg_dump", "--format=custom", "--no-password", f"--file={target}"]
    where, secrets = _connection(url)
    if shutil.which("pg_dump") is None:
        raise DatabaseError(
            "pg_dump, which copies a PostgreSQL database, is not installed here",
            "where it is, type: pg_dump --format=custom --file=orch.dump "
            f"{postgresql.Server.of(url).options()} {postgresql.Server.of(url).database}",
        )
    _call([*arguments, f"--dbname={where}"], secrets)
    if shutil.which("pg_restore") is not None:
        _call(["pg_restore", "--list", str(target)], {})


def _connection(url: URL) -> tuple[str, dict[str, str]]:
    """What libpq needs to connect, and apart from it what only the environment may hold."""
    from psycopg.conninfo import make_conninfo

    given = url.get_dialect()().create_connect_args(url)[1]
    password = given.pop("password", None)
    given.pop("sslpassword", None)
    return make_conninfo(**given), {"PGPASSWORD": str(password)} if password else {}


def _call(words: list[str], secrets: dict[str, str]) -> None:
    done = subprocess.run(
        words, env={**os.environ, **secrets}, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise DatabaseError(
            f"{said[0].replace(' error: ', ' ', 1).strip()}; nothing was written", "orch db check"
        )


@contextmanager
def _publishing(target: Path) -> Generator[Path]:
    """A file to write beside `target`, which it becomes once it is whole and flushed to disk."""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise DatabaseError(
            f"{target} cannot be written: {error.strerror}", "give another place"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise DatabaseError(
            f"{target} cannot be written: {error.strerror}", "give another place"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
