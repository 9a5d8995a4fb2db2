"""Reading delete files: the positions of the rows that they take out of a data file.

Equality deletes name values; where these are, the data file's columns have to be looked up. NULL equals NULL, NaN
equals NaN, and a column that a file lacks has its initial default.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField
from pyroaring import BitMap64

from cordillera.errors import CorruptDataError, NotAllowedError
from cordillera.ports.engine import QueryEngine
from cordillera.ports.storage import Storage
from cordillera.spec import sql
from cordillera.spec.arrow_types import field_id_of, from_arrow_schema, to_arrow_schema
from cordillera.table.data_file import POSITION, named_when_corrupt, open_parquet
from cordillera.table.delete_files import DELETED_PATH_FIELD_ID, DELETED_POSITION_FIELD_ID, DeleteFile
from cordillera.table.deletion_vector import bitmap_of
from cordillera.table.live_files import LiveFile, LruCache
from cordillera.table.projection import file_columns, project

_POSITION_FILES = 500
_VALUE_BYTES = 64 * 1024 * 1024
"""How much of equality delete files is kept in memory."""
_BATCH_ROWS = 122_880


class RowDeletes:
    """Applies delete files to data files.

    Args:
        storage: Where the files are.
        engine: Finds values.
    """

    def __init__(self, storage: Storage, engine: QueryEngine) -> None:
        self._storage, self._engine = storage, engine
        self._positions: LruCache[str, dict[str, BitMap64]] = LruCache(_POSITION_FILES)
        self._values: LruCache[object, pa.Table] = LruCache(_VALUE_BYTES, lambda table: table.nbytes)

    def positions(self, live: LiveFile) -> BitMap64:
        """Return the positions that its delete files take out of a data file.

        Raises:
            CorruptDataError: If one of them is missing, damaged, or does not hold what its manifest says.
            NotAllowedError: If one of them is no Parquet file.
        """
        found = BitMap64()
        by_columns: defaultdict[tuple[int, ...], list[DeleteFile]] = defaultdict(list)
        for deletes in live.deletes:
            if deletes.is_equality:
                by_columns[tuple(sorted(deletes.file.equality_ids))].append(deletes)
            else:
                path = deletes.file.file_path
                by_file = self._positions.get(path, partial(self._read_positions, deletes))
                found |= by_file.get(live.path, BitMap64())
        for files in by_columns.values():
            found |= self._equal(live, files)
        return found

    # --- positions ---------------------------------------------------------------------------------------------------

    def _read_positions(self, deletes: DeleteFile) -> dict[str, BitMap64]:
        """Return the positions in a delete file by data file."""
        with self._opened(deletes) as parquet:
            paths, positions = (
                _column_name(parquet.schema_arrow, field_id, name)
                for field_id, name in ((DELETED_PATH_FIELD_ID, "file_path"), (DELETED_POSITION_FIELD_ID, "pos"))
            )
            table = parquet.read(columns=[paths, positions])
        if table.column(paths).null_count or table.column(positions).null_count:
            raise CorruptDataError(f"The delete file {deletes.file.file_path} has rows without path or position.")
        encoded = table.column(paths).combine_chunks().dictionary_encode()
        numbers = encoded.indices.to_numpy()
        order = np.argsort(numbers, kind="stable")
        ordered = table.column(positions).to_numpy()[order]
        starts = np.searchsorted(numbers[order], np.arange(len(encoded.dictionary) + 1))
        return {
            path: bitmap_of(pa.array(ordered[starts[index] : starts[index + 1]]))
            for index, path in enumerate(encoded.dictionary.to_pylist())
        }

    # --- values ------------------------------------------------------------------------------------------------------

    def _equal(self, live: LiveFile, files: Sequence[DeleteFile]) -> BitMap64:
        """Return the positions of a data file's rows that equal one of delete files, all of the same columns."""
        schema = self._columns(files)
        values = pa.concat_tables([self._read_values(one, schema) for one in files])
        paths = [_path(schema, field_id) for field_id in files[0].file.equality_ids]
        same = " AND ".join(f"s.{path} IS NOT DISTINCT FROM d.{path}" for path in paths)
        found = self._engine.table(
            f"SELECT s.{POSITION} FROM stored s SEMI JOIN deleted d ON {same}",
            {"stored": self._stored(live, schema), "deleted": values},
        )
        return bitmap_of(found.column(POSITION).combine_chunks())

    def _columns(self, files: Sequence[DeleteFile]) -> Schema:
        """Return the schema of the columns that delete files compare, as the newest of them knows it.

        A column that has been dropped since is missing there; it is taken as the delete file has it.
        """
        newest = max(files, key=lambda one: one.entry.sequence_number or 0)
        ids, schema = newest.file.equality_ids, newest.schema or Schema()
        if all(field_id in schema._lazy_id_to_field for field_id in ids):
            return schema.select(*(schema.find_column_name(field_id) or "" for field_id in ids))
        with self._opened(newest) as parquet:
            stored = parquet.schema_arrow
        known = {field_id_of(field): field for field in stored}
        named: list[NestedField] = []
        for field_id, field in zip(ids, from_arrow_schema(pa.schema([known[i] for i in ids])).fields, strict=True):
            named.append(NestedField(field_id, field.name, field.field_type, required=False))
        return Schema(*named)

    def _read_values(self, deletes: DeleteFile, schema: Schema) -> pa.Table:
        key = (deletes.file.file_path, tuple((f.field_id, f.name, str(f.field_type)) for f in schema.fields))

        def read() -> pa.Table:
            with self._opened(deletes) as parquet:
                columns = file_columns(parquet.schema_arrow, schema)
                if len(columns) < len(schema.fields):
                    raise CorruptDataError(
                        f"The delete file {deletes.file.file_path} lacks columns that it is to compare."
                    )
                batches = list(_projected(parquet, columns, schema))
            return pa.Table.from_batches(batches, _arrow(schema))

        return self._values.get(key, read)

    def _stored(self, live: LiveFile, schema: Schema) -> pa.RecordBatchReader:
        """Stream columns of all rows of a data file, with their positions."""
        wanted = _arrow(schema).append(pa.field(POSITION, pa.int64()))

        def batches() -> Iterator[pa.RecordBatch]:
            with named_when_corrupt(live), self._storage.open_input(live.path) as source:
                parquet = open_parquet(source, live)
                first = 0
                for batch in _projected(parquet, file_columns(parquet.schema_arrow, schema), schema):
                    positions = pa.array(np.arange(first, first + batch.num_rows))
                    first += batch.num_rows
                    yield pa.RecordBatch.from_arrays([*batch.columns, positions], schema=wanted)

        return pa.RecordBatchReader.from_batches(wanted, batches())

    @contextmanager
    def _opened(self, deletes: DeleteFile) -> Iterator[pq.ParquetFile]:
        path, expected = deletes.file.file_path, deletes.file.record_count
        if deletes.file.file_format != "PARQUET":
            raise NotAllowedError(
                f"The delete file {path} is {deletes.file.file_format}; only Parquet can be read.",
                hint="Compact the table with the engine that wrote it.",
            )
        try:
            with self._storage.open_input(path) as source:
                parquet = pq.ParquetFile(source, page_checksum_verification=True)
                if parquet.metadata.num_rows != expected:
                    raise CorruptDataError(
                        f"The delete file {path} has {parquet.metadata.num_rows} rows, its manifest says {expected}."
                    )
                yield parquet
        except (pa.ArrowInvalid, ValueError, OSError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise CorruptDataError(
                f"The delete file {path} cannot be read: {error}", hint="Restore it, or roll the dataset back."
            ) from error


def _projected(parquet: pq.ParquetFile, columns: dict[int, str], schema: Schema) -> Iterator[pa.RecordBatch]:
    # Without columns a batch would not know how many rows it has.
    names = list(columns.values()) or [parquet.schema_arrow.names[0]]
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=names):
        yield pa.RecordBatch.from_arrays(project(batch, columns, schema), schema=_arrow(schema))


def _arrow(schema: Schema) -> pa.Schema:
    return pa.schema([field.remove_metadata().with_nullable(True) for field in to_arrow_schema(schema)])


def _column_name(stored: pa.Schema, field_id: int, name: str) -> str:
    return next((field.name for field in stored if field_id_of(field) == field_id), name)


def _path(schema: Schema, field_id: int) -> str:
    """Return a column, or a field of a struct, as SQL."""
    return ".".join(sql.quote(part) for part in (schema.find_column_name(field_id) or "").split("."))
