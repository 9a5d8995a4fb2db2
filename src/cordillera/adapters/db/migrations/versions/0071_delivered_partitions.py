"""Of deliveries that put partitions anew, how many."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0071"
down_revision = "0074"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; earlier deliveries were of another kind."""
    op.add_column("deliveries", sa.Column("partitions", sa.BigInteger()))
