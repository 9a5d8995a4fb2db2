"""Every dataset knows which policy tags count for it, by its tag set."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0077"
down_revision = "0069"
branch_labels = None
depends_on = None

_NO_TAGS = UUID(int=0)
_LIVE, _DELETED = sa.text("deleted_at IS NULL"), sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    """Make the tables, and give every dataset its tag set."""
    name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    op.create_table("tag_sets", sa.Column("id", sa.Uuid(), primary_key=True))
    op.create_table(
        "tag_set_tags",
        sa.Column("tag_set", sa.Uuid(), sa.ForeignKey("tag_sets.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", name, primary_key=True),
        sa.Column("value", name, nullable=False),
    )
    op.create_index("ix_tag_set_tags_value", "tag_set_tags", ["name", "value", "tag_set"])
    none = sa.text(f"'{_NO_TAGS.hex}'")
    op.add_column("datasets", sa.Column("tag_set", sa.Uuid(), nullable=False, server_default=none))
    for index, columns, where in (
        ("ix_datasets_tag_set", ["tag_set", "full_name"], _LIVE),
        ("ix_datasets_tagged_namespace", ["tag_set", "namespace"], _LIVE),
        ("ix_datasets_deleted_tag_set", ["tag_set", "full_name", "id"], _DELETED),
    ):
        op.create_index(index, "datasets", columns, sqlite_where=where, postgresql_where=where)
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    datasets = sa.table("datasets", sa.column("id", sa.Uuid), sa.column("namespace"), sa.column("tag_set", sa.Uuid))
    tags = sa.table(
        "policy_tags", *(sa.column(one) for one in ("column_name", "name", "value")), sa.column("securable_id", sa.Uuid)
    )
    around = sa.table("enclosing_namespaces", *(sa.column(one) for one in ("namespace", "outer", "distance")))
    namespaces = sa.table("namespaces", sa.column("id", sa.Uuid), sa.column("name"))
    whole = sa.select(tags.c.name, tags.c.value).where(tags.c.column_name == "")
    spaces: dict[str, dict[str, str]] = defaultdict(dict)
    query = whole.add_columns(around.c.namespace).join(namespaces, namespaces.c.id == tags.c.securable_id)
    query = query.join(around, around.c.outer == namespaces.c.name).order_by(around.c.distance.desc())
    for name, value, namespace in connection.execute(query):
        spaces[namespace][name] = value  # those of nearer ones come later
    for namespace, found in spaces.items():
        here = sa.update(datasets).where(datasets.c.namespace == namespace)
        connection.execute(here.values(tag_set=_stored(connection, found)))
    own: dict[tuple[UUID, str], dict[str, str]] = {}
    query = whole.add_columns(datasets.c.id, datasets.c.namespace)
    for name, value, dataset_id, namespace in connection.execute(
        query.join(datasets, datasets.c.id == tags.c.securable_id)
    ):
        own.setdefault((dataset_id, namespace), dict(spaces.get(namespace, {})))[name] = value
    for (dataset_id, _), found in own.items():
        mine = sa.update(datasets).where(datasets.c.id == dataset_id)
        connection.execute(mine.values(tag_set=_stored(connection, found)))


def _stored(connection: sa.Connection, tags: dict[str, str]) -> UUID:
    sets = sa.table("tag_sets", sa.column("id", sa.Uuid))
    in_sets = sa.table("tag_set_tags", sa.column("tag_set", sa.Uuid), sa.column("name"), sa.column("value"))
    text = json.dumps(sorted(tags.items()), separators=(",", ":"), ensure_ascii=False)
    found = UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])
    if connection.execute(sa.select(sets.c.id).where(sets.c.id == found)).first() is None:
        connection.execute(sa.insert(sets).values(id=found))
        rows = [{"tag_set": found, "name": name, "value": value} for name, value in tags.items()]
        connection.execute(sa.insert(in_sets), rows)
    return found
