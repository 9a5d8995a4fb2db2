"""What partitioning makes of rows: the partition values that they have, and which of them belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import Transform, TruncateTransform

from cordillera.errors import InvalidInputError

_ROWS_AT_ONCE = 122_880
"""How many rows are split together: as many as a row group takes."""


def partition_columns(spec: PartitionSpec, schema: Schema, batch: pa.RecordBatch) -> list[pa.Array]:
    """Return the partition values of rows, a column for each field of the spec, as Iceberg holds them in memory."""
    return [internal_form(transformed(part.source_id, part.transform, schema, batch)) for part in spec.fields]


def source_columns(spec: PartitionSpec, schema: Schema) -> list[str]:
    """Return the columns that partition values are made of, each once."""
    names = (schema.find_column_name(part.source_id) or "" for part in spec.fields)
    return list(dict.fromkeys(name.split(".")[0] for name in names))


def check_digits(spec: PartitionSpec, columns: Sequence[pa.Array]) -> None:
    """Refuse partition values that truncation, which goes down, has given a digit more: manifests cannot hold them.

    Raises:
        InvalidInputError: If there is such a decimal.
    """
    for part, column in zip(spec.fields, columns, strict=True):
        kind = column.type
        if isinstance(part.transform, TruncateTransform) and pa.types.is_decimal(kind):
            least = pc.min(column).as_py()
            if least is not None and least.adjusted() >= kind.precision - kind.scale:
                raise InvalidInputError(
                    f"The partition value {least} of {part.name!r} has more digits than {kind}.",
                    hint="Widen the column that is truncated, or partition the dataset by something else.",
                )


def split_by_partition(
    spec: PartitionSpec, schema: Schema, batch: pa.RecordBatch
) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch]]:
    """Yield the rows of each partition that rows are of, those of many rows in parts."""
    if not spec.fields and batch.num_rows:
        yield (), batch
        return
    for first in range(0, batch.num_rows, _ROWS_AT_ONCE):
        yield from _split(spec, schema, batch.slice(first, _ROWS_AT_ONCE))


def _split(
    spec: PartitionSpec, schema: Schema, batch: pa.RecordBatch
) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch]]:
    columns = partition_columns(spec, schema, batch)
    check_digits(spec, columns)
    names = [str(index) for index in range(len(columns))]
    numbered = pa.table([*columns, pa.array(np.arange(batch.num_rows))], names=[*names, "row"])
    groups = numbered.group_by(names, use_threads=False).aggregate([("row", "list")])
    partitions = zip(*(groups.column(name).to_pylist() for name in names), strict=True)
    if groups.num_rows == 1:
        yield next(partitions), batch
        return
    rows = groups.column("row_list").combine_chunks()
    places, ends = rows.values.to_numpy(), rows.offsets.to_numpy()
    begins, counts = places[ends[:-1]], np.diff(ends)
    if (places[ends[1:] - 1] - begins + 1 != counts).any():
        # One partition behind the other, taken at once: a column is gone through once, not once for each partition.
        batch, begins = batch.take(rows.values), ends[:-1]
    for partition, begin, count in zip(partitions, begins.tolist(), counts.tolist(), strict=True):
        yield partition, pa.concat_batches([batch.slice(begin, count)])  # a copy keeps no others in memory


def transformed(source_id: int, transform: Transform[Any, Any], schema: Schema, batch: pa.RecordBatch) -> pa.Array:
    """Return what a transform makes of a column of rows, which may be a field of a struct."""
    return transform.pyarrow_transform(schema.find_type(source_id))(column_by_id(source_id, schema, batch))


def column_by_id(field_id: int, schema: Schema, batch: pa.RecordBatch) -> pa.Array:
    """Return a column of rows, which may be a field of a struct."""
    name, *nested = (schema.find_column_name(field_id) or "").split(".")
    return pc.struct_field(batch.column(name), nested) if nested else batch.column(name)


def internal_form(values: pa.Array) -> pa.Array:
    """Return partition values as Iceberg holds them in memory: dates and times as numbers since the epoch.

    Zeros, which equal each other by our rules for keys, belong to one partition whatever their sign.
    """
    if isinstance(values.type, pa.UuidType):
        return values.storage
    if pa.types.is_floating(values.type):
        return pc.add(values, pa.scalar(0.0, values.type))
    if pa.types.is_date32(values.type):
        return values.cast(pa.int32())
    if pa.types.is_temporal(values.type):
        return values.cast(pa.int64())
    return values
