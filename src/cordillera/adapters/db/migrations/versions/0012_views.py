"""Views, and one name for each dataset or view."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; the datasets there are have their names already."""
    name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    op.create_table(
        "views",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("namespace", name, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("full_name", name, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("metadata_location", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["namespace"], ["namespaces.name"], name="fk_views_namespace"),
        sa.PrimaryKeyConstraint("id", name="pk_views"),
    )
    op.create_index("ix_views_namespace", "views", ["namespace"])
    op.create_index("ix_views_full_name", "views", ["full_name"], unique=True)
    op.create_table(
        "taken_names",
        sa.Column("full_name", name, nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("full_name", name="pk_taken_names"),
    )
    op.create_index("ix_taken_names_object", "taken_names", ["object_id"], unique=True)
    op.execute(
        "INSERT INTO taken_names (full_name, object_id) SELECT full_name, id FROM datasets WHERE deleted_at IS NULL"
    )
