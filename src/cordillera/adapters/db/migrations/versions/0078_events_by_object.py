"""Events are found by what they are about: a list for somebody who sees little goes by that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0078"
down_revision = "0077"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    for index, column, where in (
        ("ix_events_version", "dataset_version_id", sa.text("dataset_version_id IS NOT NULL")),
        ("ix_events_name", "dataset", sa.text("dataset_version_id IS NULL")),
    ):
        op.create_index(index, "events", [column, "number"], sqlite_where=where, postgresql_where=where)
