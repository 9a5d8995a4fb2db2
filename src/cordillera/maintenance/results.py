"""What maintenance did, or would do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

from cordillera.spec.maintenance import Advice, MaintenancePolicy, MaintenanceRun, TableCounters
from cordillera.spec.statistics import ColumnStatistics


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """What a compaction did.

    Attributes:
        groups: Groups of files that were rewritten.
        groups_left: Groups that a bound kept from being rewritten, or other writers overtook.
        bytes_left: Their size.
        commits: Commits they were made visible by.
        files_rewritten, bytes_rewritten: What went.
        files_written, bytes_written: What came.
        rows_moved: Rows in the new files.
        deletes_removed: Rows that had been deleted, and are now gone from the files.
        seconds: How long it took.
        upto: To be given to the compaction that goes on with what is left.
    """

    groups: int = 0
    groups_left: int = 0
    bytes_left: int = 0
    commits: int = 0
    files_rewritten: int = 0
    bytes_rewritten: int = 0
    files_written: int = 0
    bytes_written: int = 0
    rows_moved: int = 0
    deletes_removed: int = 0
    seconds: float = 0.0
    upto: int = 0

    @classmethod
    def total(cls, parts: Iterable[CompactionResult]) -> Self:
        """Return what compactions that followed one another did together; what is left, the last one says."""
        listed = list(parts)
        sums = {field.name: sum(getattr(part, field.name) for part in listed) for field in fields(cls)}
        last = {name: getattr(listed[-1], name) for name in ("groups_left", "bytes_left", "upto")} if listed else {}
        return cls(**{**sums, **last})


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """What an expiry removed, or would remove.

    Attributes:
        snapshots: Sequence numbers of the snapshots.
        refs: Branches and tags whose own limit has passed.
        files: Files removed with them; of a dry run 0, since they are only looked for afterwards.
    """

    snapshots: tuple[int, ...] = ()
    refs: tuple[str, ...] = ()
    files: int = 0


@dataclass(frozen=True, slots=True)
class ManifestRewriteResult:
    """How many manifests a table had, and has."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class StatisticsRefresh:
    """What a refresh of statistics found.

    Attributes:
        columns: What is known of the columns now.
        files_read, bytes_read: Data files that were looked into, and the size of the columns read there.
        seconds: How long it took.
    """

    columns: tuple[ColumnStatistics, ...] = ()
    files_read: int = 0
    bytes_read: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file under a table's location that no snapshot refers to: left behind by a writer that did not finish.

    Attributes:
        unfinished: Whether its writer died while it was writing the file, which then is no object of the storage:
            a file under a temporary name, or an incomplete multipart upload.
    """

    dataset: str
    uri: str
    bytes: int
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class OrphanRemoval:
    """What a removal of orphaned files did, or would do.

    Attributes:
        removed: Whether they were removed; False for a dry run.
        files, bytes: How many, and their size.
        examples: The first thousand.
        unfinished: How many of the files are unfinished.
    """

    removed: bool
    files: int
    bytes: int
    examples: tuple[Orphan, ...] = ()
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """What maintenance a dataset version needs.

    Attributes:
        policy: What is done to it without being asked.
        counters: Its table.
        advice: What could be done, whether it is due, and how long it will take.
        runs: What was done lately, newest first.
    """

    policy: MaintenancePolicy
    counters: TableCounters
    advice: tuple[Advice, ...]
    runs: tuple[MaintenanceRun, ...]
