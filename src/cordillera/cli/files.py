"""Rows from files and into files: Parquet, CSV, JSON lines and Arrow, streamed as record batches."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet

from cordillera.errors import InvalidInputError, StorageFullError, TypeMismatchError
from cordillera.spec.sql import is_text

_SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_STDIN = Path("-")


# --- reading --------------------------------------------------------------------------------------------------------


@contextmanager
def rows_of(path: Path, file_format: str | None, declared: pa.Schema | None) -> Iterator[pa.RecordBatchReader]:
    """Open a file of rows for the length of the block.

    Args:
        path: The file; ``-`` for stdin, which is kept in a temporary file meanwhile.
        file_format: parquet, csv, jsonl or arrow; by default what the file's ending says.
        declared: The dataset's schema, which CSV and JSON values take their types from; None to infer them.

    Raises:
        InvalidInputError: If the format is unknown or the file cannot be opened.
        TypeMismatchError: If it is damaged, or a value does not fit its column.
    """
    opened = _READERS[_format_of(path, file_format, _READERS)]
    if not is_text(str(path)):
        raise InvalidInputError(f"The name of the file {path} is no UTF-8.", hint="Rename it, or pass it by stdin: -.")
    with _on_disk(path) as file:
        try:
            reader = opened(file, declared)
        except OSError as error:
            raise InvalidInputError(f"The file {path} cannot be read: {error.strerror or error}.") from error
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise _unreadable(path, error) from error
        yield pa.RecordBatchReader.from_batches(reader.schema, _checked(path, reader))


def _format_of(path: Path, given: str | None, known: Any) -> str:
    found = given or _SUFFIXES.get(path.suffix.lower(), "")
    if found in known:
        return found
    subject = "stdin" if path == _STDIN else f"the file {path}"
    what = f"There is no file format {given!r}." if given else f"What format {subject} has cannot be told."
    raise InvalidInputError(what, hint=f"Name it with --format: {', '.join(known)}.")


@contextmanager
def _on_disk(path: Path) -> Iterator[Path]:
    """Yield a path that can be read from anywhere and more than once."""
    if path != _STDIN:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="cordillera-stdin-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


def _checked(path: Path, reader: Any) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TypeMismatchError:
    subject = "stdin" if path == _STDIN else f"the file {path}"
    return TypeMismatchError(
        f"The rows in {subject} cannot be read: {str(error).splitlines()[0]}",
        hint="Look at the file, and at the dataset's columns with: cordillera dataset show DATASET.",
    )


def _parquet(path: Path, _: pa.Schema | None) -> pa.RecordBatchReader:
    file = pyarrow.parquet.ParquetFile(path, memory_map=True)
    return pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())


def _arrow(path: Path, _: pa.Schema | None) -> pa.RecordBatchReader:
    source = pa.memory_map(str(path))
    try:
        file = pyarrow.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pyarrow.ipc.open_stream(source)
    batches = (file.get_batch(index) for index in range(file.num_record_batches))
    return pa.RecordBatchReader.from_batches(file.schema, batches)


def _csv(path: Path, declared: pa.Schema | None) -> pa.RecordBatchReader:
    """Read CSV with a header; an empty cell is NULL, and ``""`` the empty string."""
    fields = {field.name: field for field in declared or []}
    types = {name: field.type for name, field in fields.items() if not _is_beyond_csv(field.type)}
    options = pyarrow.csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    reader = pyarrow.csv.open_csv(path, convert_options=options)
    _refuse([fields[name] for name in reader.schema.names if name in fields], _is_beyond_csv, "CSV")
    return reader


def _json_lines(path: Path, declared: pa.Schema | None) -> pa.RecordBatchReader:
    """Read one object a line. The columns are the keys in the first megabyte; a key met later is an error."""
    with path.open("rb") as file:
        if file.read(1) == b"[":
            raise InvalidInputError(
                "The file holds one JSON array.", hint="Write one object a line, for example with: jq -c '.[]'."
            )
    inferred = pyarrow.json.open_json(path).schema
    fields = {field.name: field for field in declared or []}
    wanted = pa.schema([fields.get(field.name, field).with_nullable(True) for field in inferred])
    _refuse(wanted, _is_beyond_json, "JSON")
    stored = pa.schema([pa.field(field.name, _json_type(field.type)) for field in wanted])
    options = pyarrow.json.ParseOptions(explicit_schema=stored, unexpected_field_behavior="error")
    reader = pyarrow.json.open_json(path, parse_options=options)
    return pa.RecordBatchReader.from_batches(wanted, (_from_json(batch, wanted) for batch in reader))


def _json_type(kind: pa.DataType) -> pa.DataType:
    """Return how a column stands in JSON, where dates and times are strings."""
    return pa.string() if pa.types.is_date(kind) or pa.types.is_time(kind) else kind


def _from_json(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    columns = [_column(column, kind) for column, kind in zip(batch.columns, wanted.types, strict=True)]
    return pa.record_batch(columns, schema=wanted)


def _column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_time(kind):  # a string becomes a time by way of a timestamp only
        column = pc.binary_join_element_wise("1970-01-01T", column, "").cast(pa.timestamp(kind.unit))
    return column.cast(kind)


def _refuse(fields: Iterable[pa.Field], is_beyond: Callable[[pa.DataType], bool], what: str) -> None:
    """Refuse columns that a text format has no one form for, before anything is read or written."""
    for field in fields:
        if is_beyond(field.type):
            raise TypeMismatchError(
                f"{what} cannot hold the column {field.name!r}, which is {field.type}.",
                hint="Leave the column out, or use Parquet.",
            )


def _is_beyond_json(kind: pa.DataType) -> bool:
    """Tell whether a type is binary, or has binary in it: JSON has several forms for that, and none is stated."""
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return _is_binary(kind) or any(map(_is_beyond_json, inner))


def _is_beyond_csv(kind: pa.DataType) -> bool:
    return _is_binary(kind) or bool(pa.types.is_nested(kind))


def _is_binary(kind: pa.DataType) -> bool:
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return binary or isinstance(kind, pa.BaseExtensionType)


_READERS: dict[str, Callable[[Path, pa.Schema | None], pa.RecordBatchReader]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _json_lines,
    "arrow": _arrow,
}


# --- writing --------------------------------------------------------------------------------------------------------


def write_rows(rows: pa.RecordBatchReader, path: Path) -> None:
    """Write rows into a file of the format its ending says: all of them, or no file at all.

    Raises:
        InvalidInputError: If the format is unknown, or the file cannot be written.
        TypeMismatchError: If the format cannot hold a column's type.
    """
    open_writer = _WRITERS.get(_SUFFIXES.get(path.suffix.lower(), ""))
    if open_writer is None:
        raise InvalidInputError(
            f"What format the file {path} should have cannot be told.", hint="Let it end in .parquet, .csv or .arrow."
        )
    if open_writer is csv_writer:
        check_csv(rows.schema)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("xb") as file, open_writer(file, rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
        unfinished.replace(path)
    except OSError as error:
        kind = StorageFullError if error.errno == ENOSPC else InvalidInputError
        raise kind(f"The file {path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def csv_writer(file: Any, schema: pa.Schema) -> Any:
    """Return a writer of record batches as CSV; NULL is an empty cell, the empty string ``""``."""
    return pyarrow.csv.CSVWriter(file, schema)


def check_csv(schema: pa.Schema) -> None:
    """Refuse columns that CSV cannot hold.

    Raises:
        TypeMismatchError: Naming the first such column.
    """
    _refuse(schema, _is_beyond_csv, "CSV")


_WRITERS: dict[str, Callable[[Any, pa.Schema], Any]] = {
    "parquet": pyarrow.parquet.ParquetWriter,
    "csv": csv_writer,
    "arrow": pyarrow.ipc.new_file,
}
