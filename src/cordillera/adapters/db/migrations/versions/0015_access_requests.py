"""Access requests, who has to approve each, and the rules that say so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0016"
branch_labels = None
depends_on = None

_NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "access_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("requester", _NAME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("securable_id", sa.Uuid(), nullable=False),
        sa.Column("asked_name", sa.Text(), nullable=False),
        sa.Column("privileges", _JSON, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("granted", _JSON, nullable=False),
        sa.Column("granted_days", sa.Integer(), nullable=False),
        sa.Column("approvers", _JSON, nullable=False),
        sa.Column("waiting_for", _JSON, nullable=False),
        sa.Column("requested_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("due_at", _MOMENT),
        sa.Column("steps", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_requests"),
    )
    _index("ix_access_requests_open", ["requester", "securable_id"], unique=True, where="state = 'requested'")
    _index("ix_access_requests_waiting", ["requested_at", "id"], where="state = 'requested'")
    _index("ix_access_requests_requester", ["requester", "requested_at", "id"])
    _index("ix_access_requests_object", ["securable_id", "requested_at", "id"])
    _index("ix_access_requests_time", ["requested_at", "id"])
    _index("ix_access_requests_state", ["state", "requested_at", "id"])
    _index("ix_access_requests_due", ["due_at"], where="due_at IS NOT NULL")
    op.create_table(
        "access_approvers",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("approver", _NAME, nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "approver", name="pk_access_approvers"),
        sa.ForeignKeyConstraint(
            ["request_id"], ["access_requests.id"], name="fk_access_approvers_request_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_access_approvers_approver", "access_approvers", ["approver", "request_id"])
    op.create_table(
        "approval_rules",
        sa.Column("tag_expression", _NAME, nullable=False),
        sa.Column("approver", _NAME, nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tag_expression", "approver", name="pk_approval_rules"),
    )


def _index(name: str, columns: list[str], *, unique: bool = False, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, "access_requests", columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
