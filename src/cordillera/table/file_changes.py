"""From "these rows go, those rows come" to files: deletion vectors, rewritten files, new files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa
from pyroaring import BitMap64

from cordillera.spec.merge import WriteMode
from cordillera.spec.table_metadata import TableMetadata
from cordillera.spec.write_cost import TouchedFile
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.data_writer import (
    DEFAULT_TARGET_FILE_SIZE,
    LAST_UPDATED,
    ROW_ID,
    TARGET_FILE_SIZE_PROPERTY,
    DataWriter,
)
from cordillera.table.deletion_vector import encode_vectors
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.parquet_encoding import ParquetEncoding
from cordillera.table.reader import ReadOptions
from cordillera.table.rewrite import PlacedRows, rewrite_files
from cordillera.table.row_order import row_order
from cordillera.table.snapshot_producer import FileChanges

LINEAGE = (ROW_ID, LAST_UPDATED)
ChangesBuilder: TypeAlias = Callable[
    [
        TableIO,
        TableMetadata,
        pa.Table | None,
        Mapping[LiveFile, BitMap64],
        Mapping[LiveFile, PlacedRows] | None,
    ],
    FileChanges,
]
"""What has the parameters of ``build_changes`` and tells what becomes of files."""


def data_writer(io: TableIO, metadata: TableMetadata) -> DataWriter:
    """Return a writer of data files under a table's current schema, partitioning and sort order.

    The keys it writes are kept in memory: whatever is merged next looks for keys among them.
    """
    semantics = metadata.semantics
    return DataWriter(
        io.storage,
        metadata.location,
        metadata.schema,
        metadata.partition_spec,
        int(metadata.properties.get(TARGET_FILE_SIZE_PROPERTY, DEFAULT_TARGET_FILE_SIZE)),
        ParquetEncoding(metadata.properties, metadata.format_version),
        io.clock.new_id,
        row_order(io.engine, metadata),
        io.keys.keeper(metadata.schema.select(*semantics.identifying)) if semantics.key else None,
    )


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What is to become of the files that rows are taken out of.

    Attributes:
        emptied: Files of which no row remains.
        copied: Files to write anew, each with every position to leave out.
        marked: Files that stay, each with every position that is deleted then.
        gathered: Those of the files written anew whose remaining rows go to new files together.
        touched: What is known of the files of which some rows go and some remain.
    """

    emptied: tuple[LiveFile, ...]
    copied: Mapping[LiveFile, BitMap64]
    marked: Mapping[LiveFile, BitMap64]
    gathered: Set[LiveFile]
    touched: Mapping[LiveFile, TouchedFile]


def plan_changes(
    io: TableIO,
    metadata: TableMetadata,
    removed: Mapping[LiveFile, BitMap64],
    placed: Mapping[LiveFile, PlacedRows],
) -> ChangePlan:
    """Decide what is to become of the files that rows are taken out of; nothing is written.

    Args:
        io: Access to the table's files.
        metadata: The table.
        removed: Positions to take out, by live file.
        placed: Rows that take the place of removed ones, by live file, where files are rewritten.
    """
    deleted = {live: _all_deleted(io, live, gone) for live, gone in removed.items()}
    rewriting = files_to_rewrite(metadata, removed)
    emptied = tuple(
        live for live, positions in deleted.items() if len(positions) == live.file.record_count and live not in placed
    )
    partly = {live: positions for live, positions in deleted.items() if live not in emptied}
    copied = {live: positions for live, positions in partly.items() if live in rewriting}
    marked = {live: positions for live, positions in partly.items() if live not in rewriting}
    gathered = files_to_gather(metadata, rewriting) & copied.keys()
    return ChangePlan(emptied, copied, marked, gathered, {live: _touched(live, len(removed[live])) for live in partly})


def build_changes(
    io: TableIO,
    metadata: TableMetadata,
    rows: pa.Table | None,
    removed: Mapping[LiveFile, BitMap64],
    placed: Mapping[LiveFile, PlacedRows] | None = None,
) -> FileChanges:
    """Write the files that take rows out of and put rows into a table.

    Args:
        io: Access to the table's files.
        metadata: The table.
        rows: New rows in table order with ``_row_id`` behind them, or None.
        removed: Positions to take out, by live file.
        placed: Rows that take the place of removed ones, by live file, where files are rewritten.
    """
    placed = placed or {}
    plan = plan_changes(io, metadata, removed, placed)
    if plan.copied or metadata.write_mode is WriteMode.COPY_ON_WRITE:
        new = _copied(io, metadata, rows, plan.copied, placed, plan.gathered)
    else:
        new = _new_files(io, metadata, rows)
    vectors = write_vectors(io, metadata, plan.marked)
    return FileChanges(new, (*plan.emptied, *plan.copied), vectors, plan.touched)


def files_to_rewrite(metadata: TableMetadata, removed: Mapping[LiveFile, BitMap64]) -> set[LiveFile]:
    """Return the files to write anew, of those that rows are taken out of; in the others they are marked.

    Args:
        metadata: The table.
        removed: Positions to take out, by live file.
    """
    if metadata.write_mode is not WriteMode.AUTO:
        return set(removed) if metadata.write_mode is WriteMode.COPY_ON_WRITE else set()
    return {live for live, positions in removed.items() if _touched(live, len(positions)).is_better_rewritten}


def files_to_gather(metadata: TableMetadata, rewriting: Collection[LiveFile]) -> set[LiveFile]:
    """Return the files whose remaining rows go to new files together, of those that are written anew.

    They are files of an earlier partitioning, whose rows go to where they belong now, and small files that lie in one
    partition, of which there are fewer then.

    Args:
        metadata: The table.
        rewriting: The files that are written anew.
    """
    current = metadata.default_spec_id
    small = [live for live in rewriting if live.file.spec_id == current and _touched(live, 0).is_small]
    neighbours = Counter(live.file.partition for live in small)
    outdated = {live for live in rewriting if live.file.spec_id != current}
    return outdated | {live for live in small if neighbours[live.file.partition] > 1}


def _touched(live: LiveFile, removed: int) -> TouchedFile:
    rows = live.file.record_count
    return TouchedFile(live.file.file_size_in_bytes, rows, min(rows, rows - live.live_rows + removed))


def _all_deleted(io: TableIO, live: LiveFile, removed: BitMap64) -> BitMap64:
    """Return the positions of a file that are deleted already, or now."""
    if len(removed) == live.file.record_count:
        return removed  # what was deleted before need not be read
    return (io.files.deleted_positions(live) or BitMap64()) | removed


def _new_files(io: TableIO, metadata: TableMetadata, rows: pa.Table | None) -> tuple[ContentFile, ...]:
    if rows is None or not rows.num_rows:
        return ()
    return tuple(data_writer(io, metadata).write(_with_row_ids(rows)))


def _with_row_ids(rows: pa.Table) -> list[pa.RecordBatch]:
    """Return the rows as batches; the row id column only where a row takes one over."""
    inherits_all = rows.column(ROW_ID).null_count == rows.num_rows
    batches: list[pa.RecordBatch] = (rows.drop_columns([ROW_ID]) if inherits_all else rows).to_batches()
    return batches


def _copied(
    io: TableIO,
    metadata: TableMetadata,
    rows: pa.Table | None,
    partly: Mapping[LiveFile, BitMap64],
    placed: Mapping[LiveFile, PlacedRows],
    gathered: Set[LiveFile],
) -> tuple[ContentFile, ...]:
    """Write touched files anew, each for itself or gathered, and new rows to new files with those."""
    written = rewrite_files(io, metadata, {live: g for live, g in partly.items() if live not in gathered}, placed)
    together = {live: partly[live] for live in sorted(gathered, key=lambda live: repr(live.file.partition))}
    try:
        if together or (rows is not None and rows.num_rows):
            written += data_writer(io, metadata).write(_rewritten(io, metadata, together, rows))
    except BaseException:
        io.storage.delete(file.file_path for file in written)
        raise
    return tuple(written)


def _rewritten(
    io: TableIO, metadata: TableMetadata, partly: Mapping[LiveFile, BitMap64], rows: pa.Table | None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that remain of touched files, then the new ones.

    Rows that only move keep both lineage columns; changed rows keep their id and inherit the commit's sequence number.
    """
    lineage = LINEAGE if metadata.format_version >= 3 else ()
    if partly:
        options = ReadOptions(
            metadata.schema, lineage, deleted={live.path: positions for live, positions in partly.items()}
        )
        yield from io.reader.stream(list(partly), options)
    if rows is None:
        return
    if not lineage:
        yield from rows.drop_columns([ROW_ID]).to_batches()
        return
    yield from rows.append_column(LAST_UPDATED, pa.nulls(rows.num_rows, pa.int64())).to_batches()


def write_vectors(
    io: TableIO, metadata: TableMetadata, partly: Mapping[LiveFile, BitMap64]
) -> tuple[tuple[LiveFile, ContentFile], ...]:
    """Write the deletion vectors of one commit into one Puffin file.

    Args:
        io: Access to the table's files.
        metadata: The table.
        partly: Every deleted position of each data file that gets a vector.
    """
    if not partly:
        return ()
    data, locations = encode_vectors({live.path: positions for live, positions in partly.items()})
    path = f"{metadata.location}/data/{io.clock.new_id()}.puffin"
    io.storage.write(path, data)
    return tuple(
        (
            live,
            ContentFile(
                content=Content.POSITION_DELETES,
                file_path=path,
                file_format="PUFFIN",
                spec_id=live.file.spec_id,
                partition=live.file.partition,
                record_count=locations[live.path].cardinality,
                file_size_in_bytes=len(data),
                referenced_data_file=live.path,
                content_offset=locations[live.path].offset,
                content_size_in_bytes=locations[live.path].length,
            ),
        )
        for live in partly
    )
