"""How much of a table reads need under a layout: as it is, sorted, z-ordered, or partitioned. Estimates only.

Everything is counted in shares of the table's files, from 0 to 1. A file counts as much as any other, and values are
taken to be spread evenly over the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from pyiceberg.types import DateType, IcebergType, TimestampType, TimestamptzType

from cordillera.spec.maintenance import SORTED_AT_ONCE, MaintenancePolicy
from cordillera.spec.merge import WriteMode
from cordillera.spec.scan_statistics import ColumnUse

_DAY = 86_400_000_000
TIME_UNITS: Mapping[str, float] = {"hour": _DAY / 24, "day": _DAY, "month": 30.44 * _DAY, "year": 365.25 * _DAY}
"""Transforms of time columns, the finest first, and the length of their partitions in microseconds."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What the statistics of a table's files say about a column.

    Attributes:
        name: The column.
        type: Its type.
        span: What lies between its least and its greatest value: days or microseconds for time, else the difference;
            None where values are no numbers to Iceberg.
        overlap: The share of files whose bounds include a value, on the average; None where it is not known.
        distinct: How many values there are, where they are known to be few; None for many.
        can_be_filtered: Whether Bloom filters find its values.
    """

    name: str
    type: IcebergType
    span: float | None = None
    overlap: float | None = None
    distinct: int | None = None
    can_be_filtered: bool = False

    def partitions_by(self, unit: str) -> float:
        """Return how many partitions of a unit of time the values are spread over."""
        assert self.span is not None, "time is a number to Iceberg"
        micros = self.span * _DAY if isinstance(self.type, DateType) else self.span
        return micros / TIME_UNITS[unit] + 1

    @property
    def units(self) -> tuple[str, ...]:
        """The units of time that the column can be partitioned by."""
        if self.span is None:
            return ()
        if isinstance(self.type, DateType):
            return tuple(unit for unit in TIME_UNITS if unit != "hour")
        return tuple(TIME_UNITS) if isinstance(self.type, TimestampType | TimestamptzType) else ()


@dataclass(frozen=True, slots=True)
class Demand:
    """What scans or merges ask of one column.

    Attributes:
        column: The column.
        use: Whether they look for values or for ranges.
        count: How many there were.
        alone: How many of them asked for nothing else.
        read: The share of the table's files they read, on the average.
        width: The share of the rows that a range holds, on the average; None where it is not known.
        values: How many values an equality looks for, on the average.
        by_merges: Whether merges asked, and not scans.
    """

    column: str
    use: ColumnUse
    count: int
    alone: int = 0
    read: float = 1.0
    width: float | None = None
    values: float = 1.0
    by_merges: bool = False

    @property
    def weight(self) -> float:
        """How much it counts: what asks for several columns is shared between them."""
        return self.alone + (self.count - self.alone) / 2


@dataclass(frozen=True, slots=True)
class MergeFacts:
    """What merges and deletes of the recent past did to files.

    Attributes:
        count: How many there were.
        rows: Rows that one changed, on the average.
        files_touched: Files that one took rows out of, on the average.
        rewritten: Bytes of files that one rewrote, on the average.
        partitions: Partitions that one touched, on the average.
    """

    count: int = 0
    rows: float = 0.0
    files_touched: float = 0.0
    rewritten: float = 0.0
    partitions: float = 0.0


@dataclass(frozen=True, slots=True)
class LayoutFacts:
    """What is known about a table and the use that is made of it.

    Attributes:
        dataset: Its name.
        columns: Facts about the columns that are asked for.
        demands: What is asked of them.
        merges: What merges did.
        days: Over how many days was counted.
        scans: How many scans there were, whatever they asked for.
        partitioning: Terms of its partitioning.
        sort_order: Terms of its sort order.
        bloom_filters: Columns that have some.
        partitions: How many there are.
        files, bytes, rows: What it consists of.
        row_group: How many rows a row group has; no file ends within one as long as there are more rows.
        policy: How it is maintained.
        write_mode: How rows are taken out of files.
        format_version: Iceberg's.
    """

    dataset: str
    columns: Mapping[str, ColumnFacts] = field(default_factory=dict)
    demands: tuple[Demand, ...] = ()
    merges: MergeFacts = MergeFacts()
    days: int = 30
    scans: int = 0
    partitioning: tuple[str, ...] = ()
    sort_order: tuple[str, ...] = ()
    bloom_filters: tuple[str, ...] = ()
    partitions: int = 1
    files: int = 0
    bytes: int = 0
    rows: int = 0
    row_group: int = 1
    policy: MaintenancePolicy = field(default_factory=MaintenancePolicy)
    write_mode: WriteMode = WriteMode.MERGE_ON_READ
    format_version: int = 3

    @property
    def target_file_size(self) -> int:
        """How large data files are to be, in bytes."""
        return self.policy.target_file_size

    @property
    def files_when_compacted(self) -> int:
        """How many files the data needs, whatever its partitions."""
        group = max(self.row_group * self.bytes / max(self.rows, 1), 1)
        return max(ceil(self.bytes / (ceil(self.target_file_size / group) * group)), 1)

    @property
    def files_needed(self) -> int:
        """How many files the data needs in the partitions it has."""
        return max(self.files_when_compacted, self.partitions)

    @property
    def sorted_runs(self) -> int:
        """How many runs a sorting compaction makes, each sorted by itself."""
        return max(ceil(self.bytes / SORTED_AT_ONCE), 1)

    def read_now(self, demand: Demand) -> float:
        """Return the share of files that a demand reads now.

        What was recorded may be older than the present layout, whose bounds then tell better; it may also be less,
        because what is asked of other columns rules files out.
        """
        facts = self.columns[demand.column]
        if facts.overlap is None or (demand.use is ColumnUse.RANGE and demand.width is None):
            return demand.read
        asked = demand.width or 0.0
        if demand.use is ColumnUse.RANGE:
            return min(demand.read, asked + facts.overlap)
        return min(demand.read, demand.values * facts.overlap)

    def read_sorted(self, demand: Demand) -> float:
        """Return the share of files that a demand reads once the table is sorted by its column."""
        return self._read(demand, 1 / self.files_when_compacted * self.sorted_runs)

    def read_z_ordered(self, demand: Demand, columns: int) -> float:
        """Return the share of files that a demand reads once the table is z-ordered by its column and others."""
        runs = self.sorted_runs
        slices = max(self.files_when_compacted / runs, 1) ** (1 / columns)
        return self._read(demand, 1 / slices)

    def read_partitioned(self, demand: Demand, partitions: float) -> float:
        """Return the share of files that a demand reads once its column splits the table into so many partitions."""
        return self._read(demand, 1 / max(partitions, 1))

    def _read(self, demand: Demand, least: float) -> float:
        """Return the share of files that a demand reads where files hold so large a part of the values each."""
        if demand.use is ColumnUse.RANGE:
            return 1.0 if demand.width is None else min(demand.width + least, 1.0)
        distinct = self.columns[demand.column].distinct
        return min(demand.values * max(least, 1 / distinct if distinct else 0.0), 1.0)
