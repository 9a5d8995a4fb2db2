"""Events are sent to destinations of several kinds, of which webhooks are one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0068"
down_revision = "0055"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_NAME = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_FILTER = "description, topics, within, owner, on_behalf_of, created_at, secret_number, previous_until"
_HEALTH = "failing_since, last_delivered_at, last_error"
_DELIVERY = (
    "stream, event_number, topic, dataset, state, attempts, created_at, due_at, finished_at, trace_id, status, error, "
    "seconds"
)


def upgrade() -> None:
    """Make every webhook a destination, with what is on its way to it."""
    postgres = op.get_bind().dialect.name == "postgresql"
    made = "jsonb_build_object" if postgres else "json_object"
    _make_tables()
    op.execute(
        f"INSERT INTO destinations (id, kind, config, {_FILTER}, {_HEALTH}) "
        f"SELECT id, 'webhook', {made}('url', url), {_FILTER}, {_HEALTH} "
        "FROM webhooks"
    )
    op.execute("INSERT INTO destination_scopes (scope, destination_id) SELECT scope, webhook_id FROM webhook_scopes")
    op.execute(
        f"INSERT INTO event_deliveries (number, id, destination_id, {_DELIVERY}) "
        f"SELECT number, id, webhook_id, {_DELIVERY} FROM webhook_deliveries"
    )
    if postgres:
        op.execute(
            "SELECT setval('event_deliveries_number_seq', coalesce(max(number), 0) + 1, false) FROM event_deliveries"
        )
    for table in ("webhook_deliveries", "webhook_scopes", "webhooks"):
        op.drop_table(table)
    payload = "replace(CAST(payload AS TEXT), 'webhook_id', 'destination_id')"
    op.execute(
        "UPDATE tasks SET kind = replace(kind, 'webhook', 'destination'), "
        f"payload = {f'CAST({payload} AS JSONB)' if postgres else payload} WHERE kind IN ('webhook', 'webhook_later')"
    )
    _make_indexes()


def _make_tables() -> None:
    op.create_table(
        "destinations",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("config", _JSON, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("topics", _JSON, nullable=False),
        sa.Column("within", _JSON, nullable=False),
        sa.Column("owner", _NAME, nullable=False),
        sa.Column("on_behalf_of", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("secret_number", sa.Integer(), nullable=False),
        sa.Column("previous_until", _TIME),
        sa.Column("failing_since", _TIME),
        sa.Column("last_delivered_at", _TIME),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("disabled_at", _TIME),
    )
    op.create_table(
        "destination_scopes",
        sa.Column("scope", _NAME, primary_key=True),
        sa.Column("destination_id", sa.Uuid(), _destination(), primary_key=True),
    )
    op.create_table(
        "event_deliveries",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("destination_id", sa.Uuid(), _destination(), nullable=False),
        sa.Column("stream", _NAME, nullable=False),
        sa.Column("event_number", _NUMBER),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sqlite_autoincrement=True,
    )


def _destination() -> sa.ForeignKey:
    return sa.ForeignKey("destinations.id", ondelete="CASCADE")


def _make_indexes() -> None:
    failing, waiting = sa.text("failing_since IS NOT NULL"), sa.text("state = 'waiting'")
    op.create_index("ix_destinations_owner", "destinations", ["owner", "id"])
    op.create_index("ix_destinations_failing", "destinations", ["id"], postgresql_where=failing, sqlite_where=failing)
    op.create_index("ix_destination_scopes_destination", "destination_scopes", ["destination_id"])
    deliveries = "event_deliveries"
    op.create_index("ix_event_deliveries_id", deliveries, ["id"], unique=True)
    op.create_index("ix_event_deliveries_destination", deliveries, ["destination_id", "number"])
    op.create_index("ix_event_deliveries_state", deliveries, ["state", "destination_id", "number"])
    op.create_index(
        "ix_event_deliveries_waiting",
        deliveries,
        ["destination_id", "stream", "number"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
