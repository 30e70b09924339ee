"""Alembic's door: runs migrations on the connection that `orch_db.schema` hands over."""

from __future__ import annotations

from alembic import context

from orch_db.schema import VERSION_TABLE
from orch_db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
