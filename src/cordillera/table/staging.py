"""Staging: the rows of a write are read once, checked, and for appends and replacements written to data files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from cordillera.errors import InvalidInputError
from cordillera.spec.arrow_types import cast_batch
from cordillera.spec.expression import RowFilter
from cordillera.spec.key_order import AscendingKeys
from cordillera.spec.merge import Operation, check_allowed, check_columns
from cordillera.spec.merge_clauses import MergeClause
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import conform, deciding_row, duplicate_keys, refuse_ambiguous
from cordillera.table.conditional_merge import staged_source
from cordillera.table.content_file import ContentFile
from cordillera.table.file_changes import data_writer
from cordillera.table.folding import folded_rows, order_matters
from cordillera.table.io import TableIO
from cordillera.table.journal import Journal
from cordillera.table.keyed_write import KEYED, computes_rows, staged_batch
from cordillera.table.prepared_write import Inspector, StagedWrite
from cordillera.table.reader import ReadOptions
from cordillera.table.stored_keys import as_live


class WriteStaging:
    """Reads and checks the rows of writes to tables; nothing of them is visible.

    Args:
        io: Access to the tables' files.
        dataset: The dataset's name, for error messages.
        contract: The mark of the contract that rows are held to, for the snapshot's summary.
    """

    def __init__(self, io: TableIO, dataset: str, contract: str = "") -> None:
        self._journal = Journal(io.storage.together())
        self._io, self._dataset, self._contract = io.through(self._journal), dataset, contract

    @property
    def io(self) -> TableIO:
        """Access to the tables' files that keeps account of what is written."""
        return self._io

    def all_or_nothing(self) -> AbstractContextManager[None]:
        """Remove what a block has written if it fails."""
        return self._journal.all_or_nothing()

    def stage(
        self,
        operation: Operation,
        rows: pa.RecordBatchReader,
        metadata: TableMetadata,
        *,
        where: RowFilter | None = None,
        watch: Inspector = iter,
        inspect: Inspector = iter,
        inspect_new: Inspector = iter,
    ) -> StagedWrite:
        """Read and check the rows of a write.

        Args:
            operation: What to do with the rows.
            rows: The rows.
            metadata: The table.
            where: With a replacement: the rows it is about.
            watch: Looks at the rows as they are written.
            inspect: Looks at the rows as they get stored.
            inspect_new: Looks at the rows that a partial update adds for keys that are not stored, with all columns.

        Raises:
            InvalidInputError: One of its kinds, if the rows cannot be used; nothing remains in storage.
        """
        given = self._given(operation, rows, metadata)
        computed = computes_rows(operation, given, metadata.semantics)
        batches = watch(conform(rows, metadata.schema, given, metadata.semantics, self._dataset))
        if operation not in KEYED and not (computed and self._has_tombstones(metadata)):
            batches, given = self._completed(batches, metadata), [field.name for field in metadata.schema.fields]
        if operation in KEYED or (operation is Operation.APPEND and self._has_tombstones(metadata)):
            batches = batches if computed else inspect(batches)
            batch = staged_batch(self._io, operation, batches, metadata, given, self._dataset)
            later = inspect if computed else iter
            return StagedWrite(operation, batch=batch, where=where, inspect=later, inspect_new=inspect_new)
        files = self._write_unique(inspect(batches), metadata)
        return StagedWrite(operation, files=tuple(files), where=where)

    def conformed(
        self, operation: Operation, rows: pa.RecordBatchReader, metadata: TableMetadata
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows of a write in the table's types and order, checked for NULL where there must be none."""
        given = self._given(operation, rows, metadata)
        return conform(rows, metadata.schema, given, metadata.semantics, self._dataset)

    def stage_merge(
        self,
        rows: pa.RecordBatchReader,
        clauses: Sequence[MergeClause],
        metadata: TableMetadata,
        *,
        inspect: Inspector = iter,
    ) -> StagedWrite:
        """Read and check the source and the clauses of a conditional merge."""
        source = staged_source(self._io, rows, clauses, metadata, self._dataset)
        return StagedWrite(Operation.MERGE, source, inspect=inspect, clauses=tuple(clauses))

    def _given(self, operation: Operation, rows: pa.RecordBatchReader, metadata: TableMetadata) -> list[str]:
        """Return the columns that a write uses of its rows: a delete needs only key and sequence."""
        semantics, names = metadata.semantics, rows.schema.names
        check_allowed(operation, semantics, self._dataset)
        check_columns(operation, names, [f.name for f in metadata.schema.fields], semantics, self._dataset)
        if len(set(names)) != len(names):
            raise InvalidInputError(
                f"The rows for {self._dataset} have a column name twice: {', '.join(names)}.",
                hint="Rename one of them.",
            )
        if operation is Operation.DELETE:
            return [*semantics.natural_key, *([semantics.sequence] if semantics.sequence else [])]
        return list(names)

    def comes_behind_deletes(self, staged: StagedWrite, metadata: TableMetadata) -> bool:
        """Tell whether rows of an append that is written to files may be late: then they have to be looked at again."""
        return staged.operation is Operation.APPEND and staged.batch is None and self._has_tombstones(metadata)

    def rows_of(self, staged: StagedWrite, metadata: TableMetadata) -> pa.RecordBatchReader:
        """Stream the rows that a staged write has put into files."""
        return self._stream(staged.files, metadata, [field.name for field in metadata.schema.fields])

    def discard_staged(self, staged: StagedWrite) -> None:
        """Remove the data files of a staged write that will not be committed."""
        self._io.storage.delete(file.file_path for file in staged.files)

    def _has_tombstones(self, metadata: TableMetadata) -> bool:
        return metadata.tombstones is not None

    def _completed(self, batches: Iterator[pa.RecordBatch], metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
        """Add the columns that an append or a replacement leaves out, with their write defaults."""
        schema = ReadOptions(metadata.schema).arrow_schema()
        defaults = {f.name: f.write_default for f in metadata.schema.fields}
        for batch in batches:
            arrays = [
                batch.column(f.name)
                if f.name in batch.schema.names
                else pa.repeat(pa.scalar(defaults[f.name], f.type), batch.num_rows)
                for f in schema
            ]
            if lacking := [f.name for f, a in zip(schema, arrays, strict=True) if not f.nullable and a.null_count]:
                raise InvalidInputError(
                    f"The rows for {self._dataset} lack the required columns {', '.join(map(repr, lacking))}.",
                    hint="Add them to the rows, or make the columns optional.",
                )
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _write_unique(self, batches: Iterator[pa.RecordBatch], metadata: TableMetadata) -> list[ContentFile]:
        """Write data files in bounded memory, then make sure that no key repeats in them."""
        semantics, engine = metadata.semantics, self._io.engine
        keys = AscendingKeys(semantics.key)
        files = data_writer(self._io, metadata).write(keys.watch(batches))
        if not semantics.key or keys.ascend:
            return files
        try:
            if not duplicate_keys(self._stream(files, metadata, semantics.key), semantics.key, engine).num_rows:
                return files
            schema = ReadOptions(metadata.schema).arrow_schema()
            if order_matters(semantics, schema.names):
                refuse_ambiguous(self._stream(files, metadata, semantics.identifying), semantics, engine, self._dataset)
            one_a_key = folded_rows if semantics.aggregates else deciding_row
            rows = engine.query(one_a_key(semantics, schema), {"source": self._stream(files, metadata, schema.names)})
            unique = data_writer(self._io, metadata).write(cast_batch(batch, schema) for batch in rows)
        except BaseException:
            self._io.storage.delete(file.file_path for file in files)
            raise
        self._io.storage.delete(file.file_path for file in files)
        return unique

    def _stream(
        self, files: Sequence[ContentFile], metadata: TableMetadata, columns: Sequence[str]
    ) -> pa.RecordBatchReader:
        return self._io.reader.stream(as_live(files), ReadOptions(metadata.schema.select(*columns)))
