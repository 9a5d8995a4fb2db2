"""Of deliveries that put partitions anew, how many; of all, why they brought what they did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0071"
down_revision = "0074"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of earlier deliveries it is not known."""
    op.add_column("deliveries", sa.Column("partitions", sa.BigInteger()))
    op.add_column("deliveries", sa.Column("why", sa.Text()))
