"""Tables of the lake and its catalog: namespaces, datasets, views, dataset versions, snapshots."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata, version_key
from cordillera.adapters.db.types import Choice, Json, Name, Texts, UtcDateTime
from cordillera.spec.catalog import Lifecycle
from cordillera.spec.manifest import TableOperation
from cordillera.spec.merge import Operation, WriteMode

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
    index("ix_namespaces_name", "name", unique=True),
    index("ix_namespaces_owner", "owner", "name"),
)

enclosing_namespaces = Table(  # of each namespace: itself, those that it is within, and the lake, which has no name
    "enclosing_namespaces",
    metadata,
    Column("namespace", Name, ForeignKey("namespaces.name", ondelete="CASCADE"), primary_key=True),
    Column("distance", Integer, primary_key=True),
    Column("outer", Name, nullable=False),
    index("ix_enclosing_namespaces_outer", "outer", "distance", "namespace"),
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
    Column("tag_set", Uuid, nullable=False, server_default=sa.text(f"'{UUID(int=0).hex}'")),
    index("ix_datasets_namespace", "namespace", "full_name", "id"),
    index("ix_datasets_owner", "owner", "full_name", "namespace", "deleted_at"),
    index("ix_datasets_live_name", "full_name", unique=True, where="deleted_at IS NULL"),
    index("ix_datasets_deleted_name", "full_name", "id", where="deleted_at IS NOT NULL"),
    index("ix_datasets_purge", "purge_after", "id", where="deleted_at IS NOT NULL"),
    index("ix_datasets_tag_set", "tag_set", "full_name", where="deleted_at IS NULL"),
    index("ix_datasets_tagged_namespace", "tag_set", "namespace", where="deleted_at IS NULL"),
    index("ix_datasets_deleted_tag_set", "tag_set", "full_name", "id", where="deleted_at IS NOT NULL"),
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
    index("ix_views_owner", "owner", "full_name", "namespace"),
    index("ix_views_namespace", "namespace", "full_name"),
    index("ix_views_full_name", "full_name", unique=True),
)

taken_names = Table(  # by live datasets and views: none has another's
    "taken_names",
    metadata,
    Column("full_name", Name, primary_key=True),
    Column("object_id", Uuid, nullable=False),
    index("ix_taken_names_object", "object_id", unique=True),
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
    Column("contract_revision", Integer, nullable=False, server_default="0"),
    index("ix_dataset_versions_number", "dataset_id", "number", unique=True),
)

dataset_columns = Table(
    "dataset_columns",
    metadata,
    version_key(),
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
    version_key(),
    Column("writer", Uuid, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    version_key(),
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
    index("ix_snapshots_time", "dataset_version_id", "branch", "committed_at", "sequence_number"),
    index("ix_snapshots_branch", "dataset_version_id", "branch", "sequence_number"),
)

# Beside the snapshots, so that a list of snapshots loads no file entries.
manifests = Table(
    "manifests",
    metadata,
    version_key(),
    Column("sequence_number", BigInteger, primary_key=True),
    Column("document", Json, nullable=False),
)

commit_receipts = Table(
    "commit_receipts",
    metadata,
    version_key(),
    Column("key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("sequence_number", BigInteger),
    Column("result", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
