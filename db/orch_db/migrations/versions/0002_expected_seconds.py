"""What a sweep was expected to take."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("expected_seconds", sa.Double))


def downgrade() -> None:
    op.drop_column("sweeps", "expected_seconds")
