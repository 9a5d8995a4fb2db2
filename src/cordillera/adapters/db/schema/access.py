"""Tables of tokens, keys, grants, policy tags and access requests."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ForeignKey, Integer, Table, Text, Uuid

from cordillera.adapters.db.schema.base import index, metadata
from cordillera.adapters.db.types import Choice, Json, Name, Texts, UtcDateTime
from cordillera.spec.access import Privilege, SecurableKind
from cordillera.spec.access_request import RequestState
from cordillera.spec.lake_key import KeyPurpose

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
    index("ix_tokens_previous_hash", "previous_hash"),
    index("ix_tokens_hash", "hash", unique=True),
    index("ix_tokens_name", "principal", "name", unique=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("purpose", Choice(KeyPurpose), nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retires_at", UtcDateTime),
    index("ix_signing_keys_purpose", "purpose"),
    index("ix_signing_keys_active", "purpose", unique=True, where="retires_at IS NULL"),
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
    Column("deputy_of", Texts, nullable=False, server_default="[]"),
    index("ix_grants_same", "principal", "privilege", "kind", "securable_id", "tag_expression", unique=True),
    index("ix_grants_object", "securable_id", "principal"),
    # What has to be known about whoever asks before it is known about what: a few grants of each.
    index("ix_grants_wide", "principal", where="kind = 'lake' OR tag_expression <> ''"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("container", Name, primary_key=True),
    Column("member", Name, primary_key=True),
    Column("added_by", Text, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    index("ix_memberships_member", "member", "container"),
)

deputies = Table(
    "deputies",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner", Name, nullable=False),
    Column("deputy", Name, nullable=False),
    Column("duties", Texts, nullable=False),
    Column("kind", Choice(SecurableKind), nullable=False),
    Column("securable_id", Uuid, nullable=False),
    Column("named_object", Text, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("named_by", Text, nullable=False),
    Column("named_at", UtcDateTime, nullable=False),
    index("ix_deputies_deputy", "deputy", "ends_at"),
    index("ix_deputies_owner", "owner", "ends_at"),
    index("ix_deputies_object", "securable_id"),
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

tag_sets = Table(  # the combinations of policy tags that datasets have, their own and those of their namespaces
    "tag_sets",
    metadata,
    Column("id", Uuid, primary_key=True),
)

tag_set_tags = Table(
    "tag_set_tags",
    metadata,
    Column("tag_set", Uuid, ForeignKey("tag_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("value", Name, nullable=False),
    index("ix_tag_set_tags_value", "name", "value", "tag_set"),
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
    index("ix_access_requests_open", "requester", "securable_id", unique=True, where="state = 'requested'"),
    index("ix_access_requests_waiting", "requested_at", "id", where="state = 'requested'"),
    index("ix_access_requests_requester", "requester", "requested_at", "id"),
    index("ix_access_requests_object", "securable_id", "requested_at", "id"),
    index("ix_access_requests_time", "requested_at", "id"),
    index("ix_access_requests_state", "state", "requested_at", "id"),
    index("ix_access_requests_due", "due_at", where="due_at IS NOT NULL"),
)

access_approvers = Table(
    "access_approvers",
    metadata,
    Column("request_id", Uuid, ForeignKey("access_requests.id", ondelete="CASCADE"), primary_key=True),
    Column("approver", Name, primary_key=True),
    Column("waiting", Boolean, nullable=False),
    index("ix_access_approvers_approver", "approver", "request_id"),
)

approval_rules = Table(
    "approval_rules",
    metadata,
    Column("tag_expression", Name, primary_key=True),
    Column("approver", Name, primary_key=True),
    Column("added_by", Text, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
)
