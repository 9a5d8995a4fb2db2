"""Snapshots say which branch they are on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every snapshot there is lies on main."""
    op.add_column("snapshots", sa.Column("branch", sa.Text(), nullable=False, server_default="main"))
    op.drop_index("ix_snapshots_time", "snapshots")
    op.create_index(
        "ix_snapshots_time", "snapshots", ["dataset_version_id", "branch", "committed_at", "sequence_number"]
    )
    op.create_index("ix_snapshots_branch", "snapshots", ["dataset_version_id", "branch", "sequence_number"])
