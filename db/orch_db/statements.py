"""SQL that both databases are told in their own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, and_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Double

from orch_db.tables import Base

LONGEST_HOLD = 600.0  # seconds; a deadline further off was set before the clock was put back


class Instant(GenericFunction[float]):
    """Seconds since 1970 by the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(Instant, "sqlite")
def _on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Instant, "postgresql")
def _on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) AS double precision)"


def insert_once(connection: Connection, table: type[Base], row: Mapping[str, Any]) -> None:
    """Insert a row unless one with its key is there."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement: Insert = dialect.insert(table).values(dict(row)).on_conflict_do_nothing()
    connection.execute(statement)


def alive(deadline: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    """True while a hold lasts, before its deadline: in the same millisecond it is over."""
    return and_(deadline.is_not(None), deadline > Instant(), deadline <= Instant() + LONGEST_HOLD)
