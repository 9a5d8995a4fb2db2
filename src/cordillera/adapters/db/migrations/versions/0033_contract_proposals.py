"""Breaking changes of contracts are proposed to those they concern before they take effect."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "contract_proposals",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column(
            "dataset_version_id",
            sa.Uuid(),
            sa.ForeignKey("dataset_versions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("base_revision", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("consumers", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text(), nullable=False),
    )
    op.create_index("ix_contract_proposals_version", "contract_proposals", ["dataset_version_id", "proposed_at", "id"])
    for name, column, unique, condition in (
        ("open", "dataset_version_id", True, "state = 'open'"),
        ("due", "due_at", False, "due_at IS NOT NULL"),
    ):
        op.create_index(
            f"ix_contract_proposals_{name}",
            "contract_proposals",
            [column],
            unique=unique,
            postgresql_where=sa.text(condition),
            sqlite_where=sa.text(condition),
        )
