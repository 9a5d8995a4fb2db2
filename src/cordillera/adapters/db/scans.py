"""Rows of scan statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.schema import dataset_versions, scan_statistics
from cordillera.adapters.db.session import Session
from cordillera.spec.scan_statistics import MEASURES, ColumnScans

_scan = scan_statistics.c
_KEY = ("dataset_version_id", "day", "column_id", "use")


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
            self._session.write(_addition(self._session.is_postgres), rows)

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


def _plain(name: str, total: Any) -> Any:
    """Return a sum as a number of Python: PostgreSQL sums whole numbers up to a decimal."""
    return float(total) if name == "fraction" else int(total)


@lru_cache
def _addition(is_postgres: bool) -> sa.Insert:
    """Return the statement that adds to sums, for rows of dataset versions that are still there."""
    given: list[Any] = [sa.bindparam(name, type_=_scan[name].type) for name in (*_KEY, *MEASURES)]
    there = sa.select(sa.literal(1)).where(dataset_versions.c.id == given[0]).exists()
    insert = (postgresql.insert if is_postgres else sqlite.insert)(scan_statistics)
    values = insert.from_select([*_KEY, *MEASURES], sa.select(*given).where(there))
    sums = {name: _scan[name] + values.excluded[name] for name in MEASURES}
    return values.on_conflict_do_update(index_elements=_KEY, set_=sums)
