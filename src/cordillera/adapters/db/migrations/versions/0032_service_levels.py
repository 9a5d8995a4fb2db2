"""How dataset versions stand to their promises about time is kept, so that each change of it is told once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; every dataset version that has a contract is looked at once a worker runs."""
    op.create_table(
        "service_levels",
        sa.Column(
            "dataset_version_id",
            sa.Uuid(),
            sa.ForeignKey("dataset_versions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True)),
        sa.Column("contract_revision", sa.Integer(), nullable=False),
    )
    op.create_index("ix_service_levels_state", "service_levels", ["state"])
    op.create_index(
        "ix_service_levels_due",
        "service_levels",
        ["look_at"],
        postgresql_where=sa.text("look_at IS NOT NULL"),
        sqlite_where=sa.text("look_at IS NOT NULL"),
    )
    op.execute(
        "INSERT INTO service_levels (dataset_version_id, state, partition, since, look_at, contract_revision) "
        "SELECT dataset_version_id, 'unpromised', '', max(put_at), max(put_at), 0 "
        "FROM contracts GROUP BY dataset_version_id"
    )
