"""Copy-on-write: a data file written anew with some rows gone and others in the place of stored ones.

Rows keep their order, so a file stays within its key range, and sorted as long as no new row differs in what it is
sorted by. Row groups without a change, and in changed row groups the columns without one, are passed through as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.spec.arrow_types import empty_table
from cordillera.spec.sort_order import terms_of
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.column_statistics import collect_statistics
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.data_file import named_when_corrupt, open_parquet
from cordillera.table.data_writer import (
    LAST_UPDATED,
    ROW_ID,
    HashingSink,
    data_file_path,
    stored_schema,
)
from cordillera.table.deletion_vector import positions_of
from cordillera.table.dictionaries import dictionary_columns, joined, plain, without_unused
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.parquet_assembly import ColumnChunk, ParquetAssembler, ParquetSource
from cordillera.table.parquet_encoding import ParquetEncoding
from cordillera.table.reader import ReadOptions
from cordillera.table.threads import in_threads

Positions = npt.NDArray[np.int64]
_FILES_AT_A_TIME = 2
_GROUPS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class PlacedRows:
    """Rows that take the place of stored rows of one file.

    Attributes:
        rows: The columns that change, in any order.
        positions: Where in the file, ascending.
    """

    rows: pa.Table
    positions: Positions


@dataclass(frozen=True, slots=True)
class _Group:
    """What happens to one row group; positions count from its first row."""

    index: int
    first: int
    rows: int
    gone: Positions
    placed: Positions
    new: pa.Table | None

    @property
    def in_place(self) -> bool:
        """Whether as many rows remain, each where it was."""
        return len(self.gone) == len(self.placed)

    @property
    def remaining(self) -> int:
        """How many rows it has then."""
        return self.rows - len(self.gone) + len(self.placed)

    def kept(self) -> Positions:
        """Return, for each row that remains, its place among the stored rows followed by the new ones."""
        places = np.arange(self.rows)
        places[self.gone] = -1
        places[self.placed] = self.rows + np.arange(len(self.placed))
        return places[places >= 0]


@dataclass(frozen=True, slots=True)
class _Made:
    """What is to be written of a row group: column chunks, how many rows, whether in the order that the file says."""

    chunks: Mapping[str, ColumnChunk]
    rows: int
    is_in_order: bool = True


def rewrite_files(
    io: TableIO, metadata: TableMetadata, gone: Mapping[LiveFile, BitMap64], placed: Mapping[LiveFile, PlacedRows]
) -> list[ContentFile]:
    """Write files anew without some rows, and with others in the place of stored ones.

    Row groups are made in threads, those of one file or of two, and written in their order.

    Args:
        io: Access to the table's files.
        metadata: The table. The files are under its current partition spec.
        gone: All positions to leave out, by file: those of earlier deletes and of replaced rows too.
        placed: Rows that take the place of rows that go.
    """
    written: list[ContentFile] = []
    with (
        ThreadPoolExecutor(_GROUPS_AT_A_TIME, thread_name_prefix="cordillera-encode") as encoders,
        ThreadPoolExecutor(_FILES_AT_A_TIME, thread_name_prefix="cordillera-rewrite") as files,
    ):
        rewriter = _Rewriter(io, metadata, encoders)
        jobs = [
            files.submit(rewriter.rewrite, live, positions_of(marks), placed.get(live)) for live, marks in gone.items()
        ]
        try:
            written.extend(job.result() for job in jobs)
        except BaseException:
            for job in jobs:
                job.cancel()
            finished = [job.result() for job in jobs if not job.cancelled() and job.exception() is None]
            io.storage.delete(file.file_path for file in finished)
            raise
    return written


class _Rewriter:
    def __init__(self, io: TableIO, metadata: TableMetadata, encoders: Executor) -> None:
        self._io, self._metadata, self._encoders = io, metadata, encoders
        self._schema: Schema = metadata.schema
        self._lineage = (ROW_ID, LAST_UPDATED) if metadata.format_version >= 3 else ()
        self._stored = stored_schema(self._schema, self._lineage)
        self._encoding = ParquetEncoding(metadata.properties, metadata.format_version)
        self._template = self._encoded(empty_table(self._stored))
        # A key column of the new row equals the stored one, to the byte where equality knows no -0.0.
        self._same = {
            name for name in metadata.semantics.key if not _has_floats(self._stored.field(name).type)
        }  # fmt: skip

    def rewrite(self, live: LiveFile, gone: Positions, placed: PlacedRows | None) -> ContentFile:
        path = self._new_path(live)
        storage = self._io.storage
        with named_when_corrupt(live), storage.open_input(live.path) as stored, storage.open_output(path) as output:
            sink, known, source = HashingSink(output), open_parquet(stored, live).metadata, ParquetSource(stored)
            assembler = ParquetAssembler(sink, self._template)

            def made(group: _Group) -> _Made:
                parquet = open_parquet(stored, live, known, dictionary_columns(known, [group.index]))
                return self._made(assembler, source, parquet, live, group)

            is_in_order = True
            for group in in_threads(self._encoders, made, _groups(source, gone, placed), _GROUPS_AT_A_TIME):
                assembler.add_group(group.chunks, group.rows)
                is_in_order &= group.is_in_order
            footer = assembler.close()
        return ContentFile(
            content=Content.DATA,
            file_path=path,
            file_format="PARQUET",
            spec_id=live.file.spec_id,
            partition=live.file.partition,
            record_count=footer.num_rows,
            file_size_in_bytes=sink.size,
            sort_order_id=live.file.sort_order_id if is_in_order else 0,
            checksum=sink.checksum,
            **collect_statistics(footer, self._schema),
        )

    def _new_path(self, live: LiveFile) -> str:
        spec, name = self._metadata.spec_by_id(live.file.spec_id), self._io.clock.new_id()
        return data_file_path(self._metadata.location, spec, self._schema, live.file.partition, name)

    def _made(
        self, assembler: ParquetAssembler, source: ParquetSource, parquet: pq.ParquetFile, live: LiveFile, group: _Group
    ) -> _Made:
        """Return what becomes of a row group of which rows remain."""
        chunks = self._passed(assembler, source, group)
        missing = [field.name for field in self._stored if not _has_all(chunks, assembler, field.name)]
        if not missing:
            return _Made(chunks, group.remaining)
        batch = self._read(parquet, live, group, missing)
        is_in_order = self._keeps_order(live, group, batch)
        fresh = self._encoded(self._changed(batch, group, missing))
        chunks = {path: chunk for path, chunk in chunks.items() if path.split(".")[0] not in missing}
        return _Made(chunks | fresh.chunks(0), group.remaining, is_in_order)

    def _passed(self, assembler: ParquetAssembler, source: ParquetSource, group: _Group) -> dict[str, ColumnChunk]:
        """Return the column chunks that can be passed through as they are."""
        if not group.in_place:
            return {}
        changed = set(group.new.column_names) - self._same if group.new is not None else set()
        if group.new is not None:
            changed.add(LAST_UPDATED)
        return {
            path: chunk
            for path, chunk in source.chunks(group.index).items()
            if assembler.fits(source, path)
            and path.split(".")[0] not in changed
            and (path not in self._lineage or chunk.null_count == 0)  # NULL is inherited, from the file it is in
        }

    def _read(self, parquet: pq.ParquetFile, live: LiveFile, group: _Group, names: Sequence[str]) -> pa.RecordBatch:
        """Return some columns of a row group as they are."""
        columns = [name for name in names if name not in self._lineage]
        lineage = tuple(name for name in names if name in self._lineage)
        options = ReadOptions(self._schema.select(*columns) if columns else Schema(), lineage)
        return self._io.reader.read_group(parquet, live, options, group.index, group.first)

    def _keeps_order(self, live: LiveFile, group: _Group, stored: pa.RecordBatch) -> bool:
        """Tell whether new rows equal the stored ones in every column that the file is sorted by."""
        order = self._metadata.sort_order_by_id(live.file.sort_order_id)
        if group.new is None or not order["fields"]:
            return True
        sources = [self._schema.find_column_name(term.source_id) for term in terms_of(order)]
        columns = {(name or "").split(".")[0] for name in sources} & set(group.new.column_names)
        if None in sources or not sources:
            return False  # by a column that is gone, or in a way that is not known
        places = pa.array(group.placed)
        return all(
            name in self._same
            or plain(stored.column(name).take(places)).equals(group.new.column(name).combine_chunks())
            for name in columns
        )

    def _changed(self, batch: pa.RecordBatch, group: _Group, names: Sequence[str]) -> pa.Table:
        """Return some columns of a row group as they will be."""
        kept = pa.array(group.kept())
        arrays = []
        for name in names:
            stored = batch.column(name)
            if group.new is not None and name == LAST_UPDATED:
                new = pa.nulls(len(group.placed), pa.int64())
            elif group.new is not None and name in group.new.column_names:
                new = group.new.column(name).combine_chunks()
            else:
                new = stored.take(pa.array(group.placed))
            changes = len(new) or len(group.gone)
            arrays.append(without_unused(joined(stored, new).take(kept)) if changes else stored)
        fields = [self._stored.field(name).with_type(array.type) for name, array in zip(names, arrays, strict=True)]
        return pa.table(arrays, schema=pa.schema(fields))

    def _encoded(self, rows: pa.Table) -> ParquetSource:
        """Return rows as a Parquet file of one row group in memory."""
        out = pa.BufferOutputStream()
        with self._encoding.writer(out, rows.schema, rows) as writer:
            if rows.num_rows:
                writer.write_table(rows, row_group_size=rows.num_rows)
        encoded = out.getvalue()
        if rows.num_rows:
            self._encoding.learn(pq.read_metadata(pa.BufferReader(encoded)))
        return ParquetSource(pa.BufferReader(encoded))


def _groups(source: ParquetSource, gone: Positions, placed: PlacedRows | None) -> Iterator[_Group]:
    """Yield the row groups of which rows remain."""
    first = 0
    where = placed.positions if placed is not None else np.empty(0, np.int64)
    for index in range(len(source.groups)):
        rows = source.rows(index)
        left, right = np.searchsorted(gone, (first, first + rows))
        begin, end = np.searchsorted(where, (first, first + rows))
        new = placed.rows.slice(begin, end - begin) if placed is not None and end > begin else None
        group = _Group(index, first, rows, gone[left:right] - first, where[begin:end] - first, new)
        if group.remaining:
            yield group
        first += rows


def _has_all(chunks: Mapping[str, ColumnChunk], assembler: ParquetAssembler, column: str) -> bool:
    return all(path in chunks for path in assembler.layout if path.split(".")[0] == column)


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_floats(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))
