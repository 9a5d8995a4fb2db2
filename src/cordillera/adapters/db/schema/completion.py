"""Tables of completions and of the rules that derive them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text

from cordillera.adapters.db.schema.base import index, metadata, version_key
from cordillera.adapters.db.types import Json, Name, UtcDateTime


def _completion_columns(*, every_revision: bool) -> list[Column[Any]]:
    return [
        version_key(),
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
    version_key(),
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
    version_key(),
    Column("dataset", Text, primary_key=True),
    index("ix_completion_upstreams_dataset", "dataset", "dataset_version_id"),
)

partition_states = Table(
    "partition_states",
    metadata,
    version_key(),
    Column("partition", Name, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("totals", Json, nullable=False),
    Column("changed_sequence", BigInteger, nullable=False),
    Column("announced_rows", BigInteger),
    Column("announced_totals", Json, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("due", Boolean, nullable=False),
    # Partitions that wait are few beside those that are complete, and those to be looked at fewer still.
    index("ix_partition_states_open", "dataset_version_id", "partition", where="open"),
    index("ix_partition_states_due", "dataset_version_id", "partition", where="due"),
)
