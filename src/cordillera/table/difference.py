"""Where the rows lie by which two snapshots differ, told from manifests, deletion vectors and row lineage.

A file that both snapshots have, with the same deletes, is not looked at. Of one whose deletes differ, only the rows in
question are. What remains are files that only one snapshot has; where rows have ids, those that were merely carried
over from one file to another, as copy-on-write and compaction do, are told by id and sequence number alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

import pyarrow as pa
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.spec import sql
from cordillera.spec.snapshot_summary import moves_rows
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.data_file import FILE_INDEX, POSITION, MayContain
from cordillera.table.data_writer import LAST_UPDATED, ROW_ID
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.reader import ReadOptions

Identity = tuple[str, int | None]
"""A data file's path, and its first row id where that matters."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """Rows of one snapshot.

    Attributes:
        files: The data files they lie in.
        positions: By path, where in a file; all live rows of a file that is not named.
    """

    files: tuple[LiveFile, ...] = ()
    positions: Mapping[str, BitMap64] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files)

    @property
    def has_whole_files(self) -> bool:
        """Whether all rows of some file are among them."""
        return len(self.positions) < len(self.files)

    @property
    def have_ids(self) -> bool:
        """Whether every row has an id: rows of format version 2 have none."""
        return all(live.file.first_row_id is not None for live in self.files)

    @property
    def count(self) -> int:
        """How many rows there are."""
        whole = sum(live.live_rows for live in self.files if live.path not in self.positions)
        return whole + sum(map(len, self.positions.values()))

    @property
    def whole_files(self) -> FileRows:
        """Those of files of which all rows are among them."""
        return FileRows(tuple(live for live in self.files if live.path not in self.positions))

    def that(self, may_contain: MayContain) -> FileRows:
        """Return those of files that may hold rows of interest."""
        files = tuple(live for live in self.files if may_contain(live.file))
        return FileRows(files, {live.path: self.positions[live.path] for live in files if live.path in self.positions})

    def read(
        self, io: TableIO, schema: Schema, metadata_columns: tuple[str, ...], may_contain: MayContain | None = None
    ) -> pa.RecordBatchReader:
        """Stream them under a schema."""
        options = ReadOptions(schema, metadata_columns, may_contain, only=self.positions)
        return io.reader.stream(self.files, options)


@dataclass(frozen=True, slots=True)
class SnapshotDifference:
    """Rows that one snapshot has and the other has not, and perhaps rows that both have in different files."""

    before: FileRows
    after: FileRows


@dataclass(frozen=True, slots=True)
class DifferingFiles:
    """Files that only one of two snapshots has, or that have other deletes in the other."""

    before: tuple[LiveFile, ...]
    after: tuple[LiveFile, ...]

    def __bool__(self) -> bool:
        return bool(self.before or self.after)


def difference(
    io: TableIO,
    metadata: TableMetadata,
    before: IcebergSnapshot | None,
    after: IcebergSnapshot | None,
    *,
    by_row_id: bool = False,
) -> SnapshotDifference:
    """Return the rows by which two snapshots differ. The parameters are those of ``differing_files``."""
    files = differing_files(io, metadata, before, after, by_row_id=by_row_id)
    old, new = ({_identity(live, by_row_id): live for live in side} for side in (files.before, files.after))
    return SnapshotDifference(_beside(io, old, new), _beside(io, new, old))


def _identity(live: LiveFile, by_row_id: bool) -> Identity:
    return live.path, live.file.first_row_id if by_row_id else None


def _beside(io: TableIO, files: Mapping[Identity, LiveFile], others: Mapping[Identity, LiveFile]) -> FileRows:
    """Return the rows of files that are not live in the others."""
    found: list[LiveFile] = []
    positions: dict[str, BitMap64] = {}
    for identity, live in files.items():
        other = others.get(identity)
        if other is None:
            found.append(live)
            continue
        gone, gone_here = (io.files.deleted_positions(one) or BitMap64() for one in (other, live))
        if only := gone - gone_here:
            found.append(live)
            positions[live.path] = only
    return FileRows(tuple(found), positions)


def differing_files(
    io: TableIO,
    metadata: TableMetadata,
    before: IcebergSnapshot | None,
    after: IcebergSnapshot | None,
    *,
    by_row_id: bool = False,
) -> DifferingFiles:
    """Return files that hold the rows by which two snapshots differ, and perhaps rows that both have.

    What a snapshot between them only moved, as compactions do, is told from where it lay before it was moved.

    Args:
        io: Access to the table's files.
        metadata: The table.
        before, after: The snapshots; None for an empty table.
        by_row_id: Rows are known by their ids, which branches assign differently to files from before an upgrade.
    """

    def files(snapshot: IcebergSnapshot | None, shared: Set[LiveFile] = frozenset()) -> dict[object, LiveFile]:
        found = (live for live in io.files.live(snapshot) if live not in shared)
        return {(_identity(live, by_row_id), live.key): live for live in found}

    moves = list(_moves(metadata, before, after))
    shared = frozenset() if moves else frozenset(io.files.live(before)).intersection(io.files.live(after))
    old, new = files(before, shared), files(after, shared)
    for earlier, later in moves:
        was, now = files(earlier), files(later)
        moved = now.keys() - was.keys()
        if moved and moved <= new.keys():
            new = {key: live for key, live in new.items() if key not in moved}
            new |= {key: live for key, live in was.items() if key not in now}
    return DifferingFiles(
        tuple(live for key, live in old.items() if key not in new),
        tuple(live for key, live in new.items() if key not in old),
    )


def _moves(
    metadata: TableMetadata, before: IcebergSnapshot | None, after: IcebergSnapshot | None
) -> Iterator[tuple[IcebergSnapshot, IcebergSnapshot]]:
    """Yield the snapshots between two that changed files but no row, each behind its parent; newest first."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    later = after
    while before is not None and later is not None and later.sequence_number > before.sequence_number:
        earlier = by_id.get(later.parent_snapshot_id) if later.parent_snapshot_id is not None else None
        if earlier is not None and moves_rows(later):
            yield earlier, later
        later = earlier


def without_carried_over(io: TableIO, rows: SnapshotDifference) -> SnapshotDifference:
    """Leave out rows that both snapshots have, unchanged, in different files; row lineage tells them."""
    before, after = rows.before, rows.after
    if not (before.has_whole_files and after.has_whole_files and before.have_ids and after.have_ids):
        return rows
    columns = (FILE_INDEX, POSITION, ROW_ID, LAST_UPDATED)
    names = {f"{side}{name}": f"{side}.{name}" for side in "ba" for name in (FILE_INDEX, POSITION)}
    changed = io.engine.table(
        f"SELECT {', '.join(f'{column} AS {name}' for name, column in names.items())} FROM before b FULL JOIN after a "
        f"ON {sql.equal((ROW_ID, LAST_UPDATED), 'b', 'a')} WHERE b.{POSITION} IS NULL OR a.{POSITION} IS NULL",
        {side: one.read(io, Schema(), columns) for side, one in (("before", before), ("after", after))},
    )
    return SnapshotDifference(_at(changed, "b", before), _at(changed, "a", after))


def _at(changed: pa.Table, side: str, rows: FileRows) -> FileRows:
    places = changed.select([f"{side}{FILE_INDEX}", f"{side}{POSITION}"]).rename_columns([FILE_INDEX, POSITION])
    found = positions_by_file(places.drop_null(), rows.files)
    return FileRows(tuple(found), {live.path: positions for live, positions in found.items()})
