"""Jobs are found by who owns them and on whose behalf they run: a list for somebody who sees little goes by that."""

from __future__ import annotations

from alembic import op

revision = "0079"
down_revision = "0078"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("ix_jobs_owner", "jobs", ["owner", "name"])
    op.create_index("ix_jobs_on_behalf_of", "jobs", ["on_behalf_of", "name"])
