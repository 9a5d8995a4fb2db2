"""Rows of completions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.given import each, given
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import completions, latest_completions
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.spec.completion import Completion

COMPLETION = RowMap(Completion, completions)
LATEST = RowMap(Completion, latest_completions)

_LATEST = LATEST.lookup(latest_completions.c.dataset_version_id, latest_completions.c.partition)


@lru_cache
def _latest_of(is_postgres: bool) -> Prepared:
    """Return a query for the newest completions of partitions; its parameters are ``version`` and ``labels``."""
    one = latest_completions.c
    # Not a JOIN, for which every partition of the dataset version might be looked for among those asked about.
    if is_postgres:
        asked = one.partition == sa.any_(sa.bindparam("labels", type_=postgresql.ARRAY(sa.Text)))
    else:
        asked = one.partition.in_(sa.select(each("labels", is_postgres=False)))
    return Prepared(LATEST.select().where(one.dataset_version_id == sa.bindparam("version"), asked))


_SHARED = ("dataset_version_id", "sequence_number", "declared_by", "declared_at")


@lru_cache
def _inserts(is_postgres: bool) -> tuple[Prepared, Prepared]:
    """Return what adds completions, and what keeps the newest of each partition."""
    declared = given("declared", (sa.Text(), sa.Integer()), is_postgres=is_postgres).c
    shared = [sa.bindparam(name, type_=completions.c[name].type).label(name) for name in _SHARED]
    rows = sa.select(*shared, declared.one, declared.two).where(sa.true())  # without WHERE, SQLite sees a JOIN … ON
    insert = postgresql.insert if is_postgres else sqlite.insert
    columns = [*_SHARED, "partition", "revision"]
    newest = insert(latest_completions).from_select(columns, rows)
    kept = newest.on_conflict_do_update(
        index_elements=["dataset_version_id", "partition"],
        set_={name: newest.excluded[name] for name in (*_SHARED[1:], "revision")},
        where=latest_completions.c.revision < newest.excluded.revision,
    )
    return Prepared(insert(completions).from_select(columns, rows).on_conflict_do_nothing()), Prepared(kept)


class SqlCompletionRows:
    """See :class:`cordillera.ports.metadata.completion.CompletionRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, completions: Sequence[Completion]) -> None:
        """Add completions that were declared together."""
        values = COMPLETION.values(completions[0])
        row = {name: values[name] for name in _SHARED}
        row["declared"] = [(completion.partition, completion.revision) for completion in completions]
        new, newest = _inserts(self._session.is_postgres)
        if self._session.change(new, row) != len(completions):
            some = ", ".join(f"{one.partition!r} (revision {one.revision})" for one in completions[:5])
            raise AlreadyExistsError(f"A partition has been declared complete meanwhile: {some}.")
        self._session.change(newest, row)

    def latest(self, version_id: UUID, partition: str) -> Completion | None:
        """Return the newest completion of a partition."""
        return _LATEST(self._session, version_id, partition)

    def latest_of(self, version_id: UUID, partitions: Sequence[str]) -> dict[str, Completion]:
        """Return the newest completion of each of many partitions."""
        asked = {"version": version_id, "labels": list(partitions)}
        latest = LATEST.every(self._session, _latest_of(self._session.is_postgres), asked)
        return {completion.partition: completion for completion in latest}

    def page(self, version_id: UUID, before: str | None, limit: int) -> list[Completion]:
        """Return the newest completion of each partition, highest label first."""
        query = LATEST.select().where(latest_completions.c.dataset_version_id == version_id)
        if before is not None:
            query = query.where(latest_completions.c.partition < before)
        return LATEST.all(self._session, query.order_by(latest_completions.c.partition.desc()).limit(limit))

    def history(self, version_id: UUID, partition: str) -> list[Completion]:
        """Return every completion of a partition, newest first."""
        query = COMPLETION.select().where(
            completions.c.dataset_version_id == version_id, completions.c.partition == partition
        )
        return COMPLETION.all(self._session, query.order_by(completions.c.revision.desc()))
