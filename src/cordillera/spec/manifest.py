"""The manifest of a snapshot: what the commit changed, file by file.

Other engines see Iceberg's own manifest files; this manifest is what subscriptions, completions and people read. It is
stored in the same transaction as the commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from cordillera.spec.merge import Operation


class TableOperation(StrEnum):
    """What a commit does to a table as a whole, other than writing rows."""

    COMPACT = "compact"
    """Move rows into fewer, larger or better sorted files; no row changes."""
    REWRITE_MANIFESTS = "rewrite_manifests"
    """Write Iceberg's manifests anew; no file changes."""
    ROLLBACK = "rollback"
    """Have the files of an earlier snapshot again."""


KEEPS_ROWS = frozenset({TableOperation.COMPACT, TableOperation.REWRITE_MANIFESTS})
"""Operations after which a table has the same rows and the same schema as before."""

KEEPS_KEYS = KEEPS_ROWS | {Operation.APPEND, Operation.UPSERT, Operation.PARTIAL_UPDATE}
"""Operations after which a table has every key that it had before."""

AnyOperation: TypeAlias = Operation | TableOperation
"""What a snapshot can have come from."""


class FileContent(StrEnum):
    """What a file of a commit holds."""

    DATA = "data"
    DELETION_VECTOR = "deletion_vector"
    POSITION_DELETES = "position_deletes"
    EQUALITY_DELETES = "equality_deletes"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file that a commit added or removed.

    Attributes:
        path: Absolute URI of the file.
        content: What it holds.
        added: True if the commit added the file, False if it removed it.
        partition: Partition as ``field=value/field=value``; empty for an unpartitioned table.
        rows: Rows in a data file, or rows marked deleted.
        bytes: Size in bytes (of the blob, for a deletion vector).
        statistics: Key column → ``[lowest, highest]`` as text; shortened for long values.
        checksum: ``sha256:…`` of the file; empty for files this lake did not write.
    """

    path: str
    content: FileContent
    added: bool
    partition: str
    rows: int
    bytes: int
    statistics: dict[str, list[str]] = field(default_factory=dict)
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one commit changed.

    Attributes:
        operation: The operation that made it; None for a commit by another engine, whose intent is not known.
        key: Key columns at the time.
        rows_inserted: Rows whose key was not there before.
        rows_updated: Rows that took the place of a stored row of their key.
        rows_deleted: Rows removed without a successor.
        rows_late: Rows dropped because a newer row of their key, or a newer delete, was stored already.
        partitions: Partitions touched, as in ``FileEntry.partition``.
        entries: The files.
    """

    operation: AnyOperation | None
    key: tuple[str, ...]
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_late: int = 0
    partitions: tuple[str, ...] = ()
    entries: tuple[FileEntry, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the counts without the file list."""
        return {
            "operation": self.operation,
            "rows_inserted": self.rows_inserted,
            "rows_updated": self.rows_updated,
            "rows_deleted": self.rows_deleted,
            "rows_late": self.rows_late,
            "partitions": list(self.partitions),
            "files_added": sum(entry.added for entry in self.entries),
            "files_removed": sum(not entry.added for entry in self.entries),
        }
