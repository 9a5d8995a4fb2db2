"""Completion rules: when partitions are complete, said once, and what is known of each partition meanwhile."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "completion_rules",
        _version_id("completion_rules"),
        sa.Column("rule", Json, nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("on_behalf_of", sa.Text(), nullable=False),
        sa.Column("cursor_sequence", sa.BigInteger()),
        sa.Column("watermark", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", name="pk_completion_rules"),
    )
    op.create_table(
        "completion_upstreams",
        _version_id("completion_upstreams"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "dataset", name="pk_completion_upstreams"),
    )
    op.create_index("ix_completion_upstreams_dataset", "completion_upstreams", ["dataset", "dataset_version_id"])
    op.create_table(
        "partition_states",
        _version_id("partition_states"),
        sa.Column("partition", Name, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("totals", Json, nullable=False),
        sa.Column("changed_sequence", sa.BigInteger(), nullable=False),
        sa.Column("announced_rows", sa.BigInteger()),
        sa.Column("announced_totals", Json, nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "partition", name="pk_partition_states"),
    )
    for column in ("open", "due"):
        condition = sa.text(column)
        op.create_index(
            f"ix_partition_states_{column}",
            "partition_states",
            ["dataset_version_id", "partition"],
            postgresql_where=condition,
            sqlite_where=condition,
        )


def _version_id(table: str) -> sa.Column[object]:
    key = sa.ForeignKey("dataset_versions.id", name=f"fk_{table}_dataset_version_id", ondelete="CASCADE")
    return sa.Column("dataset_version_id", sa.Uuid(), key, nullable=False)
