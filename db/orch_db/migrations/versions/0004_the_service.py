"""The service: its queue, schedules and their fires, who leads, what is to be told to whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=False)


def upgrade() -> None:
    _create_jobs()
    _create_schedules()
    _create_notices()


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        text("sweep_id"),
        text("state"),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("flags", sa.JSON, nullable=False),
        sa.Column("after", sa.String),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("service", sa.String),
        sa.Column("held_until", sa.Double),
        sa.Column("process", sa.String),
        sa.Column("exit_code", sa.Integer),
        sa.Column("message", sa.String),
        text("created_at"),
        sa.Column("started_at", sa.String),
        sa.Column("finished_at", sa.String),
        sa.PrimaryKeyConstraint("sweep_id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_jobs_sweep_id"),
    )
    op.create_index(
        "ix_jobs_state_priority_created_at", "jobs", ["state", "priority", "created_at"]
    )


def _create_schedules() -> None:
    op.create_table(
        "schedules",
        *map(text, ("id", "name", "cron", "timezone")),
        sa.Column("words", sa.JSON, nullable=False),
        *map(text, ("overlap", "catch_up", "mode")),
        sa.Column("window_seconds", sa.Double, nullable=False),
        sa.Column("jitter_seconds", sa.Double, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("until", sa.String),
        text("state"),
        sa.Column("blocked", sa.String),
        text("decided_until"),
        sa.Column("sweep_id", sa.String),
        text("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
        sa.UniqueConstraint("name", name="uq_schedules_name"),
    )
    op.create_table(
        "fires",
        *map(text, ("schedule_id", "due_at", "state")),
        sa.Column("reason", sa.String),
        sa.Column("late_seconds", sa.Double, nullable=False),
        sa.Column("instants", sa.Integer, nullable=False),
        sa.Column("sweep_id", sa.String),
        sa.Column("fingerprint", sa.String),
        text("created_at"),
        sa.PrimaryKeyConstraint("schedule_id", "due_at", name="pk_fires"),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedules.id"], name="fk_fires_schedule_id"),
    )


def _create_notices() -> None:
    op.create_table(
        "leaders",
        *map(text, ("name", "holder")),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("held_until", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leaders"),
    )
    op.create_table(
        "notices",
        *map(text, ("id", "event", "target")),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("error", sa.String),
        text("created_at"),
        sa.Column("delivered_at", sa.String),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )
    op.create_index("ix_notices_delivered_at_next_at", "notices", ["delivered_at", "next_at"])


def downgrade() -> None:
    for name in ("notices", "leaders", "fires", "schedules", "jobs"):
        op.drop_table(name)
