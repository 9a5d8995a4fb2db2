"""Whose turn it is to commit to a dataset version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "reservations",
        sa.Column(
            "dataset_version_id",
            sa.Uuid(),
            sa.ForeignKey("dataset_versions.id", name="fk_reservations_dataset_version_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("writer", sa.Uuid(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", name="pk_reservations"),
    )
