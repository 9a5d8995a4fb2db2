"""Scans that others carry out: which files they have to read, and what they still have to check of each file's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyiceberg.schema import Schema

from cordillera.spec.scan_filter import PlainPredicate, ScanFilter, all_of
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import Content, Status
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.table.pruning import FilterCover, FilterPruner


@dataclass(frozen=True, slots=True)
class ScanTask:
    """A data file to read.

    Attributes:
        live: The file, with its deletes.
        residual: The condition that its rows have to be tested with.
    """

    live: LiveFile
    residual: PlainPredicate


class TaskPlanner:
    """Tells which files of a list hold rows that a filter may be true for.

    Args:
        metadata: The table.
        schema: The schema that the filter is checked against.
        wanted: The filter.
    """

    def __init__(self, metadata: TableMetadata, schema: Schema, wanted: ScanFilter) -> None:
        self._may_match = FilterPruner(metadata, schema, wanted.pruning)
        self._covers = [(part, FilterCover(schema, part.columns, part.certain)) for part in wanted.parts]

    def matching(self, files: Sequence[LiveFile], among: range) -> list[int]:
        """Return the positions, among some, of the files to be read."""
        return [position for position in among if self._may_match(files[position].file)]

    def task(self, live: LiveFile) -> ScanTask:
        """Return the task of a file."""
        return ScanTask(live, all_of([part for part, covers in self._covers if not covers(live.file)]))


def appended_files(files: SnapshotFiles, snapshots: Sequence[IcebergSnapshot]) -> tuple[LiveFile, ...]:
    """Return the data files that snapshots have added, as they were then."""
    return tuple(live for snapshot in snapshots for live in _added(files, snapshot))


def _added(files: SnapshotFiles, snapshot: IcebergSnapshot) -> Iterator[LiveFile]:
    for manifest in files.manifests(snapshot):
        if manifest.added_snapshot_id != snapshot.snapshot_id:
            continue
        for entry in files.entries(manifest):
            is_data = entry.file.content is Content.DATA
            if is_data and entry.status is Status.ADDED and entry.snapshot_id == snapshot.snapshot_id:
                yield LiveFile(entry, None)
