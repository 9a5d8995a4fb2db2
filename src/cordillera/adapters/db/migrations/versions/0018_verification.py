"""What comparing targets with the lake found, and how often they are compared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing that exists has been compared yet."""
    op.add_column("subscriptions", sa.Column("verify_every_seconds", sa.Integer()))
    op.add_column(
        "subscriptions", sa.Column("equality", sa.Text(), nullable=False, server_default=sa.text("'unproven'"))
    )
    op.add_column("subscriptions", sa.Column("verified_at", sa.DateTime(timezone=True)))
    op.add_column("subscriptions", sa.Column("verified_sequence", sa.BigInteger()))
    op.add_column("subscriptions", sa.Column("drift", sa.Text(), nullable=False, server_default=sa.text("''")))
