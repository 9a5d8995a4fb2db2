"""What keeps a table in shape, when it is due, and how long it will take. Rules only; the work is done elsewhere.

Whether something is due is told from counters that every commit knows anyway, so that asking costs nothing:
how many data files there are and what they hold, how many rows are marked deleted, how old the oldest snapshot is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any, Self
from uuid import UUID

from cordillera.errors import InvalidInputError
from cordillera.spec.counting import counted
from cordillera.spec.statistics import TableStatistics
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata

PREFIX = "cordillera.maintenance."
TARGET_FILE_SIZE_PROPERTY = "write.target-file-size-bytes"
SNAPSHOT_AGE_PROPERTY = "history.expire.max-snapshot-age-ms"
SNAPSHOTS_KEPT_PROPERTY = "history.expire.min-snapshots-to-keep"
DEFAULT_TARGET_FILE_SIZE = 128 * 1024 * 1024
SORTED_AT_ONCE = 4 * 1024**3
"""So many bytes of files a compaction sorts, or moves to other partitions, together: a larger table becomes several
runs, each sorted by itself."""
DEFAULT_BYTES_PER_SECOND = 30_000_000.0
"""What compaction is assumed to do before anything has been measured: one slow core."""
_FIXED_SECONDS = 0.2
_EXPIRY_SECONDS_PER_SNAPSHOT = 0.02
_LEAST_BETWEEN_EXPIRIES = timedelta(hours=1)
_UNCOUNTED_SHARE = 0.1
_NEGLIGIBLE_DELETED = 10_000
"""So few deleted rows cost a reader nothing worth a commit that every consumer then has to look at."""


class Strategy(StrEnum):
    """How compaction lays rows out in the files it writes."""

    BIN_PACK = "bin-pack"
    """One behind the other, as they were."""
    SORT = "sort"
    """Sorted by columns, by default the table's sort order, else the key."""
    Z_ORDER = "z-order"
    """Along a curve that keeps rows together that are near in all of several columns."""


class MaintenanceTask(StrEnum):
    """What maintenance can do to a table."""

    COMPACT = "compact"
    EXPIRE = "expire"
    REWRITE_MANIFESTS = "rewrite_manifests"
    REFRESH_STATISTICS = "refresh_statistics"


@dataclass(frozen=True, slots=True)
class CompactionOptions:
    """What a compaction is to do.

    Attributes:
        strategy: How rows are laid out.
        columns: What to sort or to order by; for sort by default the table's sort order, else the key.
        where: SQL condition; only files that may hold rows it is true for are rewritten, such a file as a whole.
        target_file_size: Bytes; by default the table's ``write.target-file-size-bytes``.
        delete_ratio: A file is rewritten once a larger share of its rows is deleted; 0 for any deleted row.
        rewrite_all: Rewrite files that need it for neither size nor deletes; by default when sorting.
        tiered: Leave a file alone that is far larger than the smaller ones together, so that the work of many runs
            grows with the logarithm of the number of files, not with the table.
        max_groups: End after so many groups of files; the rest is left for another time.
        max_bytes: End once so many bytes have been rewritten.
        upto: Only files that were there at this sequence number: what goes on after a bounded run leaves alone what
            that one has written.
    """

    strategy: Strategy = Strategy.BIN_PACK
    columns: tuple[str, ...] = ()
    where: str | None = None
    target_file_size: int | None = None
    delete_ratio: float = 0.0
    rewrite_all: bool | None = None
    tiered: bool = False
    max_groups: int | None = None
    max_bytes: int | None = None
    upto: int | None = None

    def check(self) -> None:
        """Refuse values that cannot be.

        Raises:
            InvalidInputError: Naming the first.
        """
        if self.target_file_size is not None and self.target_file_size < 1:
            raise InvalidInputError(f"A target file size of {self.target_file_size} bytes cannot be.")
        if not 0 <= self.delete_ratio <= 1:
            raise InvalidInputError(f"A share of deleted rows of {self.delete_ratio} cannot be.", hint="Give 0 to 1.")
        for name in ("max_groups", "max_bytes"):
            bound = getattr(self, name)
            if bound is not None and bound < 1:
                raise InvalidInputError(f"{name} is {bound}; nothing would be done.", hint="Give 1 or more.")
        if self.strategy is Strategy.BIN_PACK and self.columns:
            raise InvalidInputError(
                "Bin-packing orders by no columns.", hint="Use the strategy sort or z-order, or give no columns."
            )
        if self.strategy is Strategy.Z_ORDER and not 2 <= len(self.columns) <= 8:
            raise InvalidInputError("Z-ordering needs two to eight columns.", hint="By one column, use sort.")


def parse_strategy(text: str | Strategy) -> Strategy:
    """Return the strategy of that name.

    Raises:
        InvalidInputError: Listing the strategies there are.
    """
    try:
        return Strategy(text)
    except ValueError:
        raise InvalidInputError(
            f"There is no compaction strategy {str(text)[:40]!r}.", hint=f"Use one of: {', '.join(Strategy)}."
        ) from None


@dataclass(frozen=True, slots=True)
class MaintenancePolicy:
    """What is done to a dataset version without being asked, from its table properties.

    Attributes:
        enabled: Whether anything is.
        small_files: So many more data files than the data needs make compaction due.
        delete_ratio: Such a share of deleted rows makes compaction due, of the table and of each file rewritten.
        strategy, columns: As in ``CompactionOptions``; a table that has a sort order is sorted if nothing is said.
        expire_snapshots: Whether snapshots that are older than ``max_snapshot_age`` go.
        max_snapshot_age: How long a snapshot stays readable.
        min_snapshots: So many of a branch stay however old they are.
        target_file_size: Bytes.
        refresh_statistics: Whether the distinct values of key and partition columns are counted, and counted again
            once a tenth of the rows has changed.
    """

    enabled: bool = True
    small_files: int = 32
    delete_ratio: float = 0.2
    strategy: Strategy = Strategy.BIN_PACK
    columns: tuple[str, ...] = ()
    expire_snapshots: bool = True
    max_snapshot_age: timedelta = timedelta(days=30)
    min_snapshots: int = 10
    target_file_size: int = DEFAULT_TARGET_FILE_SIZE
    refresh_statistics: bool = False

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Self:
        """Read the policy from a table's properties.

        Raises:
            InvalidInputError: If a property has a value that cannot be, or begins like one of these and is none.
        """
        unknown = [name for name in properties if name.startswith(PREFIX) and name not in _PARSERS]
        if unknown:
            known = ", ".join(sorted(name for name in _PARSERS if name.startswith(PREFIX)))
            raise InvalidInputError(f"There is no property {unknown[0]!r}.", hint=f"Known are: {known}.")
        return cls(**{name: _parsed(prop, properties[prop]) for prop, name in _FIELDS.items() if prop in properties})

    @classmethod
    def or_usual(cls, properties: Mapping[str, str]) -> Self:
        """Read the policy from a table's properties; the usual one where another engine has set what cannot be read."""
        try:
            return cls.of(properties)
        except InvalidInputError:
            return cls()

    def under(self, metadata: TableMetadata) -> Self:
        """Return the policy as it holds for a table: what has a sort order is sorted, unless the policy says how."""
        declared = f"{PREFIX}strategy" in metadata.properties
        return self if declared or not metadata.sort_order["fields"] else replace(self, strategy=Strategy.SORT)

    def to_plain(self) -> dict[str, Any]:
        """Return the policy as JSON can hold it; the age in hours."""
        age = self.max_snapshot_age.total_seconds() / 3600
        return {**asdict(self), "max_snapshot_age": age}


def check_policy(properties: Mapping[str, str | None]) -> None:
    """Refuse properties that no policy is read from.

    Raises:
        InvalidInputError: Naming the first.
    """
    for name in properties:
        if name not in _PARSERS:
            raise InvalidInputError(
                f"{name[:60]!r} is no property of maintenance.", hint=f"Known are: {', '.join(sorted(_PARSERS))}."
            )


def policy_property(name: str) -> str:
    """Return the table property of a policy's field, or of the last part of a property's name.

    Raises:
        InvalidInputError: Listing the names there are.
    """
    for prop, field in _FIELDS.items():
        if prop == name or field == name.replace("-", "_"):
            return prop
    raise InvalidInputError(
        f"{name[:60]!r} is nothing that maintenance knows.",
        hint=f"Known are: {', '.join(sorted(field.replace('_', '-') for field in _FIELDS.values()))}.",
    )


def policy_value(value: object) -> str | None:
    """Return a policy's value as the property that holds it; None stays None, which means the default."""
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case timedelta():
            return str(int(value.total_seconds() * 1000))
        case str():
            return value
        case Sequence():
            return ",".join(map(str, value))
        case _:
            return str(value)


def policy_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that a policy is read from."""
    return {name: value for name, value in properties.items() if name in _PARSERS or name.startswith(PREFIX)}


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _at_least(least: int, text: str) -> int:
    if int(text) < least:
        raise ValueError
    return int(text)


def _share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise ValueError
    return float(text)


_PARSERS: dict[str, tuple[str, Any, str]] = {
    f"{PREFIX}enabled": ("enabled", _flag, "true or false"),
    f"{PREFIX}small-files": ("small_files", lambda text: _at_least(2, text), "a number from 2 on"),
    f"{PREFIX}delete-ratio": ("delete_ratio", _share, "a number above 0, at most 1"),
    f"{PREFIX}strategy": ("strategy", Strategy, f"one of {', '.join(Strategy)}"),
    f"{PREFIX}columns": (
        "columns",
        lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
        "column names with commas between them",
    ),
    f"{PREFIX}expire-snapshots": ("expire_snapshots", _flag, "true or false"),
    SNAPSHOT_AGE_PROPERTY: (
        "max_snapshot_age",
        lambda text: timedelta(milliseconds=_at_least(0, text)),
        "a number of milliseconds",
    ),
    SNAPSHOTS_KEPT_PROPERTY: ("min_snapshots", lambda text: _at_least(1, text), "a number from 1 on"),
    TARGET_FILE_SIZE_PROPERTY: ("target_file_size", lambda text: _at_least(1, text), "a number of bytes"),
    f"{PREFIX}refresh-statistics": ("refresh_statistics", _flag, "true or false"),
}
_FIELDS = {prop: name for prop, (name, _, _) in _PARSERS.items()}


def _parsed(prop: str, text: str) -> Any:
    _, parse, wanted = _PARSERS[prop]
    try:
        return parse(text)
    except (ValueError, OverflowError):
        raise InvalidInputError(f"The property {prop} is {text[:40]!r}.", hint=f"Give {wanted}.") from None


# --- when something is due ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableCounters:
    """What a commit knows of its table without looking at any file.

    Attributes:
        files: Live data files.
        bytes: Their size.
        records: Rows in them, deleted ones included.
        deleted: Rows marked deleted.
        snapshots: Snapshots in the table's history.
        oldest_ms: When the oldest of them was made, in milliseconds since the epoch.
        uncounted: By how many rows, stored or marked deleted, it differs from what its newest statistics tell of.
    """

    files: int = 0
    bytes: int = 0
    records: int = 0
    deleted: int = 0
    snapshots: int = 0
    oldest_ms: int = 0
    uncounted: int = 0

    @classmethod
    def of(cls, metadata: TableMetadata) -> TableCounters:
        """Return the counters of a table."""
        statistics, totals = TableStatistics.newest(metadata), _totals(metadata.current_snapshot)
        counted = _totals(statistics.snapshot if statistics else None)
        oldest = metadata.snapshots[0].timestamp_ms if metadata.snapshots else 0
        uncounted = sum(abs(totals[name] - counted[name]) for name in ("records", "deleted"))
        return cls(**totals, snapshots=len(metadata.snapshots), oldest_ms=oldest, uncounted=uncounted)

    @classmethod
    def from_plain(cls, raw: Mapping[str, Any]) -> TableCounters:
        """Read counters that ``asdict`` made; what is missing counts as none."""
        return cls(**{field.name: int(raw.get(field.name, 0)) for field in fields(cls)})


def _totals(snapshot: IcebergSnapshot | None) -> dict[str, int]:
    summary = snapshot.summary if snapshot else {}
    names = {"files": "data-files", "bytes": "files-size", "records": "records", "deleted": "position-deletes"}
    return {name: int(summary.get(f"total-{total}", 0)) for name, total in names.items()}


@dataclass(frozen=True, slots=True)
class MaintenanceRun:
    """Maintenance that was done once.

    Attributes:
        files_rewritten, bytes_rewritten: What was read and replaced, or removed.
        files_written: What took its place.
        files_left: Data files of the table afterwards.
        seconds: How long it took.
    """

    id: UUID
    dataset_version_id: UUID
    task: MaintenanceTask
    finished_at: datetime
    seconds: float
    files_rewritten: int
    bytes_rewritten: int
    files_written: int
    files_left: int


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of maintenance: whether it is due, why, and what it will cost.

    Attributes:
        files, bytes: What would be rewritten or removed; for expiry, ``files`` counts snapshots.
        predicted_seconds: How long it will take, told from earlier runs.
    """

    task: MaintenanceTask
    due: bool
    reason: str
    files: int
    bytes: int
    predicted_seconds: float


def compaction_due(policy: MaintenancePolicy, counters: TableCounters, last: MaintenanceRun | None) -> str:
    """Return why compaction is due, or nothing.

    Args:
        policy: The dataset version's.
        counters: The table now.
        last: The compaction before. The files it left could not be merged any further.
    """
    needed = max(ceil(counters.bytes / policy.target_file_size), last.files_left if last else 0)
    if counters.files - needed >= policy.small_files:
        return f"{counters.files - needed:,} more data files than the data needs"
    if counters.deleted >= _NEGLIGIBLE_DELETED and counters.deleted / counters.records >= policy.delete_ratio:
        return f"{counters.deleted / counters.records:.0%} of the stored rows are deleted"
    return ""


def expiry_due(policy: MaintenancePolicy, counters: TableCounters, last: MaintenanceRun | None, now: datetime) -> str:
    """Return why expiry is due, or nothing. It waits for several snapshots to be old, so that it is not always due."""
    if not policy.expire_snapshots or counters.snapshots <= policy.min_snapshots:
        return ""
    between = max(policy.max_snapshot_age / 10, _LEAST_BETWEEN_EXPIRIES)
    if last is not None and now - last.finished_at < between:
        return ""
    age = timedelta(milliseconds=int(now.timestamp() * 1000) - counters.oldest_ms)
    if age < policy.max_snapshot_age + between:
        return ""
    return f"the oldest of {counted(counters.snapshots, 'snapshot')} is {counted(age.days, 'day')} old"


def statistics_due(policy: MaintenancePolicy, counters: TableCounters) -> str:
    """Return why statistics are to be counted again, or nothing."""
    if not policy.refresh_statistics or counters.uncounted <= counters.records * _UNCOUNTED_SHARE:
        return ""
    return f"{counted(counters.uncounted, 'row')} came or went since distinct values were counted"


def predicted_seconds(task: MaintenanceTask, amount: int, runs: Iterable[MaintenanceRun]) -> float:
    """Return how long a task will take.

    Args:
        task: What is to be done.
        amount: Bytes to rewrite; for expiry, snapshots to remove.
        runs: Earlier runs of the same task, of the same dataset where there are any.
    """
    if not amount:
        return 0.0
    measured: Sequence[MaintenanceRun] = [run for run in runs if run.bytes_rewritten and run.seconds > 0]
    if task is MaintenanceTask.EXPIRE:
        return round(_FIXED_SECONDS + amount * _EXPIRY_SECONDS_PER_SNAPSHOT, 2)
    # The whole over the whole: a run of a few bytes, mostly overhead, then counts for little.
    seconds, done = sum(run.seconds for run in measured), sum(run.bytes_rewritten for run in measured)
    return round(_FIXED_SECONDS + amount / (done / seconds if done else DEFAULT_BYTES_PER_SECOND), 2)
