"""Events of a dataset are found by its dataset versions: a list goes by those that somebody sees."""

from __future__ import annotations

from alembic import op

revision = "0080"
down_revision = "0079"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index anew."""
    op.drop_index("ix_events_dataset", "events")
    op.create_index("ix_events_dataset", "events", ["dataset", "dataset_version_id", "number"])
