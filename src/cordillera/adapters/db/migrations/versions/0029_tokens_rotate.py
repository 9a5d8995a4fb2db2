"""Tokens can be for reading alone, and get a new secret beside which the old one holds for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; tokens so far are for everything, and have one secret."""
    op.add_column("tokens", sa.Column("read_only", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("tokens", sa.Column("previous_hash", sa.Text()))
    op.add_column("tokens", sa.Column("previous_until", sa.DateTime(timezone=True)))
    op.create_index("ix_tokens_previous_hash", "tokens", ["previous_hash"])
