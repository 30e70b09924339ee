"""Looks a database over: is it whole, does every row belong to something. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, ForeignKeyConstraint, Table, and_, func, inspect, select

from orch_db import connect, schema
from orch_db.connect import is_sqlite, open_engine, parse_url, translated
from orch_db.tables import Base


@dataclass(frozen=True)
class Inspection:
    """What a database is and holds; `problems` has a line for each thing that is wrong.

    `schema` is None where there is no database yet, or an empty one.
    """

    product: str
    schema: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict[str, int])
    problems: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """What to do about the problems."""
        if self.schema is None or self.schema == schema.HEAD:
            return "restore a backup of it"
        return "orch db upgrade" if self.schema < schema.HEAD else "install the newer orch"


def examine(url: str) -> Inspection:
    """Read all of a database and say what is wrong with it.

    Raises:
        DatabaseError: it cannot be read at all, or is not ours.
    """
    if not connect.exists(url):
        return Inspection("SQLite" if is_sqlite(parse_url(url)) else "PostgreSQL")
    engine = open_engine(url, write=False)
    try:
        product = connect.product(engine)
        with translated(engine), engine.connect() as connection:
            version = schema.version(connection)
            damage = _damage(connection) if is_sqlite(engine.url) else []
            if version is None or damage:
                return Inspection(product, version, {}, tuple(damage))
            return Inspection(
                product, version, _counts(connection), (*_other(version), *_orphans(connection))
            )
    finally:
        engine.dispose()


def _other(version: str) -> list[str]:
    """What is wrong with the version of the schema."""
    if version == schema.HEAD:
        return []
    return [f"the schema is {version}, this orch needs {schema.HEAD}"]


def _damage(connection: Connection) -> list[str]:
    """What SQLite finds wrong with the structure of its file, ten lines at most."""
    found = connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars()
    lines = [line for text in found for line in str(text).splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("***")]


def _present(connection: Connection) -> list[Table]:
    """Our tables, as far as the database has them: an older schema lacks some."""
    names = set(inspect(connection).get_table_names())
    return [table for table in Base.metadata.sorted_tables if table.name in names]


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in _present(connection)
    }


def _orphans(connection: Connection) -> list[str]:
    """The rows that belong to a row that is not there, counted for each foreign key."""
    found: list[str] = []
    present = {table.name for table in _present(connection)}
    for table in _present(connection):
        for key in table.foreign_key_constraints:
            if key.referred_table.name in present:
                found += _orphans_of(connection, table, key)
    return found


def _orphans_of(connection: Connection, table: Table, key: ForeignKeyConstraint) -> list[str]:
    parent = key.referred_table.alias()
    pairs = [(element.parent, parent.c[element.column.name]) for element in key.elements]
    count = connection.execute(
        select(func.count())
        .select_from(table.outerjoin(parent, and_(*(child == other for child, other in pairs))))
        .where(*(child.is_not(None) for child, _ in pairs), pairs[0][1].is_(None))
    ).scalar_one()
    return [f"{count} rows of {table.name} belong to no {key.referred_table.name}"] if count else []
