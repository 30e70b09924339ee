"""The version of the schema: read, check, upgrade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from orch_db import backup
from orch_db.connect import exists, is_sqlite, name, open_engine, parse_url, translated
from orch_db.errors import NotADatabaseError, SchemaError

HEAD = "0004"
VERSION_TABLE = "orch_schema"
UPGRADE_LOCK = int.from_bytes(b"orch")  # the advisory lock of PostgreSQL that upgrades take


def prepare(engine: Engine) -> None:
    """Create the tables in an empty database; refuse one that is older, newer or not ours.

    Raises:
        SchemaError: the schema is of another version; the message says what to do.
        NotADatabaseError: the database holds tables of something else; it was not touched.
    """
    with translated(engine):
        with engine.connect() as connection:
            found = version(connection)
        if found is None:
            upgrade(engine)
        else:
            require(found)


def refuse_foreign(url: str) -> None:
    """Look at an existing SQLite database before it is opened for writing, which would change it.

    Raises:
        NotADatabaseError: it is something else; it was not touched.
    """
    if is_sqlite(parse_url(url)) and exists(url):
        engine = open_engine(url, write=False)
        try:
            with translated(engine), engine.connect() as connection:
                version(connection)
        finally:
            engine.dispose()


def check(engine: Engine) -> bool:
    """Tell whether the tables are there and current; False for an empty database.

    Raises:
        SchemaError: the schema is of another version.
    """
    with translated(engine), engine.connect() as connection:
        found = version(connection)
    if found is not None:
        require(found)
    return found is not None


def require(found: str) -> None:
    """Refuse a schema version that this program does not read."""
    if found < HEAD:
        raise SchemaError(
            f"the database has schema {found}, this orch needs {HEAD}; nothing was changed",
            "orch db upgrade",
        )
    if found > HEAD:
        raise SchemaError(
            f"the database has schema {found}, newer than this orch ({HEAD}); nothing was changed",
            "install the newer orch that wrote it",
        )


def upgrade(
    engine: Engine, kept: Callable[[Path], object] = lambda path: None
) -> tuple[str | None, str]:
    """Bring the schema to HEAD in one transaction; returns the versions before and after.

    An SQLite database that holds anything is first copied beside itself, while the transaction
    keeps others from writing; `kept` is told where the copy is.

    Raises:
        SchemaError: the schema is newer than this program.
        DatabaseError: the copy or the upgrade failed; nothing was changed.
    """
    with translated(engine), engine.begin() as connection:
        if not is_sqlite(engine.url):
            connection.execute(text(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"))
        before = version(connection)
        if before is not None and before > HEAD:
            require(before)
        if before != HEAD:  # another process may have been first
            if before is not None and is_sqlite(engine.url):
                kept(backup.copy_before_upgrade(Path(engine.url.database or ""), before))
            _migrate(connection)
    return before, HEAD


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "orch_db:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def version(connection: Connection) -> str | None:
    """The schema's version; None in an empty database.

    Raises:
        NotADatabaseError: it holds tables of something else.
    """
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE in tables:
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        return str(found) if found is not None else None
    if tables:
        raise NotADatabaseError(
            f"{name(connection.engine.url)} holds tables of something else "
            f"({', '.join(sorted(tables)[:3])}); it was not touched",
            "choose another with ORCH_DATABASE_URL",
        )
    return None
