"""Tables of jobs, runs and lineage."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata
from cordillera.adapters.db.types import Choice, Json, Name, Texts, Trigger, UtcDateTime
from cordillera.spec.lineage import NodeKind
from cordillera.spec.workflow import RunState

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Name, nullable=False),
    Column("sql", Text, nullable=False),
    Column("inputs", Texts, nullable=False),
    Column("output", Text, nullable=False),
    Column("output_condition", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("on_behalf_of", Text, nullable=False, server_default=sa.text("''")),
    Column("trigger", Trigger, nullable=False, server_default=sa.text("'{}'")),
    index("ix_jobs_name", "name", unique=True),
    index("ix_jobs_output", "output", "name"),
    index("ix_jobs_owner", "owner", "name"),
    index("ix_jobs_on_behalf_of", "on_behalf_of", "name"),
)

# The partitions of datasets whose completions concern a job; an empty label stands for all. What is standing starts no
# run.
job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("partition", Name, primary_key=True),
    Column("standing", Boolean, nullable=False),
    index("ix_job_inputs_dataset", "dataset", "partition", "job_id"),
)

# The partitions of jobs that wait for nothing but standing inputs, each with what would complete them.
job_waits = Table(
    "job_waits",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("partition", Name, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("needed", Name, nullable=False),
    index("ix_job_waits_dataset", "dataset", "needed", "job_id", "partition"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("partition", Name, nullable=False),
    Column("input_revisions", Json, nullable=False),
    Column("input_state", Text, nullable=False),
    Column("state", Choice(RunState), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("error_code", Text, nullable=False, server_default=sa.text("''")),
    Column("output_sequence", BigInteger),
    Column("rows_written", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("trace_id", Text, nullable=False),
    Column("input_snapshots", Json, nullable=False, server_default=sa.text("'{}'")),
    index("ix_runs_inputs", "job_id", "partition", "input_state", unique=True),
    index("ix_runs_time", "created_at", "id"),
    index("ix_runs_job", "job_id", "created_at", "id"),
    index("ix_runs_partition", "partition", "created_at", "id"),
    index("ix_runs_unfinished", "job_id", "state", where="state IN ('queued', 'running')"),
    # Runs that did not succeed are few, and they are what people look for.
    index("ix_runs_state", "state", "created_at", "id", where="state <> 'succeeded'"),
    index("ix_runs_job_state", "job_id", "state", "created_at", "id", where="state <> 'succeeded'"),
)

# How many runs of a job have ended in each state, counted as they end.
run_totals = Table(
    "run_totals",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Choice(RunState), primary_key=True),
    Column("runs", BigInteger, nullable=False),
)

lineage_edges = Table(
    "lineage_edges",
    metadata,
    Column("source_kind", Choice(NodeKind), primary_key=True),
    Column("source_name", Name, primary_key=True),
    Column("sink_kind", Choice(NodeKind), primary_key=True),
    Column("sink_name", Name, primary_key=True),
    Column("columns", Json, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    index("ix_lineage_edges_downstream", "source_kind", "source_name", "sink_name", "sink_kind"),
    index("ix_lineage_edges_upstream", "sink_kind", "sink_name", "source_name", "source_kind"),
)
