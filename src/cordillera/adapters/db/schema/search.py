"""Tables of the search index."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text, Uuid
from sqlalchemy.dialects import postgresql

from cordillera.adapters.db.schema.base import index, metadata
from cordillera.adapters.db.types import Choice, Name, Number
from cordillera.spec.catalog import Lifecycle

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
    index("ix_search_documents_dataset", "dataset_id", unique=True),
    index("ix_search_documents_name", "full_name"),
    index("ix_search_documents_namespace", "namespace", "full_name"),
    index("ix_search_documents_owner", "owner", "full_name"),
)

search_tags = Table(
    "search_tags",
    metadata,
    Column("number", Number, ForeignKey("search_documents.number", ondelete="CASCADE"), primary_key=True),
    Column("tag", Text, primary_key=True),
    index("ix_search_tags_tag", "tag", "number"),
)

# The words of each document. On SQLite this is an FTS5 table of the same name, with ``number`` as its rowid.
search_words = Table(
    "search_words",
    metadata,
    Column("number", Number, ForeignKey("search_documents.number", ondelete="CASCADE"), primary_key=True),
    Column("words", Text().with_variant(postgresql.TSVECTOR(), "postgresql"), nullable=False),
    Index("ix_search_words_words", "words", postgresql_using="gin"),
)
