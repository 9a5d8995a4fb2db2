"""What a scan asked for and what it has to read, without the values that it compares with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import BooleanExpression
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, IcebergType, IntegerType, LongType, NestedField, TimestampType, TimestamptzType

from cordillera.spec.arrow_types import primitive
from cordillera.spec.scan_statistics import ColumnReport, ColumnUse, Narrowing, ScanReport, narrowings
from cordillera.spec.table_metadata import IcebergSnapshot
from cordillera.table.live_files import LiveFile, LruCache, SnapshotFiles

_SAMPLE = 1_000
"""Of so many files the bounds tell how values are spread; more would tell hardly more."""
_KEPT = 200
COUNTED_TYPES = (IntegerType, LongType, DateType, TimestampType, TimestamptzType)
"""Types whose values are numbers to Iceberg, so that a part of a range can be told."""


@dataclass(frozen=True, slots=True)
class ColumnSpread:
    """How the values of a column are spread over the files of a sample.

    Attributes:
        low, high: The bounds of each file.
        rows: How many rows each has.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]

    def fraction(self, low: float, high: float) -> float | None:
        """Return the share of rows between two values, both included, if rows are spread evenly in each file."""
        total = float(self.rows.sum())
        if not total:
            return None
        width = self.high - self.low + 1
        inside = np.minimum(self.high, high) - np.maximum(self.low, low) + 1
        return float((np.clip(inside / width, 0, 1) * self.rows).sum()) / total


class ScanReporter:
    """Says what scans asked for.

    Args:
        files: Knows the files of snapshots.
    """

    def __init__(self, files: SnapshotFiles) -> None:
        self._files = files
        self._spreads: LruCache[tuple[str, int], ColumnSpread] = LruCache(_KEPT)

    def report(
        self,
        snapshot: IcebergSnapshot | None,
        schema: Schema,
        pruning: BooleanExpression,
        columns: Sequence[str],
        read: Sequence[LiveFile],
    ) -> ScanReport:
        """Return the report of a scan.

        Args:
            snapshot: What it reads.
            schema: The schema it reads under.
            pruning: What statistics decide of its condition.
            columns: Every top-level column that the condition uses.
            read: The files that are left to be read.
        """
        size = sum(live.file.file_size_in_bytes for live in read)
        return ScanReport(
            columns=tuple(
                self._column(snapshot, schema.find_field(name), narrowing)
                for name, narrowing in narrowings(pruning, columns).items()
            ),
            files=len(self._files.live(snapshot)),
            bytes=max(size, int(snapshot.summary.get("total-files-size", 0))) if snapshot else 0,
            files_read=len(read),
            bytes_read=size,
        )

    def spread(self, snapshot: IcebergSnapshot, field: NestedField) -> ColumnSpread:
        """Return how the values of a column with one of ``COUNTED_TYPES`` are spread over a snapshot's files."""
        key = (snapshot.manifest_list, field.field_id)
        return self._spreads.get(key, lambda: spread_of(sample(self._files.live(snapshot)), field))

    def _column(self, snapshot: IcebergSnapshot | None, field: NestedField, narrowing: Narrowing) -> ColumnReport:
        fraction = None
        if narrowing.use is ColumnUse.RANGE and snapshot is not None and is_counted(field.field_type):
            low = -np.inf if narrowing.low is None else narrowing.low
            high = np.inf if narrowing.high is None else narrowing.high
            fraction = self.spread(snapshot, field).fraction(low, high)
        return ColumnReport(field.field_id, narrowing.use, narrowing.values, fraction)


def is_counted(kind: IcebergType) -> bool:
    """Tell whether values of a type are numbers to Iceberg."""
    return isinstance(kind, COUNTED_TYPES)


def sample(files: Sequence[LiveFile]) -> Sequence[LiveFile]:
    """Return some of many files, evenly chosen."""
    return files[:: -(-len(files) // _SAMPLE)] if files else files


def spread_of(files: Sequence[LiveFile], field: NestedField) -> ColumnSpread:
    """Return how the values of a column are spread over files; those without bounds are left out."""
    known: list[tuple[Any, Any, int]] = []
    kind, number = primitive(field), field.field_id
    for live in files:
        low, high = live.file.lower_bounds.get(number), live.file.upper_bounds.get(number)
        if low is not None and high is not None:
            known.append((from_bytes(kind, low), from_bytes(kind, high), live.file.record_count))
    table = np.asarray(known, dtype=np.float64).reshape(-1, 3)
    return ColumnSpread(table[:, 0], table[:, 1], table[:, 2])
