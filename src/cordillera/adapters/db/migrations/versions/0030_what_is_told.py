"""What is told to those who see less than all: what granted objects were called then, and kinds of errors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_NAMES = {"namespace": ("namespaces", "name"), "dataset": ("datasets", "full_name"), "view": ("views", "full_name"),
          "target": ("targets", "name")}  # fmt: skip


def upgrade() -> None:
    """Add the columns. Grants so far have the name that their object has now."""
    empty = sa.text("''")
    op.add_column("grants", sa.Column("granted_name", sa.Text(), nullable=False, server_default=empty))
    op.add_column("runs", sa.Column("error_code", sa.Text(), nullable=False, server_default=empty))
    op.add_column("subscriptions", sa.Column("error_code", sa.Text(), nullable=False, server_default=empty))
    for kind, (table, name) in _NAMES.items():
        named = f"SELECT {name} FROM {table} WHERE {table}.id = grants.securable_id"
        op.execute(f"UPDATE grants SET granted_name = COALESCE(({named}), '') WHERE kind = '{kind}'")
