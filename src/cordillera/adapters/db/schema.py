"""The tables of the metadata database. What is here is what the migrations make, and a test proves it.

Every list of the port is ordered by an index. Partial indexes keep what is asked for most (live datasets, waiting
events and tasks, unfinished runs) as small as itself, however much history lies beside it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, Uuid
from sqlalchemy.dialects import postgresql

from cordillera.adapters.db.types import Choice, Json, Name, Number, Texts, UtcDateTime
from cordillera.spec.access import Privilege, SecurableKind
from cordillera.spec.access_request import RequestState
from cordillera.spec.catalog import Lifecycle
from cordillera.spec.event import Topic
from cordillera.spec.lineage import NodeKind
from cordillera.spec.maintenance import MaintenanceTask
from cordillera.spec.manifest import TableOperation
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.scan_statistics import MEASURES, ColumnUse
from cordillera.spec.subscription import CopyAtEnd, Equality, SubscriptionMode, SubscriptionState
from cordillera.spec.workflow import RunState

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> Index:
    """Return an index, partial where a condition is given."""
    condition = sa.text(where) if where else None
    return Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def _version_key() -> Column[UUID]:
    """Return the column of a row that belongs to a dataset version, first of its table's key."""
    return Column("dataset_version_id", Uuid, ForeignKey("dataset_versions.id", ondelete="CASCADE"), primary_key=True)


# --- the lake and its catalog ---------------------------------------------------------------------------------------

lake = Table(
    "lake",
    metadata,
    Column("single", Boolean, primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("storage_root", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("single", name="one_row"),
)

namespaces = Table(
    "namespaces",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Name, nullable=False),
    Column("owner", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("properties", Json, nullable=False, server_default="{}"),
    _index("ix_namespaces_name", "name", unique=True),
    _index("ix_namespaces_owner", "owner"),
)

enclosing_namespaces = Table(  # of each namespace: itself, those that it is within, and the lake, which has no name
    "enclosing_namespaces",
    metadata,
    Column("namespace", Name, ForeignKey("namespaces.name", ondelete="CASCADE"), primary_key=True),
    Column("distance", Integer, primary_key=True),
    Column("outer", Name, nullable=False),
    _index("ix_enclosing_namespaces_outer", "outer", "distance", "namespace"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Name, ForeignKey("namespaces.name"), nullable=False),
    Column("name", Text, nullable=False),
    Column("full_name", Name, nullable=False),
    Column("owner", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Texts, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
    Column("purge_after", UtcDateTime),
    _index("ix_datasets_namespace", "namespace", "full_name", "id"),
    _index("ix_datasets_owner", "owner"),
    _index("ix_datasets_live_name", "full_name", unique=True, where="deleted_at IS NULL"),
    _index("ix_datasets_deleted_name", "full_name", "id", where="deleted_at IS NOT NULL"),
    _index("ix_datasets_purge", "purge_after", "id", where="deleted_at IS NOT NULL"),
)

views = Table(
    "views",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("namespace", Name, ForeignKey("namespaces.name"), nullable=False),
    Column("name", Text, nullable=False),
    Column("full_name", Name, nullable=False),
    Column("owner", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("metadata_location", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    _index("ix_views_owner", "owner"),
    _index("ix_views_namespace", "namespace", "full_name"),
    _index("ix_views_full_name", "full_name", unique=True),
)

taken_names = Table(  # by live datasets and views: none has another's
    "taken_names",
    metadata,
    Column("full_name", Name, primary_key=True),
    Column("object_id", Uuid, nullable=False),
    _index("ix_taken_names_object", "object_id", unique=True),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dataset_id", Uuid, ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("lifecycle", Choice(Lifecycle), nullable=False),
    Column("location", Text, nullable=False),
    Column("metadata_location", Text, nullable=False),
    Column("format_version", Integer, nullable=False),
    Column("key", Texts, nullable=False),
    Column("sequence_column", Text),
    Column("partitioning", Texts, nullable=False),
    Column("sort_order", Texts, nullable=False, server_default="[]"),
    Column("write_mode", Choice(WriteMode), nullable=False),
    Column("completion_unit", Text, nullable=False),
    Column("schema_id", Integer, nullable=False),
    Column("sequence_number", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    _index("ix_dataset_versions_number", "dataset_id", "number", unique=True),
)

dataset_columns = Table(
    "dataset_columns",
    metadata,
    _version_key(),
    Column("position", Integer, primary_key=True),
    Column("field_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("required", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
)

reservations = Table(
    "reservations",
    metadata,
    _version_key(),
    Column("writer", Uuid, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    _version_key(),
    Column("sequence_number", BigInteger, primary_key=True),
    Column("snapshot_id", BigInteger, nullable=False),
    Column("parent_snapshot_id", BigInteger),
    Column("schema_id", Integer, nullable=False),
    Column("committed_at", UtcDateTime, nullable=False),
    Column("principal", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("operation", Choice(Operation, TableOperation)),
    Column("rows_inserted", BigInteger, nullable=False),
    Column("rows_updated", BigInteger, nullable=False),
    Column("rows_deleted", BigInteger, nullable=False),
    Column("rows_late", BigInteger, nullable=False),
    Column("files_added", BigInteger, nullable=False),
    Column("files_removed", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("partitions", Texts, nullable=False),
    Column("properties", Json, nullable=False),
    Column("branch", Text, nullable=False, server_default="main"),
    _index("ix_snapshots_time", "dataset_version_id", "branch", "committed_at", "sequence_number"),
    _index("ix_snapshots_branch", "dataset_version_id", "branch", "sequence_number"),
)

# Beside the snapshots, so that a list of snapshots loads no file entries.
manifests = Table(
    "manifests",
    metadata,
    _version_key(),
    Column("sequence_number", BigInteger, primary_key=True),
    Column("document", Json, nullable=False),
)

commit_receipts = Table(
    "commit_receipts",
    metadata,
    _version_key(),
    Column("key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("sequence_number", BigInteger),
    Column("result", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

contracts = Table(
    "contracts",
    metadata,
    _version_key(),
    Column("revision", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("put_by", Text, nullable=False),
    Column("put_at", UtcDateTime, nullable=False),
)


contract_proposals = Table(
    "contract_proposals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dataset_version_id", Uuid, ForeignKey("dataset_versions.id", ondelete="CASCADE"), nullable=False),
    Column("base_revision", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("deadline", UtcDateTime),
    Column("due_at", UtcDateTime),
    Column("state", Text, nullable=False),
    Column("consumers", Json, nullable=False),
    Column("ended_by", Text, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("outcome", Text, nullable=False),
    _index("ix_contract_proposals_version", "dataset_version_id", "proposed_at", "id"),
    _index("ix_contract_proposals_open", "dataset_version_id", unique=True, where="state = 'open'"),
    _index("ix_contract_proposals_due", "due_at", where="due_at IS NOT NULL"),
)

service_levels = Table(
    "service_levels",
    metadata,
    _version_key(),
    Column("state", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("due_at", UtcDateTime),
    Column("since", UtcDateTime, nullable=False),
    Column("look_at", UtcDateTime),
    Column("contract_revision", Integer, nullable=False),
    _index("ix_service_levels_state", "state"),
    _index("ix_service_levels_due", "look_at", where="look_at IS NOT NULL"),
)


def _completion_columns(*, every_revision: bool) -> list[Column[Any]]:
    return [
        _version_key(),
        Column("partition", Name, primary_key=True),
        Column("revision", Integer, primary_key=every_revision, nullable=False),
        Column("sequence_number", BigInteger, nullable=False),
        Column("declared_by", Text, nullable=False),
        Column("declared_at", UtcDateTime, nullable=False),
    ]


completions = Table("completions", metadata, *_completion_columns(every_revision=True))

# A copy of the newest revision of each partition, so that asking for it costs the same after ten thousand restatements.
latest_completions = Table("latest_completions", metadata, *_completion_columns(every_revision=False))

completion_rules = Table(
    "completion_rules",
    metadata,
    _version_key(),
    Column("rule", Json, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("on_behalf_of", Text, nullable=False),
    Column("cursor_sequence", BigInteger),
    Column("watermark", Text, nullable=False),
    Column("problem", Text, nullable=False),
)

# The datasets whose completions a rule waits for, to find the rules that an event concerns.
completion_upstreams = Table(
    "completion_upstreams",
    metadata,
    _version_key(),
    Column("dataset", Text, primary_key=True),
    _index("ix_completion_upstreams_dataset", "dataset", "dataset_version_id"),
)

partition_states = Table(
    "partition_states",
    metadata,
    _version_key(),
    Column("partition", Name, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("totals", Json, nullable=False),
    Column("changed_sequence", BigInteger, nullable=False),
    Column("announced_rows", BigInteger),
    Column("announced_totals", Json, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("due", Boolean, nullable=False),
    # Partitions that wait are few beside those that are complete, and those to be looked at fewer still.
    _index("ix_partition_states_open", "dataset_version_id", "partition", where="open"),
    _index("ix_partition_states_due", "dataset_version_id", "partition", where="due"),
)

# --- search ---------------------------------------------------------------------------------------------------------

search_documents = Table(
    "search_documents",
    metadata,
    Column("number", Number, primary_key=True),
    Column("dataset_id", Uuid, ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("full_name", Name, nullable=False),
    Column("namespace", Name, nullable=False),
    Column("owner", Text, nullable=False),
    Column("version_id", Uuid),
    Column("lifecycle", Choice(Lifecycle)),
    _index("ix_search_documents_dataset", "dataset_id", unique=True),
    _index("ix_search_documents_name", "full_name"),
    _index("ix_search_documents_namespace", "namespace", "full_name"),
    _index("ix_search_documents_owner", "owner", "full_name"),
)

search_tags = Table(
    "search_tags",
    metadata,
    Column("number", Number, ForeignKey("search_documents.number", ondelete="CASCADE"), primary_key=True),
    Column("tag", Text, primary_key=True),
    _index("ix_search_tags_tag", "tag", "number"),
)

# The words of each document. On SQLite this is an FTS5 table of the same name, with ``number`` as its rowid.
search_words = Table(
    "search_words",
    metadata,
    Column("number", Number, ForeignKey("search_documents.number", ondelete="CASCADE"), primary_key=True),
    Column("words", Text().with_variant(postgresql.TSVECTOR(), "postgresql"), nullable=False),
    Index("ix_search_words_words", "words", postgresql_using="gin"),
)

# --- targets, subscriptions, jobs, runs, lineage --------------------------------------------------------------------

targets = Table(
    "targets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Name, nullable=False),
    Column("kind", Text, nullable=False),
    Column("config", Json, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    _index("ix_targets_name", "name", unique=True),
    _index("ix_targets_owner", "owner"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("dataset_id", Uuid, ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("dataset_version_id", Uuid, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("columns", Texts, nullable=False),
    Column("row_filter", Text, nullable=False),
    Column("target", Name, nullable=False),
    Column("target_table", Text, nullable=False),
    Column("state", Choice(SubscriptionState), nullable=False),
    Column("cursor_sequence", BigInteger),
    Column("cursor_schema_id", Integer),
    Column("rows_delivered", BigInteger, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("last_error", Text, nullable=False),
    Column("error_code", Text, nullable=False, server_default=sa.text("''")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("on_behalf_of", Text, nullable=False, server_default=sa.text("''")),
    Column("shown", Text, nullable=False, server_default=sa.text("''")),
    Column("verify_every_seconds", Integer),
    Column("equality", Choice(Equality), nullable=False, server_default=sa.text("'unproven'")),
    Column("verified_at", UtcDateTime),
    Column("verified_sequence", BigInteger),
    Column("drift", Text, nullable=False, server_default=sa.text("''")),
    Column("cost_owner", Text, nullable=False, server_default=sa.text("''")),
    Column("expires_at", UtcDateTime),
    Column("copy_at_end", Choice(CopyAtEnd), nullable=False, server_default=sa.text("'freeze'")),
    Column("request_id", Uuid),
    Column("mode", Choice(SubscriptionMode), nullable=False, server_default=sa.text("'mirror'")),
    Column("trigger", Text, nullable=False, server_default=sa.text("'commit'")),
    _index("ix_subscriptions_request", "request_id", "id", where="request_id IS NOT NULL"),
    _index("ix_subscriptions_dataset", "dataset_id", "id"),
    _index("ix_subscriptions_target", "target", "id"),
    _index("ix_subscriptions_state", "state", "id"),
    _index("ix_subscriptions_on_behalf_of", "on_behalf_of", "id", where="on_behalf_of <> ''"),
    _index(
        "ix_subscriptions_table",
        "target",
        "target_table",
        unique=True,
        where="state <> 'revoked' AND state <> 'expired' AND state <> 'refused'",
    ),
)

subscription_changes = Table(
    "subscription_changes",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("subscription_id", Uuid, ForeignKey("subscriptions.id", ondelete="CASCADE"), nullable=False),
    Column("state", Choice(SubscriptionState), nullable=False),
    Column("by", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    _index("ix_subscription_changes_subscription", "subscription_id", "number"),
    sqlite_autoincrement=True,
)

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
    _index("ix_jobs_name", "name", unique=True),
    _index("ix_jobs_output", "output", "name"),
)

job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("dataset", Text, primary_key=True),
    _index("ix_job_inputs_dataset", "dataset", "job_id"),
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
    _index("ix_runs_inputs", "job_id", "partition", "input_state", unique=True),
    _index("ix_runs_time", "created_at", "id"),
    _index("ix_runs_job", "job_id", "created_at", "id"),
    _index("ix_runs_partition", "partition", "created_at", "id"),
    _index("ix_runs_unfinished", "job_id", "state", where="state IN ('queued', 'running')"),
    # Runs that did not succeed are few, and they are what people look for.
    _index("ix_runs_state", "state", "created_at", "id", where="state <> 'succeeded'"),
    _index("ix_runs_job_state", "job_id", "state", "created_at", "id", where="state <> 'succeeded'"),
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
    _index("ix_lineage_edges_downstream", "source_kind", "source_name", "sink_name", "sink_kind"),
    _index("ix_lineage_edges_upstream", "sink_kind", "sink_name", "source_name", "source_kind"),
)

# --- access and operations ------------------------------------------------------------------------------------------

tokens = Table(
    "tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("read_only", Boolean, nullable=False, server_default=sa.false()),
    Column("previous_hash", Text),
    Column("previous_until", UtcDateTime),
    _index("ix_tokens_previous_hash", "previous_hash"),
    _index("ix_tokens_hash", "hash", unique=True),
    _index("ix_tokens_name", "principal", "name", unique=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

grants = Table(
    "grants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("principal", Name, nullable=False),
    Column("privilege", Choice(Privilege), nullable=False),
    Column("kind", Choice(SecurableKind), nullable=False),
    Column("securable_id", Uuid, nullable=False),
    Column("tag_expression", Text, nullable=False),
    Column("grant_option", Boolean, nullable=False),
    Column("granted_by", Text, nullable=False),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("reason", Text, nullable=False),
    Column("row_filter", Text, nullable=False, server_default=sa.text("''")),
    Column("masks", Json, nullable=False, server_default="{}"),
    Column("tag_masks", Json, nullable=False, server_default="{}"),
    Column("granted_name", Text, nullable=False, server_default=sa.text("''")),
    _index("ix_grants_same", "principal", "privilege", "kind", "securable_id", "tag_expression", unique=True),
    _index("ix_grants_object", "securable_id", "principal"),
    # What has to be known about whoever asks before it is known about what: a few grants of each.
    _index("ix_grants_wide", "principal", where="kind = 'lake' OR tag_expression <> ''"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("container", Name, primary_key=True),
    Column("member", Name, primary_key=True),
    Column("added_by", Text, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    _index("ix_memberships_member", "member", "container"),
)

policy_tags = Table(
    "policy_tags",
    metadata,
    Column("securable_id", Uuid, primary_key=True),
    Column("column_name", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("kind", Choice(SecurableKind), nullable=False),
    Column("value", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("mask", Text, nullable=False, server_default=sa.text("''")),
)

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("requester", Name, nullable=False),
    Column("kind", Choice(SecurableKind), nullable=False),
    Column("securable_id", Uuid, nullable=False),
    Column("asked_name", Text, nullable=False),
    Column("privileges", Texts, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("days", Integer, nullable=False),
    Column("state", Choice(RequestState), nullable=False),
    Column("granted", Texts, nullable=False),
    Column("granted_days", Integer, nullable=False),
    Column("approvers", Texts, nullable=False),
    Column("waiting_for", Texts, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("due_at", UtcDateTime),
    Column("steps", Json, nullable=False),
    _index("ix_access_requests_open", "requester", "securable_id", unique=True, where="state = 'requested'"),
    _index("ix_access_requests_waiting", "requested_at", "id", where="state = 'requested'"),
    _index("ix_access_requests_requester", "requester", "requested_at", "id"),
    _index("ix_access_requests_object", "securable_id", "requested_at", "id"),
    _index("ix_access_requests_time", "requested_at", "id"),
    _index("ix_access_requests_state", "state", "requested_at", "id"),
    _index("ix_access_requests_due", "due_at", where="due_at IS NOT NULL"),
)

access_approvers = Table(
    "access_approvers",
    metadata,
    Column("request_id", Uuid, ForeignKey("access_requests.id", ondelete="CASCADE"), primary_key=True),
    Column("approver", Name, primary_key=True),
    Column("waiting", Boolean, nullable=False),
    _index("ix_access_approvers_approver", "approver", "request_id"),
)

approval_rules = Table(
    "approval_rules",
    metadata,
    Column("tag_expression", Name, primary_key=True),
    Column("approver", Name, primary_key=True),
    Column("added_by", Text, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
)

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
    _index("ix_events_dataset", "dataset", "number"),
    _index("ix_events_waiting", "number", where="handled_at IS NULL"),
    _index("ix_events_waiting_version", "dataset_version_id", "number", where="handled_at IS NULL"),
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
    _index("ix_audit_entries_object", "object_name", "number"),
    _index("ix_audit_entries_position", "position", unique=True),
    _index("ix_audit_entries_waiting", "number", where="position IS NULL"),
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
    _index("ix_tasks_queued", "kind", "key", unique=True, where="state = 'queued'"),
    _index("ix_tasks_running", "kind", "key", unique=True, where="state = 'running'"),
    _index("ix_tasks_failed", "kind", "key", where="state = 'failed'"),
    _index("ix_tasks_due", "kind", "due_at", "id", where="state <> 'failed'"),
    _index("ix_tasks_state", "state", "id"),
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
    _index("ix_maintenance_runs_version", "dataset_version_id", "task", "finished_at"),
    _index("ix_maintenance_runs_task", "task", "finished_at"),
)

scan_statistics = Table(
    "scan_statistics",
    metadata,
    _version_key(),
    Column("day", sa.Date, primary_key=True),
    Column("column_id", Integer, primary_key=True, autoincrement=False),
    Column("use", Choice(ColumnUse), primary_key=True),
    *(Column(name, Float if name == "fraction" else BigInteger, nullable=False) for name in MEASURES),
    _index("ix_scan_statistics_day", "day"),
)
