"""What works on the catalog: subscriptions, jobs, lineage, tokens, the outbox, the audit log, tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Instant = sa.DateTime(timezone=True)
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    _create_subscriptions()
    _create_workflows()
    _create_lineage_and_access()
    _create_operations()


def _create_subscriptions() -> None:
    op.create_table(
        "targets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_targets"),
    )
    _index("ix_targets_name", "targets", ["name"], unique=True)
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "dataset_id",
            sa.Uuid(),
            sa.ForeignKey("datasets.id", name="fk_subscriptions_dataset_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("dataset_version_id", sa.Uuid(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("columns", Json, nullable=False),
        sa.Column("row_filter", sa.Text(), nullable=False),
        sa.Column("target", Name, nullable=False),
        sa.Column("target_table", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cursor_sequence", sa.BigInteger()),
        sa.Column("cursor_schema_id", sa.Integer()),
        sa.Column("rows_delivered", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", Instant),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
    )
    _index("ix_subscriptions_dataset", "subscriptions", ["dataset_id", "id"])
    _index("ix_subscriptions_state", "subscriptions", ["state", "id"])
    _index(
        "ix_subscriptions_table", "subscriptions", ["target", "target_table"], unique=True, where="state <> 'revoked'"
    )
    _index("ix_subscriptions_target", "subscriptions", ["target", "id"])


def _create_workflows() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("sql", sa.Text(), nullable=False),
        sa.Column("inputs", Json, nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("output_condition", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    _index("ix_jobs_name", "jobs", ["name"], unique=True)
    op.create_table(
        "job_inputs",
        sa.Column(
            "job_id",
            sa.Uuid(),
            sa.ForeignKey("jobs.id", name="fk_job_inputs_job_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "dataset", name="pk_job_inputs"),
    )
    _index("ix_job_inputs_dataset", "job_inputs", ["dataset", "job_id"])
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "job_id", sa.Uuid(), sa.ForeignKey("jobs.id", name="fk_runs_job_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("partition", Name, nullable=False),
        sa.Column("input_revisions", Json, nullable=False),
        sa.Column("input_state", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("output_sequence", sa.BigInteger()),
        sa.Column("rows_written", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("started_at", Instant),
        sa.Column("finished_at", Instant),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    _index("ix_runs_inputs", "runs", ["job_id", "partition", "input_state"], unique=True)
    _index("ix_runs_job", "runs", ["job_id", "created_at", "id"])
    _index("ix_runs_job_state", "runs", ["job_id", "state", "created_at", "id"], where="state <> 'succeeded'")
    _index("ix_runs_partition", "runs", ["partition", "created_at", "id"])
    _index("ix_runs_state", "runs", ["state", "created_at", "id"], where="state <> 'succeeded'")
    _index("ix_runs_time", "runs", ["created_at", "id"])
    _index("ix_runs_unfinished", "runs", ["job_id", "state"], where="state IN ('queued', 'running')")
    op.create_table(
        "run_totals",
        sa.Column(
            "job_id",
            sa.Uuid(),
            sa.ForeignKey("jobs.id", name="fk_run_totals_job_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "state", name="pk_run_totals"),
    )


def _create_lineage_and_access() -> None:
    op.create_table(
        "lineage_edges",
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("source_name", Name, nullable=False),
        sa.Column("sink_kind", sa.Text(), nullable=False),
        sa.Column("sink_name", Name, nullable=False),
        sa.Column("columns", Json, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("source_kind", "source_name", "sink_kind", "sink_name", name="pk_lineage_edges"),
    )
    _index("ix_lineage_edges_downstream", "lineage_edges", ["source_kind", "source_name", "sink_name", "sink_kind"])
    _index("ix_lineage_edges_upstream", "lineage_edges", ["sink_kind", "sink_name", "source_name", "source_kind"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant),
        sa.Column("last_used_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    _index("ix_tokens_hash", "tokens", ["hash"], unique=True)
    _index("ix_tokens_name", "tokens", ["principal", "name"], unique=True)


def _create_operations() -> None:
    op.create_table(
        "events",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("dataset_version_id", sa.Uuid()),
        sa.Column("payload", Json, nullable=False),
        sa.Column("handled_at", Instant),
        sa.PrimaryKeyConstraint("number", name="pk_events"),
        sqlite_autoincrement=True,
    )
    _index("ix_events_dataset", "events", ["dataset", "number"])
    _index("ix_events_waiting", "events", ["number"], where="handled_at IS NULL")
    _index("ix_events_waiting_version", "events", ["dataset_version_id", "number"], where="handled_at IS NULL")
    op.create_table(
        "audit_entries",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_name", sa.Text(), nullable=False),
        sa.Column("details", Json, nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_entries"),
        sqlite_autoincrement=True,
    )
    _index("ix_audit_entries_object", "audit_entries", ["object_name", "number"])
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("leased_by", sa.Text(), nullable=False),
        sa.Column("lease_until", Instant),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )
    _index("ix_tasks_due", "tasks", ["kind", "due_at", "id"], where="state <> 'failed'")
    _index("ix_tasks_failed", "tasks", ["kind", "key"], where="state = 'failed'")
    _index("ix_tasks_queued", "tasks", ["kind", "key"], unique=True, where="state = 'queued'")
    _index("ix_tasks_running", "tasks", ["kind", "key"], unique=True, where="state = 'running'")
    _index("ix_tasks_state", "tasks", ["state", "id"])


def _index(name: str, table: str, columns: list[str], *, unique: bool = False, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
