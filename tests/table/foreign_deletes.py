"""Delete files as other engines write them: to the letter of the specification, each commit a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cordillera.spec.arrow_types import to_arrow_schema
from cordillera.table.column_statistics import collect_statistics
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.delete_files import DELETED_PATH_FIELD_ID, DELETED_POSITION_FIELD_ID
from cordillera.table.live_files import LiveFile
from cordillera.table.snapshot_producer import FileChanges, SnapshotProducer
from tests.table.harness import LooseTable

POSITIONS = pa.schema(
    [
        pa.field("file_path", pa.string(), False, {"PARQUET:field_id": str(DELETED_PATH_FIELD_ID)}),
        pa.field("pos", pa.int64(), False, {"PARQUET:field_id": str(DELETED_POSITION_FIELD_ID)}),
    ]
)


def live(table: LooseTable) -> tuple[LiveFile, ...]:
    """The current live files."""
    return table.io.files.live(table.metadata.current_snapshot)


def commit(table: LooseTable, *files: ContentFile) -> None:
    """Commit delete files, or data files, as one snapshot."""
    io, metadata = table.io, table.metadata
    producer = SnapshotProducer(io.storage, io.files, metadata, io.clock.new_id, io.now_ms())
    table.commit(producer.produce(FileChanges(added=files), {"operation": "overwrite"}))


def store(table: LooseTable, rows: pa.Table) -> tuple[str, int]:
    """Write a Parquet file; return where it is and its size."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    path, data = f"{table.metadata.location}/data/{uuid4()}-deletes.parquet", sink.getvalue().to_pybytes()
    table.io.storage.write(path, data)
    return path, len(data)


def position_deletes(table: LooseTable, positions: Mapping[str, Sequence[int]], **fields: Any) -> ContentFile:
    """Write a position delete file, sorted by path and position; all data files are of the partition of the first."""
    pairs = [(path, position) for path in sorted(positions) for position in sorted(positions[path])]
    rows = pa.table([[path for path, _ in pairs], [position for _, position in pairs]], schema=POSITIONS)
    path, size = store(table, rows)
    owner = next(one.file for one in live(table) if one.path == pairs[0][0])
    bounds = {"lower_bounds": pairs[0][0], "upper_bounds": pairs[-1][0]}
    return ContentFile(
        content=Content.POSITION_DELETES,
        file_path=path,
        file_format="PARQUET",
        spec_id=owner.spec_id,
        partition=owner.partition,
        record_count=len(pairs),
        file_size_in_bytes=size,
        **{
            **{name: {DELETED_PATH_FIELD_ID: bound.encode()} for name, bound in bounds.items()},
            **fields,
        },
    )


def equality_deletes(
    table: LooseTable, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], **fields: Any
) -> ContentFile:
    """Write an equality delete file over columns, under the table's current schema and, by default, partitioning."""
    schema = table.metadata.schema.select(*columns)
    arrow = pa.schema([field.with_nullable(True) for field in to_arrow_schema(schema)])
    values = pa.Table.from_pylist([dict(row) for row in rows], schema=arrow)
    path, size = store(table, values)
    footer = pq.read_metadata(pa.BufferReader(table.io.storage.read(path)))
    statistics = {k: v for k, v in collect_statistics(footer, schema).items() if k != "split_offsets"}
    return ContentFile(
        **{
            "content": Content.EQUALITY_DELETES,
            "file_path": path,
            "file_format": "PARQUET",
            "spec_id": table.metadata.default_spec_id,
            "partition": (),
            "record_count": len(rows),
            "file_size_in_bytes": size,
            "equality_ids": tuple(schema.find_field(name).field_id for name in columns),
            "sort_order_id": 0,
            **statistics,
            **fields,
        }
    )
