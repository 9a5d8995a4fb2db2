"""The contract in force, in the row that every commit changes: one that was held to another does not come through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0074"
down_revision = "0067"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and fill it for the dataset versions that have a contract."""
    op.add_column("dataset_versions", sa.Column("contract_revision", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        sa.text(
            "UPDATE dataset_versions SET contract_revision = "
            "(SELECT max(revision) FROM contracts WHERE dataset_version_id = dataset_versions.id) "
            "WHERE id IN (SELECT dataset_version_id FROM contracts)"
        )
    )
