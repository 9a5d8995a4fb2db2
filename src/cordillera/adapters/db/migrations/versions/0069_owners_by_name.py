"""What somebody owns is found by name, and so in a namespace without looking at what is not his there."""

from __future__ import annotations

from alembic import op

revision = "0069"
down_revision = "0073"
branch_labels = None
depends_on = None

_BEHIND_OWNER = {
    "namespaces": ["name"],
    "datasets": ["full_name", "namespace", "deleted_at"],
    "views": ["full_name", "namespace"],
}


def upgrade() -> None:
    """Give the indexes by owner more columns."""
    for table, columns in _BEHIND_OWNER.items():
        op.drop_index(f"ix_{table}_owner", table)
        op.create_index(f"ix_{table}_owner", table, ["owner", *columns])
