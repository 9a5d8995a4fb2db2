"""The lake's own keys follow one another: each has an id, and an end once another signs in its place."""

from __future__ import annotations

from uuid import UUID, uuid4

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table anew, since SQLite changes no primary key; the keys there are go on signing."""
    keys = [dict(row) for row in op.get_bind().execute(sa.select(*_table().c)).mappings()]
    op.drop_table("signing_keys")
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retires_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_signing_keys_purpose", "signing_keys", ["purpose"])
    op.create_index(
        "ix_signing_keys_active",
        "signing_keys",
        ["purpose"],
        unique=True,
        postgresql_where=sa.text("retires_at IS NULL"),
        sqlite_where=sa.text("retires_at IS NULL"),
    )
    if keys:
        op.bulk_insert(_table(sa.column("id", sa.Uuid())), [{**key, "id": uuid4()} for key in keys])


def _table(*more: sa.ColumnClause[UUID]) -> sa.TableClause:
    """Return the table as it was, with what is new in it."""
    return sa.table(
        "signing_keys",
        *more,
        sa.column("purpose", sa.Text()),
        sa.column("secret", sa.Text()),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
