"""What tests ask of tag sets."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from cordillera.adapters.db.schema import datasets, tag_set_tags
from cordillera.adapters.db.store import SqlTransaction
from cordillera.spec.catalog import Dataset


def stored_tags(tx: SqlTransaction, some: Iterable[Dataset]) -> dict[str, dict[str, str]]:
    """Return, by full name, the tags that datasets are found by."""
    found: dict[str, dict[str, str]] = {one.full_name: {} for one in some}
    tag = tag_set_tags.c
    query = sa.select(datasets.c.full_name, tag.name, tag.value).join(datasets, datasets.c.tag_set == tag.tag_set)
    for full_name, name, value in tx.session.read(query.where(datasets.c.full_name.in_(found))):
        found[full_name][name] = value
    return found
