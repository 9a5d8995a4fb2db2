"""Statistics of a table's columns that files in its metadata hold: how many distinct values (specification, "Table
Statistics")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cordillera.spec.refs import ancestors
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata

STATISTICS = "statistics"
"""The field of table metadata that lists statistics files."""
SKETCH = "apache-datasketches-theta-v1"
"""The type of a blob with a sketch of a column's values."""
DISTINCT_VALUES = "ndv"
"""The property of such a blob that says how many there are."""


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """What is known of a column's values.

    Attributes:
        distinct_values: How many there are, to one or two percent above about four thousand. NULL and the empty
            string do not count.
        sequence_number: The snapshot that it was true of.
    """

    column: str
    distinct_values: int
    sequence_number: int


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """The newest statistics file that a table has.

    Attributes:
        snapshot: What it tells of.
        path: Where it is.
        distinct: Field id of a column → how many distinct values it has.
    """

    snapshot: IcebergSnapshot
    path: str
    distinct: Mapping[int, int]

    @classmethod
    def newest(cls, metadata: TableMetadata) -> TableStatistics | None:
        """Return the newest statistics of what readers see now, or saw before, if there are any."""
        listed: list[Mapping[str, Any]] = list(metadata.extra.get(STATISTICS, ()))
        by_snapshot = {item.get("snapshot-id"): item for item in listed if _distinct(item)}
        history = ancestors(metadata, metadata.current_snapshot_id) if by_snapshot else ()
        for snapshot in history:
            if found := by_snapshot.get(snapshot.snapshot_id):
                return cls(snapshot, str(found["statistics-path"]), _distinct(found))
        return None

    def columns(self, metadata: TableMetadata) -> tuple[ColumnStatistics, ...]:
        """Return what is known of the columns that the table still has."""
        named = {field_id: metadata.schema.find_column_name(field_id) for field_id in sorted(self.distinct)}
        return tuple(
            ColumnStatistics(name, self.distinct[field_id], self.snapshot.sequence_number)
            for field_id, name in named.items()
            if name
        )


def _distinct(item: Mapping[str, Any]) -> dict[int, int]:
    """Return the counts of a statistics file by field id; whatever another engine says differently is passed over."""
    found: dict[int, int] = {}
    for blob in item.get("blob-metadata") or ():
        fields, count = list(blob.get("fields", ())), (blob.get("properties") or {}).get(DISTINCT_VALUES, "")
        if blob.get("type") == SKETCH and len(fields) == 1 and str(count).isdecimal():
            found[fields[0]] = int(count)
    return found
