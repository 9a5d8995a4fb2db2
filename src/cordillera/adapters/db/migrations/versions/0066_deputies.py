"""Owners have deputies, and what a deputy gave says in whose place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0066"
down_revision = "0065"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_TIME = sa.DateTime(timezone=True)
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table, and to grants whose deputy gave them."""
    op.create_table(
        "deputies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", _NAME, nullable=False),
        sa.Column("deputy", _NAME, nullable=False),
        sa.Column("duties", _JSON, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("securable_id", sa.Uuid(), nullable=False),
        sa.Column("named_object", sa.Text(), nullable=False),
        sa.Column("starts_at", _TIME, nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("named_by", sa.Text(), nullable=False),
        sa.Column("named_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deputies"),
    )
    op.create_index("ix_deputies_deputy", "deputies", ["deputy", "ends_at"])
    op.create_index("ix_deputies_owner", "deputies", ["owner", "ends_at"])
    op.create_index("ix_deputies_object", "deputies", ["securable_id"])
    op.add_column("grants", sa.Column("deputy_of", _JSON, nullable=False, server_default="[]"))
