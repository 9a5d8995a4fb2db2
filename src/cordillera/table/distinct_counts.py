"""Counting a table's distinct values into a statistics file, from the columns alone and in bounded memory.

What a statistics file knows already is taken over where files have only been added since; sketches unite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyiceberg.types import PrimitiveType

from cordillera.errors import CorruptDataError, InvalidInputError, UnknownColumnError
from cordillera.spec.arrow_types import primitive
from cordillera.spec.metadata_updates import SetStatistics
from cordillera.spec.statistics import DISTINCT_VALUES, SKETCH, TableStatistics
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.puffin import Blob, decode_puffin, encode_puffin
from cordillera.table.reader import ReadOptions
from cordillera.table.theta_sketch import ThetaSketch
from cordillera.table.value_hash import value_hashes


@dataclass(frozen=True, slots=True)
class CountedStatistics:
    """A statistics file that was written, and what it took.

    Attributes:
        update: Makes it part of the table.
        files_read, bytes_read: Data files that were looked into, and the size of the columns read there.
    """

    update: SetStatistics
    files_read: int
    bytes_read: int


def counted_columns(metadata: TableMetadata, dataset: str, named: Iterable[str] = ()) -> dict[int, str]:
    """Return the columns to count, by field id: the key's, the partitioning's, those counted before, those named.

    Raises:
        UnknownColumnError: If one that is named does not exist.
        InvalidInputError: If one that is named is a list, map or struct.
    """
    schema = metadata.schema
    wanted = [schema.find_field(name).field_id for name in metadata.semantics.key]
    wanted += [part.source_id for part in metadata.partition_spec.fields]
    known = TableStatistics.newest(metadata)
    wanted += known.distinct if known else ()
    for name in named:
        try:
            field = schema.find_field(name)
        except ValueError:
            known_names = ", ".join(column.name for column in schema.fields)
            raise UnknownColumnError(f"{dataset} has no column {name!r}.", hint=f"Columns: {known_names}.") from None
        if not isinstance(field.field_type, PrimitiveType):
            raise InvalidInputError(f"The column {name!r} of {dataset} is a {field.field_type}, no plain value.")
        wanted.append(field.field_id)
    names = {field_id: schema.find_column_name(field_id) for field_id in sorted(set(wanted))}
    return {field_id: name for field_id, name in names.items() if name}


def count_distinct(
    io: TableIO, metadata: TableMetadata, snapshot: IcebergSnapshot, columns: Mapping[int, str]
) -> CountedStatistics:
    """Count the distinct values of columns in a snapshot and write the statistics file.

    Args:
        io: Access to the table's files.
        metadata: The table; the snapshot is read under its current schema.
        snapshot: What to count.
        columns: Names by field id.
    """
    live = io.files.live(snapshot)
    known, added = _known(io, metadata, live)
    sketches = {field_id: known[field_id] for field_id in columns if field_id in known}
    fresh = {field_id: name for field_id, name in columns.items() if field_id not in known}
    read: list[tuple[dict[int, str], Sequence[LiveFile]]] = [(fresh, live)] if fresh else []
    read += [({field_id: columns[field_id] for field_id in sketches}, added)] if sketches and added else []
    for names, files in read:
        for field_id, sketch in _sketches(io, metadata.schema, names, files).items():
            sketches[field_id] = sketches.get(field_id, ThetaSketch()).union(sketch)
    touched = {one.path for _, files in read for one in files}
    size = sum(bytes_of(names, files) for names, files in read)
    return CountedStatistics(_write(io, metadata, snapshot, sketches), len(touched), size)


def bytes_of(columns: Iterable[int], files: Iterable[LiveFile]) -> int:
    """Return the size that columns have in data files, as far as it is known."""
    wanted = tuple(columns)
    return sum(one.file.column_sizes.get(field_id, 0) for one in files for field_id in wanted)


def _known(
    io: TableIO, metadata: TableMetadata, live: tuple[LiveFile, ...]
) -> tuple[dict[int, ThetaSketch], list[LiveFile]]:
    """Return the sketches that still hold for files that were there, and the files that have been added since."""
    newest = TableStatistics.newest(metadata)
    if newest is None:
        return {}, []
    before = {one.key for one in io.files.live(newest.snapshot)}
    added = [one for one in live if one.key not in before]
    if len(live) - len(added) != len(before):  # a file is gone, or has other deletes: nothing leaves a sketch again
        return {}, []
    try:
        blobs = decode_puffin(io.storage.read(newest.path), newest.path)
    except CorruptDataError:  # statistics only help; what cannot be read is made anew
        return {}, []
    then = metadata.schema_by_id(newest.snapshot.schema_id)
    sketches = {
        blob.fields[0]: sketch
        for blob in blobs
        if blob.type == SKETCH
        and len(blob.fields) == 1
        and _type(then, blob.fields[0]) == _type(metadata.schema, blob.fields[0])
        and (sketch := ThetaSketch.from_bytes(blob.content)) is not None
    }
    return sketches, added


def _type(schema: Schema, field_id: int) -> object:
    """Return a column's type; another one has other bytes for the same value, and so other hashes."""
    return schema.find_type(field_id) if schema.find_column_name(field_id) else None


def _sketches(
    io: TableIO, schema: Schema, columns: Mapping[int, str], files: Sequence[LiveFile]
) -> dict[int, ThetaSketch]:
    sketches = {field_id: ThetaSketch() for field_id in columns}
    kinds = {field_id: primitive(schema.find_field(field_id)) for field_id in columns}
    for batch in io.reader.stream(files, ReadOptions(schema.select(*columns.values()))):
        for field_id, name in columns.items():
            values = value_hashes(_column(batch, name), kinds[field_id])
            sketches[field_id] = sketches[field_id].with_hashes(values)
    return sketches


def _column(batch: pa.RecordBatch, path: str) -> pa.Array:
    name, *nested = path.split(".")
    return pc.struct_field(batch.column(name), nested) if nested else batch.column(name)


def _write(
    io: TableIO, metadata: TableMetadata, snapshot: IcebergSnapshot, sketches: Mapping[int, ThetaSketch]
) -> SetStatistics:
    blobs = [
        Blob(
            SKETCH,
            sketch.to_bytes(),
            (field_id,),
            snapshot.snapshot_id,
            snapshot.sequence_number,
            {DISTINCT_VALUES: str(sketch.estimate)},
        )
        for field_id, sketch in sorted(sketches.items())
    ]
    data, _, footer_size = encode_puffin(blobs)
    path = f"{metadata.location}/metadata/{io.clock.new_id()}.stats"
    io.storage.write(path, data)
    entry: dict[str, Any] = {
        "snapshot-id": snapshot.snapshot_id,
        "statistics-path": path,
        "file-size-in-bytes": len(data),
        "file-footer-size-in-bytes": footer_size,
        "blob-metadata": [blob.described() for blob in blobs],
    }
    return SetStatistics(entry)
