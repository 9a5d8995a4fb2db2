"""Tasks tell which target they work on, so that none is given too much at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, also to tasks that wait; an empty one counts for no target."""
    op.add_column("tasks", sa.Column("target", sa.Text(), nullable=False, server_default=sa.text("''")))
    where = sa.text("state = 'running' AND target <> ''")
    op.create_index("ix_tasks_target", "tasks", ["target"], postgresql_where=where, sqlite_where=where)
