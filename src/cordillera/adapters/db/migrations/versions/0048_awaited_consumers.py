"""Open proposals are found by those they wait for."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0048"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, with those whom open proposals wait for now."""
    made = op.create_table(
        "awaited_consumers",
        sa.Column(
            "proposal_id", sa.Uuid(), sa.ForeignKey("contract_proposals.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("consumer", sa.Text(), primary_key=True),
    )
    op.create_index("ix_awaited_consumers_consumer", "awaited_consumers", ["consumer", "proposal_id"])
    proposals = sa.table(
        "contract_proposals",
        sa.column("id", sa.Uuid()),
        sa.column("state", sa.Text()),
        sa.column("consumers", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
    )
    found = op.get_bind().execute(sa.select(proposals.c.id, proposals.c.consumers).where(proposals.c.state == "open"))
    rows: list[dict[str, Any]] = [
        {"proposal_id": proposal_id, "consumer": consumer}
        for proposal_id, asked in found
        for consumer in dict.fromkeys(one["consumer"] for one in asked if one["acknowledged_at"] is None)
    ]
    if rows:
        op.bulk_insert(made, rows)
