"""Attempts of trials; who runs a sweep, what is asked of it, why it stopped, where it came from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("reason", "parent", "request", "holder"):
        op.add_column("sweeps", sa.Column(name, sa.String))
    op.add_column("sweeps", sa.Column("held_until", sa.Double))
    op.create_table(
        "attempts",
        sa.Column("trial_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("sweep_id", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("ended_at", sa.String),
        sa.Column("failure_kind", sa.String),
        sa.Column("failure_message", sa.String),
        sa.PrimaryKeyConstraint("trial_id", "attempt", name="pk_attempts"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_attempts_trial_id"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_attempts_sweep_id"),
    )
    op.create_index("ix_attempts_sweep_id", "attempts", ["sweep_id"])


def downgrade() -> None:
    op.drop_table("attempts")
    for name in ("held_until", "holder", "request", "parent", "reason"):
        op.drop_column("sweeps", name)
