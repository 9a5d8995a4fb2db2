"""Events get a place among those that were handled, by which they are followed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was handled already keeps the order of its numbers."""
    op.add_column("events", sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.execute("UPDATE events SET position = number WHERE handled_at IS NOT NULL")
    op.create_index("ix_events_position", "events", ["position"], unique=True)
