"""How the columns of data files are encoded: by what the first rows of each look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cordillera.table.bloom_filter import filter_options

ROW_GROUP_ROWS = 122_880
_PAGE_BYTES = 128 * 1024
_LEAST_AT_ONCE = 1024
_MOST_AT_ONCE = 8 * 1024
"""Rows that are encoded at a time, page sizes permitting: statistics of dictionaries cost something each time."""
_SAMPLE_ROWS = 20_000
_LEAST_SAMPLE = 1_000
_SAMPLED_SHARE = 4
"""Of how many rows one is looked at: to look at all would cost as much as to write them."""
_DISTINCT_SHARE = 0.2
_LEAST_SAVING = 1 / 16
"""Of a column's bytes: what compression has to take away to be worth its time, in writing and in each reading."""
_INTEGER_DIGITS = 18
"""Digits up to which Iceberg stores a decimal as an integer (specification, "Parquet")."""


class ParquetEncoding:
    """Opens writers of data files, with the encodings that suit the rows.

    A dictionary is for columns whose values repeat: one of values that hardly do makes files larger, and costs most of
    the time it takes to write them. Other numbers and times are stored as differences (DELTA_BINARY_PACKED), which
    takes a quarter of the time and less room, but only in tables of version 3: engines that know no newer version
    may not know that encoding either. Columns that are small by their encoding already are not compressed besides.

    What a sample says of a column holds for all files that one of these opens, but those that would have more than
    twice as large a one.

    Args:
        properties: Table properties, which can ask for Bloom filters.
        format_version: The table's.
    """

    def __init__(self, properties: Mapping[str, str], format_version: int) -> None:
        self._properties, self._packs = properties, format_version >= 3
        self._repeats: dict[str, tuple[bool, int]] = {}
        self._compresses: dict[str, bool] = {}

    def writer(
        self,
        sink: Any,
        schema: pa.Schema,
        sample: pa.RecordBatch | pa.Table,
    ) -> pq.ParquetWriter:
        """Return a writer of one file.

        Args:
            sink: Where the file goes.
            schema: Its columns, with field ids.
            sample: Rows to choose encodings by.
        """
        flat = [field for field in schema if not pa.types.is_nested(field.type)]
        repeating = {field.name for field in flat if self._has_dictionary(field, sample.column(field.name))}
        nested = [path for field in schema if pa.types.is_nested(field.type) for path in _leaf_paths(field)]
        packed = [f.name for f in flat if self._packs and f.name not in repeating and _is_packed(f.type)]
        filters = filter_options(self._properties, schema, min(sample.num_rows, ROW_GROUP_ROWS))
        paths = [path for field in schema for path in _leaf_paths(field)]
        compressed = [path for path in paths if self._compresses.get(path, True)]
        return pq.ParquetWriter(
            sink, schema, coerce_timestamps="us", version="2.6",
            compression={path: "zstd" if path in compressed else "none" for path in paths},
            compression_level=dict.fromkeys(compressed, 1),
            store_schema=False, write_page_index=True, use_dictionary=[*repeating, *nested],
            column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED"),
            data_page_size=_PAGE_BYTES, write_batch_size=_rows_at_once(sample), bloom_filter_options=filters or None,
            store_decimal_as_integer=self._packs,
            write_page_checksum=True,  # most single wrong bits would decompress, to other values
        )  # fmt: skip

    def learn(self, footer: pq.FileMetaData) -> None:
        """Let what was written tell which columns compression makes enough smaller: the others go without from now on.

        Args:
            footer: Of a file that one of these has written.
        """
        group = footer.row_group(0)
        if group.num_rows < _SAMPLE_ROWS:
            return
        for column in (group.column(index) for index in range(group.num_columns)):
            most = column.total_uncompressed_size * (1 - _LEAST_SAVING)
            self._compresses.setdefault(column.path_in_schema, column.total_compressed_size <= most)

    def _has_dictionary(self, declared: pa.Field, column: pa.Array | pa.ChunkedArray) -> bool:
        if pa.types.is_boolean(declared.type) or pa.types.is_dictionary(declared.type):
            return bool(pa.types.is_dictionary(declared.type))
        rows = min(len(column), _SAMPLE_ROWS, max(_LEAST_SAMPLE, len(column) // _SAMPLED_SHARE))
        repeats, sampled = self._repeats.get(declared.name, (False, 0))
        if rows > 2 * sampled:
            repeats = _repeats(column.slice(0, rows))
            self._repeats[declared.name] = repeats, rows
        return repeats


def _repeats(column: pa.Array | pa.ChunkedArray) -> bool:
    storage = column.cast(column.type.storage_type) if isinstance(column.type, pa.BaseExtensionType) else column
    return bool(pc.count_distinct(storage, mode="all").as_py() <= len(column) * _DISTINCT_SHARE)


def _rows_at_once(sample: pa.RecordBatch | pa.Table) -> int:
    """Return how many rows are encoded at a time: a page ends only between them, so no more than one takes."""
    widest = max((column.nbytes for column in sample.columns), default=0)
    fitting: int = _PAGE_BYTES * sample.num_rows // max(1, widest)
    return min(_MOST_AT_ONCE, max(_LEAST_AT_ONCE, fitting))


def _is_packed(kind: pa.DataType) -> bool:
    if pa.types.is_decimal128(kind):
        return bool(kind.precision <= _INTEGER_DIGITS)
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind))


def _leaf_paths(field: pa.Field, above: str = "") -> list[str]:
    path = f"{above}{field.name}"
    if pa.types.is_struct(field.type):
        return [leaf for child in field.type for leaf in _leaf_paths(child, f"{path}.")]
    if pa.types.is_map(field.type):
        key, value = field.type.key_field.with_name("key"), field.type.item_field.with_name("value")
        return [*_leaf_paths(key, f"{path}.key_value."), *_leaf_paths(value, f"{path}.key_value.")]
    if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
        return _leaf_paths(field.type.value_field.with_name("element"), f"{path}.list.")
    return [path]
