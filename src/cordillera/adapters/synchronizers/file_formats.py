"""The formats that exports are written in, and read back from: Parquet, and text with tabs.

Tab-separated values have a line of names, then a line a row, and are made so that every value comes back exactly:

    ================================  ==============================================================================
    NULL                              nothing
    string                            in double quotes; a double quote inside is doubled, tabs and line ends stay
    boolean                           ``true``, ``false``
    integers, decimals                decimal digits
    float, double                     as few decimal digits as tell it from others; ``nan``, ``inf``, ``-inf``, ``-0``
    date, time, timestamps            ISO 8601, in UTC with ``Z``; years 1 to 9999, others are refused
    uuid, binary, fixed               hexadecimal digits
    struct, list, map                 JSON in double quotes; see ``text``
    ================================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cordillera.adapters.synchronizers.columns import is_bytes, is_nested
from cordillera.adapters.synchronizers.text import JsonReader, from_hex, refuse_odd_years, to_hex, to_json

_ROWS_PER_GROUP = 122_880
_ROWS_PER_BATCH = 16_384
_CHUNK_BYTES = 4 * 1024 * 1024


class BatchWriter(Protocol):
    """Writes batches into a file until it is closed."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""

    def close(self) -> None:
        """Write what is left."""


class FileFormat(Protocol):
    """How rows are written into files."""

    suffix: str

    def writer(self, sink: pa.NativeFile, schema: pa.Schema) -> BatchWriter:
        """Begin a file."""

    def read(self, source: pa.NativeFile, stored: pa.Schema, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Stream some columns of a file that was written with the schema ``stored``."""


# --- Parquet --------------------------------------------------------------------------------------------------------


class _ParquetWriter:
    def __init__(self, sink: pa.NativeFile, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(sink, schema, compression="zstd")

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=_ROWS_PER_GROUP)

    def close(self) -> None:
        self._writer.close()


class Parquet:
    """Parquet files, compressed with Zstandard."""

    suffix = "parquet"

    def writer(self, sink: pa.NativeFile, schema: pa.Schema) -> BatchWriter:
        """Begin a file."""
        return _ParquetWriter(sink, schema)

    def read(self, source: pa.NativeFile, stored: pa.Schema, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Stream some columns of a file."""
        parquet = pq.ParquetFile(source)
        for batch in parquet.iter_batches(batch_size=_ROWS_PER_BATCH, columns=wanted.names, use_threads=False):
            yield batch.select(wanted.names).cast(wanted)


# --- tab-separated values -------------------------------------------------------------------------------------------


class _TsvWriter:
    def __init__(self, sink: pa.NativeFile, schema: pa.Schema) -> None:
        self._schema = pa.schema([pa.field(field.name, _written_type(field.type)) for field in schema])
        options = pyarrow.csv.WriteOptions(delimiter="\t", quoting_style="needed")
        self._writer = pyarrow.csv.CSVWriter(sink, self._schema, write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [_written(column, name) for column, name in zip(batch.columns, batch.schema.names, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class Tsv:
    """Tab-separated values in UTF-8; see the module."""

    suffix = "tsv"

    def writer(self, sink: pa.NativeFile, schema: pa.Schema) -> BatchWriter:
        """Begin a file."""
        return _TsvWriter(sink, schema)

    def read(self, source: pa.NativeFile, stored: pa.Schema, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Stream some columns of a file."""
        with JsonReader() as json:
            for number, chunk in enumerate(_chunks(source)):
                # The first chunk begins with the line of names.
                for batch in _parsed(chunk, stored, wanted, None if number == 0 else stored.names):
                    columns = [_read(batch.column(field.name), field, json) for field in wanted]
                    yield pa.RecordBatch.from_arrays(columns, schema=wanted)


def _chunks(source: pa.NativeFile) -> Iterator[bytes]:
    """Cut a file between rows. Arrow's own reader of streams keeps up to 32 blocks in memory, and rows to one."""
    pending = b""
    while data := source.read(_CHUNK_BYTES):
        pending += data
        end = _end_of_rows(pending)
        if end:
            yield pending[:end]
            pending = pending[end:]
    if pending:
        yield pending


def _end_of_rows(text: bytes) -> int:
    """Return where the last whole row of a text ends that begins with a row: at a line end that no quotes enclose."""
    quotes, end = text.count(b'"'), len(text)
    while (at := text.rfind(b"\n", 0, end)) >= 0:
        quotes -= text.count(b'"', at, end)
        if quotes % 2 == 0:
            return at + 1
        end = at
    return 0


def _parsed(chunk: bytes, stored: pa.Schema, wanted: pa.Schema, names: list[str] | None) -> list[pa.RecordBatch]:
    found = pyarrow.csv.read_csv(
        pa.BufferReader(chunk),
        pyarrow.csv.ReadOptions(column_names=names, block_size=len(chunk) + 1, use_threads=False),
        pyarrow.csv.ParseOptions(delimiter="\t", newlines_in_values=True, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            column_types={field.name: _written_type(field.type) for field in stored},
            include_columns=wanted.names,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    batches: list[pa.RecordBatch] = found.to_batches()
    return batches


def _written_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if is_nested(kind) or _in_hex(kind) else kind


def _in_hex(kind: pa.DataType) -> bool:
    return is_bytes(kind) or isinstance(kind, pa.UuidType)


def _written(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    if is_nested(kind):
        return to_json(column, name)
    if _in_hex(kind):
        return to_hex(column)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        refuse_odd_years(column.cast(pa.string()), name)
    return column


def _read(column: pa.Array, field: pa.Field, json: JsonReader) -> pa.Array:
    if is_nested(field.type):
        return json.from_json(column, field.type, field.name)
    return from_hex(column, field.type) if _in_hex(field.type) else column.cast(field.type)


FORMATS: dict[str, FileFormat] = {"parquet": Parquet(), "tsv": Tsv()}
