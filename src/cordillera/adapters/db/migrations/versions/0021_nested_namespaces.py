"""Namespaces can be within others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those there are are in the lake itself."""
    name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    op.create_table(
        "enclosing_namespaces",
        sa.Column("namespace", name, sa.ForeignKey("namespaces.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("distance", sa.Integer(), primary_key=True),
        sa.Column("outer", name, nullable=False),
    )
    op.create_index("ix_enclosing_namespaces_outer", "enclosing_namespaces", ["outer", "distance", "namespace"])
    for distance, outer in ((0, "name"), (1, "''")):
        op.execute(
            'INSERT INTO enclosing_namespaces (namespace, distance, "outer") '
            f"SELECT name, {distance}, {outer} FROM namespaces"
        )
    for table, columns in (("datasets", ["namespace", "full_name", "id"]), ("views", ["namespace", "full_name"])):
        op.drop_index(f"ix_{table}_namespace", table)
        op.create_index(f"ix_{table}_namespace", table, columns)
