"""What the tables of the metadata database share."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Uuid

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def index(name: str, *columns: str, unique: bool = False, where: str | None = None) -> Index:
    """Return an index, partial where a condition is given."""
    condition = sa.text(where) if where else None
    return Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def version_key() -> Column[UUID]:
    """Return the column of a row that belongs to a dataset version, first of its table's key."""
    return Column("dataset_version_id", Uuid, ForeignKey("dataset_versions.id", ondelete="CASCADE"), primary_key=True)
