"""Of the rows that deliveries put in, those that took the place of others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0063"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of earlier deliveries it is not known."""
    op.add_column("deliveries", sa.Column("rows_updated", sa.BigInteger()))
