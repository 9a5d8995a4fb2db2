"""Triggers of jobs: which partitions of their inputs runs need, which partitions concern them, and what waits for what
is the same for all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0043"
down_revision = "0047"
branch_labels = None
depends_on = None

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what is new; jobs so far run for the partitions of their inputs, whichever they are."""
    nothing = sa.text("'{}'")
    op.add_column("jobs", sa.Column("trigger", Json, nullable=False, server_default=nothing))
    op.add_column("runs", sa.Column("input_snapshots", Json, nullable=False, server_default=nothing))
    _renew_inputs()
    op.create_table(
        "job_waits",
        _job_id("job_waits"),
        sa.Column("partition", Name, nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("needed", Name, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "partition", "dataset", name="pk_job_waits"),
    )
    op.create_index("ix_job_waits_dataset", "job_waits", ["dataset", "needed", "job_id", "partition"])


def _renew_inputs() -> None:
    """Make the table of inputs anew: SQLite changes no primary key."""
    op.execute("CREATE TABLE job_inputs_before AS SELECT job_id, dataset FROM job_inputs")
    op.drop_table("job_inputs")
    op.create_table(
        "job_inputs",
        _job_id("job_inputs"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("partition", Name, nullable=False),
        sa.Column("standing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "dataset", "partition", name="pk_job_inputs"),
    )
    op.execute(
        "INSERT INTO job_inputs (job_id, dataset, partition, standing) "
        "SELECT job_id, dataset, '', false FROM job_inputs_before"
    )
    op.drop_table("job_inputs_before")
    op.create_index("ix_job_inputs_dataset", "job_inputs", ["dataset", "partition", "job_id"])


def _job_id(table: str) -> sa.Column[object]:
    key = sa.ForeignKey("jobs.id", name=f"fk_{table}_job_id", ondelete="CASCADE")
    return sa.Column("job_id", sa.Uuid(), key, nullable=False)
