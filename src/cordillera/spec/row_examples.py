"""Rows as messages show them: a value may be as long as a book, a message may not."""

from __future__ import annotations

import reprlib

import pyarrow as pa

_VALUES = reprlib.Repr()
_VALUES.maxstring = _VALUES.maxother = _VALUES.maxlong = 80


def row_examples(rows: pa.Table) -> list[str]:
    """Return rows as text, ``id=1, name='a'``; of long values the middle is left out."""
    columns = [[_shown(value) for value in column] for column in rows.itercolumns()]
    return [
        ", ".join(f"{name}={value}" for name, value in zip(rows.column_names, row, strict=True))
        for row in zip(*columns, strict=True)
    ]


def _shown(value: pa.Scalar) -> str:
    if pa.types.is_timestamp(value.type) and value.type.unit == "ns":
        return str(value.cast(pa.string()))  # which no ``datetime`` holds
    return _VALUES.repr(value.as_py())
