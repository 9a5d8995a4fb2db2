"""What a write is before it is resolved against the table, and before it is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
from pyroaring import BitMap64

from cordillera.spec.commit import Update
from cordillera.spec.expression import RowFilter
from cordillera.spec.manifest import Manifest
from cordillera.spec.merge import Operation
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.requirements import Requirement
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import ContentFile
from cordillera.table.live_files import LiveFile
from cordillera.table.snapshot_producer import FileChanges

Inspector = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""Looks at rows as they pass, and raises to refuse them."""


@dataclass(frozen=True, slots=True)
class StagedWrite:
    """Rows that were read, checked and, for appends and replacements, written to data files.

    Attributes:
        operation: What to do with them.
        batch: The rows of a keyed operation, one a key.
        files: The data files of an append or a replacement.
        where: The rows a replacement or a delete is about; None for all.
        inspect: Looks at the rows that get stored, where these are computed and not those that were written.
        inspect_new: Looks at the rows that a partial update adds for keys that are not stored.
        clauses: What a merge does with its batch.
    """

    operation: Operation
    batch: pa.Table | None = None
    files: tuple[ContentFile, ...] = ()
    where: RowFilter | None = None
    inspect: Inspector = iter
    inspect_new: Inspector = iter
    clauses: tuple[MergeClause, ...] = ()


@dataclass(frozen=True, slots=True)
class Basis:
    """What lets a prepared write be carried over to a later state of the table (see ``cordillera.table.rebase``).

    Attributes:
        metadata: The table it was prepared for.
        changes: What it does to files.
        removed: The rows it takes out. It has looked at no other stored rows.
        requirements, updates: The part of its commit that does not depend on the snapshot before it.
        written: The files behind these.
    """

    metadata: TableMetadata
    changes: FileChanges
    removed: Mapping[LiveFile, BitMap64]
    requirements: tuple[Requirement, ...]
    updates: tuple[Update, ...]
    written: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreparedWrite:
    """A write ready to be committed.

    Attributes:
        requirements, updates: The commit.
        manifest: What it changes.
        snapshot: The new snapshot; None if the write turned out to change no row.
        written: Files to remove if the commit does not happen.
        basis: What lets it be carried over to a later state of the table; None if it has to be prepared anew.
    """

    requirements: tuple[Requirement, ...]
    updates: tuple[Update, ...]
    manifest: Manifest
    snapshot: IcebergSnapshot | None
    written: tuple[str, ...] = field(default_factory=tuple)
    basis: Basis | None = None
