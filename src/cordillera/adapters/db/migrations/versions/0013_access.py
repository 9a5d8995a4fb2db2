"""Grants, memberships of groups and roles, and policy tags; whose privileges subscriptions and jobs need.

Until now a token could do everything. So that nobody is locked out, everybody who has a token administers the lake, and
subscriptions and jobs go on as the operator's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_LAKE = UUID(int=0)
_KINDS = ("user:", "service:", "group:", "role:")


def upgrade() -> None:
    """Create the tables, and the grants of those who have tokens."""
    grants = op.create_table(
        "grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("principal", _NAME, nullable=False),
        sa.Column("privilege", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("securable_id", sa.Uuid(), nullable=False),
        sa.Column("tag_expression", sa.Text(), nullable=False),
        sa.Column("grant_option", sa.Boolean(), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
    )
    same = ["principal", "privilege", "kind", "securable_id", "tag_expression"]
    op.create_index("ix_grants_same", "grants", same, unique=True)
    op.create_index("ix_grants_object", "grants", ["securable_id", "principal"])
    wide = sa.text("kind = 'lake' OR tag_expression <> ''")
    op.create_index("ix_grants_wide", "grants", ["principal"], postgresql_where=wide, sqlite_where=wide)
    op.create_table(
        "memberships",
        sa.Column("container", _NAME, nullable=False),
        sa.Column("member", _NAME, nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("container", "member", name="pk_memberships"),
    )
    op.create_index("ix_memberships_member", "memberships", ["member", "container"])
    op.create_table(
        "policy_tags",
        sa.Column("securable_id", sa.Uuid(), nullable=False),
        sa.Column("column_name", _NAME, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("securable_id", "column_name", "name", name="pk_policy_tags"),
    )
    for table in ("datasets", "namespaces", "targets", "views"):
        op.create_index(f"ix_{table}_owner", table, ["owner"])
    for table in ("subscriptions", "jobs"):
        op.add_column(table, sa.Column("on_behalf_of", sa.Text(), nullable=False, server_default=sa.text("''")))
    _let_token_holders_go_on(grants)


def _let_token_holders_go_on(grants: sa.Table) -> None:
    held = op.get_bind().execute(sa.text("SELECT DISTINCT principal FROM tokens ORDER BY 1")).scalars()
    principals = {name if name.startswith(_KINDS) else f"user:{name}" for name in held}
    now = datetime.now(UTC)
    rows = [
        {
            "id": uuid4(),
            "principal": principal,
            "privilege": "administer",
            "kind": "lake",
            "securable_id": _LAKE,
            "tag_expression": "",
            "grant_option": False,
            "granted_by": "upgrade",
            "granted_at": now,
            "expires_at": None,
            "reason": "had a token before there were grants",
        }
        for principal in sorted(principals)
    ]
    if rows:
        op.bulk_insert(grants, rows)
