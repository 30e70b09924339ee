"""The version of the schema: read, check, upgrade."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from orch_db.connect import database_file, exists, open_engine, translated
from orch_db.errors import NotADatabaseError, SchemaError

HEAD = "0003"
VERSION_TABLE = "orch_schema"


def prepare(engine: Engine) -> None:
    """Create the tables in an empty database; refuse one that is older, newer or not ours.

    Raises:
        SchemaError: the schema is of another version; the message says what to do.
        NotADatabaseError: the database holds tables of something else; it was not touched.
    """
    with translated(engine):
        with engine.connect() as connection:
            found = _version(connection)
        if found is None:
            upgrade(engine)
        else:
            require(found)


def refuse_foreign(url: str) -> None:
    """Look at an existing database before it is opened for writing, which would change it.

    Raises:
        NotADatabaseError: it is something else; it was not touched.
    """
    path = database_file(url)
    if exists(path):
        engine = open_engine(url, write=False)
        try:
            with translated(engine), engine.connect() as connection:
                _version(connection)
        finally:
            engine.dispose()


def check(engine: Engine) -> bool:
    """Tell whether the tables are there and current; False for an empty database.

    Raises:
        SchemaError: the schema is of another version.
    """
    with translated(engine), engine.connect() as connection:
        found = _version(connection)
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


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the schema to HEAD in one transaction; returns the versions before and after."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "orch_db:migrations")
    config.set_main_option("path_separator", "os")
    with translated(engine), engine.begin() as connection:
        before = _version(connection)
        if before is not None and before > HEAD:
            require(before)
        if before != HEAD:  # another process may have been first
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
    return before, HEAD


def _version(connection: Connection) -> str | None:
    """The schema's version; None in an empty database."""
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE in tables:
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        return str(found) if found is not None else None
    if tables:
        raise NotADatabaseError(
            f"{connection.engine.url.database} holds tables of something else "
            f"({', '.join(sorted(tables)[:3])}); it was not touched",
            "choose another with ORCH_DATABASE_URL",
        )
    return None
