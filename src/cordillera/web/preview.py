"""Turning Arrow values into the text of table cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_LONGEST_CELL = 100
_LONGEST_BINARY = 24


@dataclass(frozen=True, slots=True)
class PreviewColumn:
    """A column of a preview; ``numeric`` columns are set flush right."""

    name: str
    type: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a dataset as text, long values shortened. None stands for NULL."""

    columns: tuple[PreviewColumn, ...]
    rows: tuple[tuple[str | None, ...], ...]


def preview_of(rows: pa.Table) -> Preview:
    """Return a table of few rows as text."""
    columns = tuple(PreviewColumn(field.name, str(field.type), _numeric(field.type)) for field in rows.schema)
    cells = [_shortened(_text(column)).to_pylist() for column in rows.columns]
    return Preview(columns, tuple(zip(*cells, strict=True)))


def _numeric(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if types.is_timestamp(kind) or types.is_time(kind):
        return pc.replace_substring_regex(pc.cast(column, pa.string()), r"\.0+(Z?)$", r"\1")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pa.chunked_array([[_hex(value) for value in column.to_pylist()]], pa.string())
    if types.is_nested(kind):
        return pa.chunked_array([[_json(value) for value in column.to_pylist()]], pa.string())
    return pc.cast(column, pa.string())


def _shortened(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, _LONGEST_CELL), "…", "")
    return pc.if_else(pc.greater(pc.utf8_length(texts), _LONGEST_CELL), cut, texts)


def _hex(value: bytes | None) -> str | None:
    """Return bytes in hexadecimal; of long values the beginning and the length."""
    if value is None or len(value) <= _LONGEST_BINARY:
        return None if value is None else f"0x{value.hex()}"
    return f"0x{value[:_LONGEST_BINARY].hex()}… ({len(value):,} bytes)"


def _json(value: Any) -> str | None:
    """Return a nested value as JSON; what JSON has no form for is written as Python writes it."""
    if value is None:
        return None
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
