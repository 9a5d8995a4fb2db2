"""Tables of events, the audit log, tasks, maintenance and scans."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata, version_key
from cordillera.adapters.db.types import Choice, Json, Name, Number, UtcDateTime
from cordillera.spec.event import Topic
from cordillera.spec.maintenance import MaintenanceTask
from cordillera.spec.scan_statistics import MEASURES, ColumnUse

events = Table(
    "events",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("topic", Choice(Topic), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("principal", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("dataset_version_id", Uuid),
    Column("payload", Json, nullable=False),
    Column("handled_at", UtcDateTime),
    Column("position", Number),
    index("ix_events_position", "position", unique=True),
    index("ix_events_dataset", "dataset", "dataset_version_id", "number"),
    index("ix_events_version", "dataset_version_id", "number", where="dataset_version_id IS NOT NULL"),
    index("ix_events_name", "dataset", "number", where="dataset_version_id IS NULL"),
    index("ix_events_waiting", "number", where="handled_at IS NULL"),
    index("ix_events_waiting_version", "dataset_version_id", "number", where="handled_at IS NULL"),
    sqlite_autoincrement=True,
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_kind", Text, nullable=False),
    Column("object_name", Text, nullable=False),
    Column("details", Json, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("position", Number),
    Column("hash", Text, nullable=False, server_default=sa.text("''")),
    index("ix_audit_entries_object", "object_name", "number"),
    index("ix_audit_entries_position", "position", unique=True),
    index("ix_audit_entries_waiting", "number", where="position IS NULL"),
    sqlite_autoincrement=True,
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("payload", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("leased_by", Text, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("fencing_token", BigInteger, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("target", Text, nullable=False, server_default=sa.text("''")),
    index("ix_tasks_target", "target", where="state = 'running' AND target <> ''"),
    index("ix_tasks_queued", "kind", "key", unique=True, where="state = 'queued'"),
    index("ix_tasks_running", "kind", "key", unique=True, where="state = 'running'"),
    index("ix_tasks_failed", "kind", "key", where="state = 'failed'"),
    index("ix_tasks_due", "kind", "due_at", "id", where="state <> 'failed'"),
    index("ix_tasks_state", "state", "id"),
)

maintenance_runs = Table(
    "maintenance_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dataset_version_id", Uuid, ForeignKey("dataset_versions.id", ondelete="CASCADE"), nullable=False),
    Column("task", Choice(MaintenanceTask), nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("files_rewritten", BigInteger, nullable=False),
    Column("bytes_rewritten", BigInteger, nullable=False),
    Column("files_written", BigInteger, nullable=False),
    Column("files_left", BigInteger, nullable=False),
    index("ix_maintenance_runs_version", "dataset_version_id", "task", "finished_at"),
    index("ix_maintenance_runs_task", "task", "finished_at"),
)

scan_statistics = Table(
    "scan_statistics",
    metadata,
    version_key(),
    Column("day", sa.Date, primary_key=True),
    Column("column_id", Integer, primary_key=True, autoincrement=False),
    Column("use", Choice(ColumnUse), primary_key=True),
    *(Column(name, Float if name == "fraction" else BigInteger, nullable=False) for name in MEASURES),
    index("ix_scan_statistics_day", "day"),
)

reads = Table(
    "reads",
    metadata,
    version_key(),
    Column("day", sa.Date, primary_key=True),
    Column("principal", Name, primary_key=True),
    Column("reads", BigInteger, nullable=False),
    Column("bytes_read", BigInteger, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    index("ix_reads_day", "day"),
)
