"""SQLite: the settings that keep acknowledged rows, and its errors in our words.

Source of the settings: SQLite's documentation of WAL mode, `synchronous` and transactions.
With WAL and synchronous=FULL a commit that returned survives a crash of program and machine;
BEGIN IMMEDIATE takes the write lock first, where waiting works.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from orch_db.errors import (
    DatabaseError,
    FullError,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
)

SMALLEST_PAGE = 512  # bytes; SQLite takes a smaller file for an empty database
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph"})


def open_engine(url: URL, *, write: bool, busy_seconds: float, allow_network: bool) -> Engine:
    """Open a database for writing or for reading; a writer creates the file, owner-only.

    That the file is a database is found out when it is first read.

    Raises:
        NotADatabaseError: the file is too small to be one; it was not touched.
        ReadOnlyError: it is a folder.
        DatabaseError: it lies on a network file system and `allow_network` is not given.
    """
    path = Path(url.database or "").resolve()
    _check_file(path)
    if write:
        _check_file_system(path, allow_network)
        _create(path)
    engine = create_engine(url, connect_args={"timeout": busy_seconds})

    def on_connect_write(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        _use_log(connection, time.monotonic() + busy_seconds)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", on_connect_write if write else _on_connect_read)
    event.listen(engine, "begin", _begin_immediate if write else _begin)
    return engine


def exists(path: Path) -> bool:
    """Tell whether a database file is there and not empty.

    Raises:
        ReadOnlyError: its folder may not be entered.
    """
    with translated_os(path):
        return path.is_file() and path.stat().st_size > 0


def translate(text: str, where: str) -> DatabaseError:
    """What SQLite said, in our words, with what is safe."""
    safe = "what was recorded before is safe"
    if "locked" in text or "busy" in text:
        return LockedError(
            f"{where} is locked by another process; {safe}",
            f"see who holds it: fuser -v {where}",
        )
    if "readonly" in text or "read-only" in text:
        return ReadOnlyError(
            f"{where} cannot be written; {safe}", f"check its owner and mode: ls -l {where}"
        )
    if "disk I/O" in text:
        return FullError(  # what it also says where a full disk cannot be mapped
            f"{where}: {text}; {safe}",
            "free some space, or see what the disk says: dmesg; then orch db check",
        )
    if "full" in text:
        return FullError(f"{where}: {text}; {safe}", "free some space, then run the same again")
    if "not a database" in text:
        return NotADatabaseError(
            f"{where} is not an SQLite database; it was not touched",
            "move it away, or choose another with ORCH_DATABASE_URL",
        )
    if "malformed" in text:
        return NotADatabaseError(f"{where}: {text}; it was not touched", "restore a backup of it")
    if "unable to open" in text:
        return ReadOnlyError(f"{where} cannot be opened", f"check its folder: ls -ld {where}")
    return DatabaseError(f"{where}: {text}; {safe}")


@contextmanager
def translated_os(path: Path) -> Generator[None]:
    """Turn what the operating system says about a file into our words."""
    try:
        yield
    except OSError as error:
        raise ReadOnlyError(
            f"{path} cannot be opened: {error.strerror}", f"check its owner and mode: ls -l {path}"
        ) from None


def _check_file(path: Path) -> None:
    """Refuse what SQLite would not: a folder, and a file too small to be a database."""
    hint = "move it away, or choose another with ORCH_DATABASE_URL"
    if path.is_dir():
        raise ReadOnlyError(f"{path} cannot be opened: Is a directory", hint)
    if exists(path) and path.stat().st_size < SMALLEST_PAGE:
        raise NotADatabaseError(f"{path} is not an SQLite database; it was not touched", hint)


def _create(path: Path) -> None:
    """Make an empty file that is its owner's only, where there is none.

    A database that is there is opened by nothing but SQLite: whoever opens and closes its file
    drops the locks that SQLite holds in the same process, and another process may then delete
    the log under it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    if path.exists():
        return
    with translated_os(path), suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o600))


def _check_file_system(path: Path, allow_network: bool) -> None:
    kind = _file_system(path)
    if kind in NETWORK_FILE_SYSTEMS and not allow_network:
        raise DatabaseError(
            f"{path} lies on a network file system ({kind}), where SQLite can lose data",
            "use a local folder, or accept the risk with ORCH_ALLOW_NETWORK_FILESYSTEM=1",
        )


def _file_system(path: Path) -> str:
    """The type of the file system that holds a path, as Linux lists it; "" where unknown."""
    mounts = Path("/proc/mounts")
    if not mounts.is_file():
        return ""
    best, kind = -1, ""
    resolved = path.resolve().as_posix()
    for line in mounts.read_text().splitlines():
        _, point, file_system, *_ = line.split()
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) > best:
            best, kind = len(point), file_system
    return kind


def _use_log(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to the write-ahead log, waiting for others that do the same to a new file.

    The switch reads before it takes the exclusive lock, and SQLite does not call the busy
    handler of a transaction that has read (https://www.sqlite.org/c3ref/busy_handler.html): two
    first processes meet, and one is told "database is locked" at once.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(random.uniform(0.005, 0.05))


def _on_connect_read(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")
