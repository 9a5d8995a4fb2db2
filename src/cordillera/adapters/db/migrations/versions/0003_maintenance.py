"""What maintenance has been done to which table, and how long it took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "maintenance_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "dataset_version_id",
            sa.Uuid(),
            sa.ForeignKey("dataset_versions.id", name="fk_maintenance_runs_dataset_version_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("files_rewritten", sa.BigInteger(), nullable=False),
        sa.Column("bytes_rewritten", sa.BigInteger(), nullable=False),
        sa.Column("files_written", sa.BigInteger(), nullable=False),
        sa.Column("files_left", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_maintenance_runs"),
    )
    op.create_index("ix_maintenance_runs_version", "maintenance_runs", ["dataset_version_id", "task", "finished_at"])
    op.create_index("ix_maintenance_runs_task", "maintenance_runs", ["task", "finished_at"])
