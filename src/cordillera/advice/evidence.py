"""What is known about a table and its use: gathered from its files' statistics, recorded scans and committed merges.

The work is bounded however large the table is: bounds are looked at in a sample of its files, values in a sample of
rows, and merges of the recent past only, up to a number of file entries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.types import DateType, NestedField, TimestampType, TimestamptzType

from cordillera.ports.metadata import MetadataStore
from cordillera.spec.arrow_types import primitive
from cordillera.spec.catalog import Snapshot
from cordillera.spec.layout import ColumnFacts, Demand, MergeFacts
from cordillera.spec.manifest import FileContent, Manifest
from cordillera.spec.merge import Operation
from cordillera.spec.scan_statistics import ColumnScans, ColumnUse
from cordillera.spec.statistics import TableStatistics as DistinctValues
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.bloom_filter import can_be_filtered
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.reader import ReadOptions
from cordillera.table.scan_report import ScanReporter, is_counted, sample

_MERGES = frozenset({Operation.UPSERT, Operation.PARTIAL_UPDATE, Operation.DELETE, Operation.MERGE})
_PAGE = 100
_MOST_MERGES = 100
_MOST_ENTRIES = 50_000
_SAMPLED_FILES = 8
_CLOSE = 0.25
"""Keys of a merge lie close together if they span at most this share of the rows."""
_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
_FEW = 20
"""Values are few if each is there so many times in a sample."""


_Page = Callable[[UUID, int | None, int], list[Snapshot]]


@dataclass(frozen=True, slots=True)
class MergeTrace:
    """What one merge did to files.

    Attributes:
        rows: Rows that it changed.
        touched: Data files that it took rows out of.
        rewritten: Bytes of those that it rewrote.
        partitions: Partitions that it touched.
        keys: Key column → the least and the greatest value in each file that it wrote, as text; of a merge that rewrote
            files nothing is known, since the rest of their rows is among them.
    """

    rows: int
    touched: int
    rewritten: int
    partitions: int
    keys: Mapping[str, Sequence[tuple[str, str]]]


def recent_merges(store: MetadataStore, version_id: UUID, since: datetime) -> list[MergeTrace]:
    """Return what merges and deletes on ``main`` did since a moment, the newest first."""
    traces: list[MergeTrace] = []
    entries = 0
    with store.read() as tx:
        for snapshot in _snapshots(tx.snapshots.page, version_id, since):
            if snapshot.operation not in _MERGES:
                continue
            entries += snapshot.files_added + snapshot.files_removed
            if len(traces) >= _MOST_MERGES or entries > _MOST_ENTRIES:
                break
            manifest = tx.snapshots.manifest(version_id, snapshot.sequence_number)
            if manifest is not None:
                traces.append(trace_of(manifest))
    return traces


def _snapshots(page: _Page, version_id: UUID, since: datetime) -> Iterator[Snapshot]:
    before: int | None = None
    while found := page(version_id, before, _PAGE):
        for snapshot in found:
            if snapshot.committed_at < since:
                return
            yield snapshot
        before = found[-1].sequence_number


def trace_of(manifest: Manifest) -> MergeTrace:
    """Return what the commit of a manifest did to files."""
    removed = [one for one in manifest.entries if one.content is FileContent.DATA and not one.added]
    added = [one for one in manifest.entries if one.content is FileContent.DATA and one.added]
    marked = {one.path for one in manifest.entries if one.content is FileContent.DELETION_VECTOR and one.added}
    keys: dict[str, list[tuple[str, str]]] = {}
    for one in () if removed else added:
        for name, (low, high) in one.statistics.items():
            keys.setdefault(name, []).append((low, high))
    return MergeTrace(
        rows=manifest.rows_inserted + manifest.rows_updated + manifest.rows_deleted,
        touched=len(marked | {one.path for one in removed}),
        rewritten=sum(one.bytes for one in removed),
        partitions=len(manifest.partitions),
        keys=keys,
    )


def merge_facts(traces: Sequence[MergeTrace]) -> MergeFacts:
    """Return what merges did on the average."""
    if not traces:
        return MergeFacts()
    count = len(traces)
    return MergeFacts(
        count,
        sum(one.rows for one in traces) / count,
        sum(one.touched for one in traces) / count,
        sum(one.rewritten for one in traces) / count,
        sum(one.partitions for one in traces) / count,
    )


class TableStatistics:
    """What the statistics of a snapshot's files tell.

    Args:
        io: Access to the table's files.
        reporter: Knows how values are spread.
        metadata: The table; it must have a snapshot.
    """

    def __init__(self, io: TableIO, reporter: ScanReporter, metadata: TableMetadata) -> None:
        assert metadata.current_snapshot is not None, "an empty table has no statistics"
        self._io, self._reporter, self._metadata = io, reporter, metadata
        self._snapshot = metadata.current_snapshot
        self.files = io.files.live(self._snapshot)
        counted = DistinctValues.newest(metadata)
        self._counted: Mapping[int, int] = counted.distinct if counted else {}

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return len({(live.file.spec_id, live.file.partition) for live in self.files})

    def column(self, field: NestedField, *, sampled: bool) -> ColumnFacts:
        """Return facts about a column; how many values it has where they are counted, or may be ``sampled``."""
        bounds, counted = list(_bounds(sample(self.files), field)), is_counted(field.field_type)
        span = None
        if bounds and counted:
            span = float(max(high for _, high in bounds) - min(low for low, _ in bounds))
        distinct = self._few_of_all(field) if field.field_id in self._counted else None
        if sampled and field.field_id not in self._counted:
            distinct = self._few_of_sample(field)
        overlap, filterable = _overlap(bounds, counted=counted), can_be_filtered(field.field_type)
        return ColumnFacts(field.name, field.field_type, span, overlap, distinct, filterable)

    def width(self, field: NestedField, ranges: Iterable[tuple[str, str]]) -> float | None:
        """Return the share of rows in ranges of values given as text; None if it cannot be told."""
        if not is_counted(field.field_type):
            return None
        spread, width = self._reporter.spread(self._snapshot, field), 0.0
        for low, high in ranges:
            ends = _number(low, field), _number(high, field)
            if ends[0] is None or ends[1] is None:
                return None
            width += spread.fraction(ends[0], ends[1]) or 0.0
        return min(width, 1.0)

    def _few_of_all(self, field: NestedField) -> int | None:
        """Return how many values a column has by the table's own statistics, if these are few."""
        distinct, rows = self._counted[field.field_id], sum(live.file.record_count for live in self.files)
        return distinct if distinct and distinct * _FEW <= rows else None

    def _few_of_sample(self, field: NestedField) -> int | None:
        """Return how many values a column has if a sample of its rows shows that they are few."""
        if not field.field_type.is_primitive:
            return None
        step = max(len(self.files) // _SAMPLED_FILES, 1)
        options = ReadOptions(self._metadata.schema.select(field.name))
        columns = [
            batch.column(0)
            for live in self.files[::step][:_SAMPLED_FILES]
            for batch in islice(self._io.reader.read(live, options), 1)
        ]
        values = pa.chunked_array(columns, options.arrow_schema().field(0).type)
        distinct = int(pc.count_distinct(values).as_py())
        return distinct if distinct and distinct * _FEW <= len(values) else None


def scan_demands(totals: Iterable[ColumnScans], names: dict[int, str]) -> Iterator[Demand]:
    """Return what recorded scans ask of the columns that there still are."""
    for one in totals:
        if one.use in (ColumnUse.EQUALITY, ColumnUse.RANGE) and one.column_id in names and one.files:
            yield Demand(
                names[one.column_id],
                one.use,
                one.scans,
                one.alone,
                read=one.files_read / one.files,
                width=one.fraction / one.measured if one.measured else None,
                values=one.values / one.scans or 1.0,
            )


def merge_demands(
    traces: Sequence[MergeTrace], statistics: TableStatistics, keys: Sequence[NestedField]
) -> list[Demand]:
    """Return what those merges ask whose keys lie close together, by the first key column that shows it."""
    for field in keys:
        found = [(one, statistics.width(field, one.keys[field.name])) for one in traces if field.name in one.keys]
        close = [(one.touched, width) for one, width in found if one.touched and width is not None and width <= _CLOSE]
        if close:
            count, files = len(close), max(len(statistics.files), 1)
            read = min(sum(touched for touched, _ in close) / count / files, 1.0)
            width = sum(width for _, width in close) / count
            return [Demand(field.name, ColumnUse.RANGE, count, count, read, width, by_merges=True)]
    return []


def _bounds(files: Sequence[LiveFile], field: NestedField) -> Iterator[tuple[Any, Any]]:
    """Yield the least and the greatest value of a column in each file that knows them."""
    if not field.field_type.is_primitive:
        return
    kind, number = primitive(field), field.field_id
    for live in files:
        low, high = live.file.lower_bounds.get(number), live.file.upper_bounds.get(number)
        if low is not None and high is not None:
            yield from_bytes(kind, low), from_bytes(kind, high)


def _overlap(bounds: Sequence[tuple[Any, Any]], *, counted: bool) -> float | None:
    """Return the share of files whose bounds include a value, on the average.

    Of numbers it is the share that includes a place within a file's bounds, over several places in each; of others,
    which have no places between them, the share whose bounds meet those of a file.
    """
    if not bounds:
        return None
    lows, highs = sorted(low for low, _ in bounds), sorted(high for _, high in bounds)
    ranges = bounds
    if counted:
        places = [low + (high - low) * place for low, high in bounds for place in _PLACES]
        ranges = [(place, place) for place in places]
    meeting = sum(bisect_right(lows, high) - bisect_left(highs, low) for low, high in ranges)
    return meeting / (len(ranges) * len(bounds))


def _number(text: str, field: NestedField) -> float | None:
    """Return a value that was written as people read it as the number it is to Iceberg."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        match field.field_type:
            case DateType():
                return (date.fromisoformat(text) - epoch.date()).days
            case TimestampType() | TimestamptzType():
                moment = datetime.fromisoformat(text)
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return (moment - epoch) / timedelta(microseconds=1)
            case _:
                return int(text)
    except ValueError:
        return None
