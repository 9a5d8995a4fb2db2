"""The catalog: namespaces, datasets, dataset versions, snapshots, contracts, completions, search."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Instant = sa.DateTime(timezone=True)
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    _create_catalog()
    _create_commits()
    _create_declarations()
    _create_search()


def _create_catalog() -> None:
    op.create_table(
        "lake",
        sa.Column("single", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("storage_root", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_lake_one_row")),
        sa.PrimaryKeyConstraint("single", name="pk_lake"),
    )
    op.create_table(
        "namespaces",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_namespaces"),
    )
    _index("ix_namespaces_name", "namespaces", ["name"], unique=True)
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("namespace", Name, sa.ForeignKey("namespaces.name", name="fk_datasets_namespace"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("full_name", Name, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("deleted_at", Instant),
        sa.Column("purge_after", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    _index("ix_datasets_deleted_name", "datasets", ["full_name", "id"], where="deleted_at IS NOT NULL")
    _index("ix_datasets_live_name", "datasets", ["full_name"], unique=True, where="deleted_at IS NULL")
    _index("ix_datasets_namespace", "datasets", ["namespace"])
    _index("ix_datasets_purge", "datasets", ["purge_after", "id"], where="deleted_at IS NOT NULL")
    op.create_table(
        "dataset_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "dataset_id",
            sa.Uuid(),
            sa.ForeignKey("datasets.id", name="fk_dataset_versions_dataset_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("lifecycle", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("metadata_location", sa.Text(), nullable=False),
        sa.Column("format_version", sa.Integer(), nullable=False),
        sa.Column("key", Json, nullable=False),
        sa.Column("sequence_column", sa.Text()),
        sa.Column("partitioning", Json, nullable=False),
        sa.Column("write_mode", sa.Text(), nullable=False),
        sa.Column("completion_unit", sa.Text(), nullable=False),
        sa.Column("schema_id", sa.Integer(), nullable=False),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dataset_versions"),
    )
    _index("ix_dataset_versions_number", "dataset_versions", ["dataset_id", "number"], unique=True)
    op.create_table(
        "dataset_columns",
        _version_id("dataset_columns"),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "position", name="pk_dataset_columns"),
    )


def _create_commits() -> None:
    op.create_table(
        "snapshots",
        _version_id("snapshots"),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_snapshot_id", sa.BigInteger()),
        sa.Column("schema_id", sa.Integer(), nullable=False),
        sa.Column("committed_at", Instant, nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text()),
        sa.Column("rows_inserted", sa.BigInteger(), nullable=False),
        sa.Column("rows_updated", sa.BigInteger(), nullable=False),
        sa.Column("rows_deleted", sa.BigInteger(), nullable=False),
        sa.Column("rows_late", sa.BigInteger(), nullable=False),
        sa.Column("files_added", sa.BigInteger(), nullable=False),
        sa.Column("files_removed", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("partitions", Json, nullable=False),
        sa.Column("properties", Json, nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "sequence_number", name="pk_snapshots"),
    )
    _index("ix_snapshots_time", "snapshots", ["dataset_version_id", "committed_at", "sequence_number"])
    op.create_table(
        "manifests",
        _version_id("manifests"),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("document", Json, nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "sequence_number", name="pk_manifests"),
    )
    op.create_table(
        "commit_receipts",
        _version_id("commit_receipts"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("sequence_number", sa.BigInteger()),
        sa.Column("result", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "key", name="pk_commit_receipts"),
    )


def _create_declarations() -> None:
    op.create_table(
        "contracts",
        _version_id("contracts"),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("put_by", sa.Text(), nullable=False),
        sa.Column("put_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "revision", name="pk_contracts"),
    )
    op.create_table(
        "completions",
        _version_id("completions"),
        sa.Column("partition", Name, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("declared_by", sa.Text(), nullable=False),
        sa.Column("declared_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "partition", "revision", name="pk_completions"),
    )
    op.create_table(
        "latest_completions",
        _version_id("latest_completions"),
        sa.Column("partition", Name, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("declared_by", sa.Text(), nullable=False),
        sa.Column("declared_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("dataset_version_id", "partition", name="pk_latest_completions"),
    )


def _create_search() -> None:
    op.create_table(
        "search_documents",
        sa.Column("number", Number, nullable=False),
        sa.Column(
            "dataset_id",
            sa.Uuid(),
            sa.ForeignKey("datasets.id", name="fk_search_documents_dataset_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("full_name", Name, nullable=False),
        sa.Column("namespace", Name, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Uuid()),
        sa.Column("lifecycle", sa.Text()),
        sa.PrimaryKeyConstraint("number", name="pk_search_documents"),
    )
    _index("ix_search_documents_dataset", "search_documents", ["dataset_id"], unique=True)
    _index("ix_search_documents_name", "search_documents", ["full_name"])
    _index("ix_search_documents_namespace", "search_documents", ["namespace", "full_name"])
    _index("ix_search_documents_owner", "search_documents", ["owner", "full_name"])
    op.create_table(
        "search_tags",
        sa.Column(
            "number",
            Number,
            sa.ForeignKey("search_documents.number", name="fk_search_tags_number", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", "tag", name="pk_search_tags"),
    )
    _index("ix_search_tags_tag", "search_tags", ["tag", "number"])
    if op.get_context().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE search_words USING fts5 (words, tokenize = 'unicode61', prefix = '2 3')")
        return
    op.create_table(
        "search_words",
        sa.Column(
            "number",
            Number,
            sa.ForeignKey("search_documents.number", name="fk_search_words_number", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("words", postgresql.TSVECTOR(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_search_words"),
    )
    op.create_index("ix_search_words_words", "search_words", ["words"], postgresql_using="gin")


def _version_id(table: str) -> sa.Column[UUID]:
    version = sa.ForeignKey("dataset_versions.id", name=f"fk_{table}_dataset_version_id", ondelete="CASCADE")
    return sa.Column("dataset_version_id", sa.Uuid(), version, nullable=False)


def _index(name: str, table: str, columns: list[str], *, unique: bool = False, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
