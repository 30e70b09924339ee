"""First tables: sweeps, trials, epochs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("backbone", sa.String, nullable=False),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("direction", sa.String, nullable=False),
        sa.Column("board", sa.String, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("git_commit", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("finished_at", sa.String),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
    )
    for column in ("dataset", "board", "created_at"):
        op.create_index(f"ix_sweeps_{column}", "sweeps", [column])
    op.create_table(
        "trials",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("sweep_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("board", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("cut", sa.String),
        sa.Column("score", sa.Double),
        sa.Column("best_epoch", sa.Integer),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("failure_kind", sa.String),
        sa.Column("failure_message", sa.String),
        sa.Column("traceback", sa.String),
        sa.Column("worker", sa.String),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("started_at", sa.String),
        sa.Column("finished_at", sa.String),
        sa.Column("seconds", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_trials_sweep_id"),
        sa.UniqueConstraint("sweep_id", "number", name="uq_trials_sweep_id_number"),
    )
    op.create_index("ix_trials_board_score_id", "trials", ["board", "score", "id"])
    op.create_table(
        "epochs",
        sa.Column("trial_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("reported_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "attempt", "epoch", name="pk_epochs"),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name="fk_epochs_trial_id"),
    )
