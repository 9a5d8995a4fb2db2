"""Schemas as people have them: of pyarrow, Polars or pandas, or as names and types."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from cordillera.errors import InvalidInputError


def as_schema(source: Any) -> pa.Schema:
    """Return the Arrow schema of a schema, a frame, or anything that exports one.

    Args:
        source: A schema of pyarrow or Polars, a frame of pyarrow, pandas or Polars (lazy or not), anything with
            ``__arrow_c_schema__`` or ``__arrow_c_stream__``, or a dict of names and types of pyarrow or Polars.

    Raises:
        InvalidInputError: If it is none of these.
    """
    if isinstance(source, pa.Schema):
        return source
    try:
        if hasattr(source, "collect_schema"):  # a frame of Polars, for which a lazy one need not be computed
            return pa.schema(source.collect_schema())
        if hasattr(source, "__arrow_c_schema__"):
            return pa.schema(source)
        if hasattr(source, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(source).schema
        if isinstance(source, Mapping):
            return pa.schema([_as_field(name, kind) for name, kind in source.items()])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"A schema cannot be taken from {source!r:.200}: {error}.", hint=_SCHEMA_HINT
        ) from error
    raise InvalidInputError(f"A schema cannot be taken from a {type(source).__name__}.", hint=_SCHEMA_HINT)


_SCHEMA_HINT = "Give a schema or a frame of pyarrow, Polars or pandas, or a dict of names and their types."


def _as_field(name: str, kind: Any) -> pa.Field:
    """Return a column of a type of pyarrow, given as such or by its name, or of Polars."""
    polars = sys.modules.get("polars")  # whoever has a type of Polars has imported it
    if polars is not None and isinstance(kind, (polars.DataType, type(polars.Int64))):
        return pa.schema(polars.Schema({name: kind})).field(0)
    return pa.field(name, kind)
