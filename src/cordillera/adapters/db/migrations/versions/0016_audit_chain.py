"""Entries of the audit log are chained by hashes. A worker chains those that are there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the indexes that find the chain's end and what waits for its place."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("audit_entries", sa.Column("position", number))
    op.add_column("audit_entries", sa.Column("hash", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.create_index("ix_audit_entries_position", "audit_entries", ["position"], unique=True)
    waiting = sa.text("position IS NULL")
    op.create_index(
        "ix_audit_entries_waiting", "audit_entries", ["number"], postgresql_where=waiting, sqlite_where=waiting
    )
