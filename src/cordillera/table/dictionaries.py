"""Columns of texts or bytes as the dictionaries that files store them as: neither decoded nor encoded anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_PLAIN_ENCODINGS = {"PLAIN", "PLAIN_DICTIONARY", "RLE", "RLE_DICTIONARY", "BIT_PACKED"}
_SMALL_BYTES = 32 * 1024
"""Of a dictionary, compressed: writers begin with plain values when one has a megabyte or so."""


def dictionary_columns(footer: pq.FileMetaData, groups: Iterable[int], *, small: bool = False) -> list[str]:
    """Return the columns of texts or bytes that row groups all store as dictionaries which can be read as such.

    Args:
        footer: Of the file.
        groups: The row groups.
        small: Only those whose dictionaries are small: in others, writers may have gone over to plain values after a
            while, of which it takes four times as long to make a dictionary as to read them.
    """
    found = [_of_group(footer.row_group(group), small=small) for group in groups]
    return [name for name in found[0] if all(name in others for others in found[1:])] if found else []


def _of_group(group: pq.RowGroupMetaData, *, small: bool) -> list[str]:
    chunks = (group.column(index) for index in range(group.num_columns))
    return [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY"
        and "." not in chunk.path_in_schema
        and chunk.has_dictionary_page
        and _PLAIN_ENCODINGS.issuperset(chunk.encodings)
        and not (small and chunk.data_page_offset - chunk.dictionary_page_offset > _SMALL_BYTES)
    ]


def table_of(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Return the rows of batches that may differ in which columns are dictionaries.

    A column is one if it is in all of them, without values that no row has.
    """
    schema = batches[0].schema
    if not any(pa.types.is_dictionary(kind) for batch in batches for kind in batch.schema.types):
        return pa.Table.from_batches(batches)
    columns = [_united([batch.column(index) for batch in batches]) for index in range(len(schema))]
    return pa.table(columns, schema=with_dictionaries(schema, [column.type for column in columns]))


def with_dictionaries(schema: pa.Schema, kinds: Sequence[pa.DataType]) -> pa.Schema:
    """Return a schema whose columns are dictionaries where the types given are, and plain elsewhere."""
    return pa.schema([_field(field, kind) for field, kind in zip(schema, kinds, strict=True)])


def _field(field: pa.Field, kind: pa.DataType) -> pa.Field:
    if pa.types.is_dictionary(kind):
        return field.with_type(kind)
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _united(parts: Sequence[pa.Array]) -> pa.Array | pa.ChunkedArray:
    if all(pa.types.is_dictionary(part.type) for part in parts):
        return without_unused(pa.concat_arrays(parts))
    return pa.chunked_array([plain(part) for part in parts])


def joined(stored: pa.Array, new: pa.Array) -> pa.Array:
    """Return values behind others; a dictionary gets those that it lacks."""
    if not pa.types.is_dictionary(stored.type):
        return pa.concat_arrays([stored, new])
    if pa.types.is_dictionary(new.type):
        return pa.DictionaryArray.from_arrays(pa.concat_arrays([stored.indices, new.indices]), stored.dictionary)
    lacking = pc.drop_null(new.filter(pc.invert(pc.is_in(new, value_set=stored.dictionary))))
    dictionary = pa.concat_arrays([stored.dictionary, pc.unique(lacking)])
    indices = pc.index_in(new, value_set=dictionary)
    return pa.DictionaryArray.from_arrays(pa.concat_arrays([stored.indices, indices]), dictionary)


def without_unused(values: pa.Array) -> pa.Array:
    """Take the values that no row has any more out of a dictionary: what was deleted must not stay in the file."""
    if not pa.types.is_dictionary(values.type):
        return values
    used = np.zeros(len(values.dictionary), dtype=bool)
    used[pc.drop_null(values.indices).to_numpy()] = True
    if used.all():
        return values
    places = pa.array(np.cumsum(used) - 1, values.indices.type)
    return pa.DictionaryArray.from_arrays(places.take(values.indices), values.dictionary.filter(pa.array(used)))


def plain(values: pa.Array) -> pa.Array:
    """Return values that may be a dictionary as they are."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
