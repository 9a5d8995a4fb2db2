"""Rows of scan statistics, and of who reads what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.schema import dataset_versions, scan_statistics
from cordillera.adapters.db.schema import reads as read_sums
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.types import UtcDateTime
from cordillera.spec.consumer import Reads
from cordillera.spec.scan_statistics import MEASURES, ColumnScans

_scan = scan_statistics.c
_KEY = ("dataset_version_id", "day", "column_id", "use")
_read = read_sums.c
_READ_KEY = ("dataset_version_id", "day", "principal")


class SqlScanRows:
    """See :class:`cordillera.ports.metadata.scans.ScanRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, day: date, counts: Mapping[UUID, Sequence[ColumnScans]]) -> None:
        """Add to the sums of a day."""
        rows = [
            {
                "dataset_version_id": version_id,
                "day": day,
                "column_id": one.column_id,
                "use": one.use,
                **{name: getattr(one, name) for name in MEASURES},
            }
            for version_id, columns in counts.items()
            for one in columns
        ]
        # In one order, so that no two transactions wait for each other.
        rows.sort(key=lambda row: (row["dataset_version_id"], row["column_id"], row["use"]))
        if rows:
            self._session.write(_addition(scan_statistics, _KEY, self._session.is_postgres), rows)

    def totals(self, version_id: UUID, since: date) -> list[ColumnScans]:
        """Return the sums over all days from ``since`` on."""
        sums = [sa.func.sum(_scan[name]).label(name) for name in MEASURES]
        mine = sa.and_(_scan.dataset_version_id == version_id, _scan.day >= since)
        query = sa.select(_scan.column_id, _scan.use, *sums).where(mine).group_by(_scan.column_id, _scan.use)
        found = self._session.read(query)
        totals = [
            ColumnScans(row.column_id, row.use, **{name: _plain(name, row._mapping[name]) for name in MEASURES})
            for row in found
        ]
        return sorted(totals, key=lambda one: (one.column_id, one.use))

    def forget(self, before: date) -> int:
        """Remove the sums of earlier days."""
        return self._session.write(sa.delete(scan_statistics).where(_scan.day < before))


class SqlReadRows:
    """See :class:`cordillera.ports.metadata.scans.ReadRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, day: date, reads: Mapping[UUID, Sequence[Reads]]) -> None:
        """Add to the sums of a day."""
        rows = [
            {
                "dataset_version_id": version_id,
                "day": day,
                "principal": one.principal,
                "reads": one.reads,
                "bytes_read": one.bytes_read,
                "last_at": one.last_at,
            }
            for version_id, found in reads.items()
            for one in found
        ]
        # In one order, so that no two transactions wait for each other.
        rows.sort(key=lambda row: (row["dataset_version_id"], row["principal"]))
        if rows:
            self._session.write(_addition(read_sums, _READ_KEY, self._session.is_postgres), rows)

    def totals(self, version_id: UUID, since: date, limit: int, among: Collection[str] | None = None) -> list[Reads]:
        """Return the sums over all days from ``since`` on, by principal, who read last first."""
        last_at = sa.func.max(_read.last_at)
        query = (
            sa.select(_read.principal, sa.func.sum(_read.reads), sa.func.sum(_read.bytes_read), last_at)
            .where(_read.dataset_version_id == version_id, _read.day >= since)
            .group_by(_read.principal)
            .order_by(last_at.desc(), _read.principal)
            .limit(limit)
        )
        if among is not None:
            query = query.where(_read.principal.in_(sorted(among)))
        return [Reads(name, int(count), int(size), at) for name, count, size, at in self._session.read(query)]

    def forget(self, before: date) -> int:
        """Remove the sums of earlier days."""
        return self._session.write(sa.delete(read_sums).where(_read.day < before))


def _plain(name: str, total: Any) -> Any:
    """Return a sum as a number of Python: PostgreSQL sums whole numbers up to a decimal."""
    return float(total) if name == "fraction" else int(total)


@lru_cache
def _addition(table: sa.Table, key: tuple[str, ...], is_postgres: bool) -> sa.Insert:
    """Return the statement that adds to sums, for rows of dataset versions that are still there."""
    measures = [column.name for column in table.c if column.name not in key]
    given: list[Any] = [sa.bindparam(name, type_=table.c[name].type) for name in (*key, *measures)]
    there = sa.select(sa.literal(1)).where(dataset_versions.c.id == given[0]).exists()
    insert = (postgresql.insert if is_postgres else sqlite.insert)(table)
    values = insert.from_select([*key, *measures], sa.select(*given).where(there))
    sums = {name: _sum(table.c[name], values.excluded[name]) for name in measures}
    return values.on_conflict_do_update(index_elements=key, set_=sums)


def _sum(stored: sa.ColumnElement[Any], given: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the sum of two figures; of two times the later one."""
    return sa.case((given > stored, given), else_=stored) if isinstance(stored.type, UtcDateTime) else stored + given
