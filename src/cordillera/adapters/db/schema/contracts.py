"""Tables of contracts, proposals to change them, and service levels."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata, version_key
from cordillera.adapters.db.types import Json, UtcDateTime

contracts = Table(
    "contracts",
    metadata,
    version_key(),
    Column("revision", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("put_by", Text, nullable=False),
    Column("put_at", UtcDateTime, nullable=False),
)

# What rules on whole tables are computed from; numbers are kept as text, since sums are longer than 64 bits.
rule_partials = Table(
    "rule_partials",
    metadata,
    version_key(),
    Column("snapshot_id", BigInteger, nullable=False),
    Column("sequence_number", BigInteger, nullable=False),
    Column("numbers", Json, nullable=False),
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
    index("ix_contract_proposals_version", "dataset_version_id", "proposed_at", "id"),
    index("ix_contract_proposals_open", "dataset_version_id", unique=True, where="state = 'open'"),
    index("ix_contract_proposals_due", "due_at", where="due_at IS NOT NULL"),
)

# Whom each open proposal waits for, to find the proposals that wait for somebody.
awaited_consumers = Table(
    "awaited_consumers",
    metadata,
    Column("proposal_id", Uuid, ForeignKey("contract_proposals.id", ondelete="CASCADE"), primary_key=True),
    Column("consumer", Text, primary_key=True),
    index("ix_awaited_consumers_consumer", "consumer", "proposal_id"),
)

candidates = Table(
    "candidates",
    metadata,
    version_key(),
    Column("sequence_number", BigInteger, primary_key=True),
    Column("branch", Text, nullable=False),
    Column("base", BigInteger, nullable=False),
    Column("refused_by", Text, nullable=False),
    Column("refused_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("contract_revision", Integer, nullable=False),
    Column("violations", Json, nullable=False),
    index("ix_candidates_expiry", "expires_at"),
)

service_levels = Table(
    "service_levels",
    metadata,
    version_key(),
    Column("state", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("due_at", UtcDateTime),
    Column("since", UtcDateTime, nullable=False),
    Column("look_at", UtcDateTime),
    Column("contract_revision", Integer, nullable=False),
    index("ix_service_levels_state", "state"),
    index("ix_service_levels_due", "look_at", where="look_at IS NOT NULL"),
)
