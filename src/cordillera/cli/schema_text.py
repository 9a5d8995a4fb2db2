"""Schemas as people type them: ``order_id:long, day:date, total:decimal(10,2), tags:list<string>``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from cordillera.errors import InvalidSchemaError, TypeMismatchError
from cordillera.schema_codec import type_from_json

_NESTED = re.compile(r"(?P<kind>list|map|struct)\s*<(?P<inner>.*)>", re.DOTALL)


def parse_schema(text: str) -> pa.Schema:
    """Read ``name:type`` terms separated by commas.

    Raises:
        InvalidSchemaError: If a term has another form, or a type is unknown.
    """
    return pa.schema([pa.field(*parse_column(term)) for term in split_terms(text)])


def parse_column(term: str) -> tuple[str, pa.DataType]:
    """Read one ``name:type`` term.

    Raises:
        InvalidSchemaError: If it has another form, or the type is unknown.
    """
    name, separator, kind = (part.strip() for part in term.partition(":"))
    if not separator or not name:
        raise InvalidSchemaError(
            f"{term!r} describes no column.", hint="Write columns as name:type, for example 'order_id:long'."
        )
    return name, parse_type(kind, name)


def parse_type(text: str, column: str) -> pa.DataType:
    """Read an Iceberg type; nested ones are written ``list<t>``, ``map<k,v>`` and ``struct<name:t,…>``.

    Raises:
        InvalidSchemaError: Naming the column, if there is no such type.
    """
    nested = _NESTED.fullmatch(text)
    if nested is None:
        return type_from_json(text, column)
    kind, terms = nested["kind"], split_terms(nested["inner"])
    builders: dict[tuple[str, bool], Callable[[], pa.DataType]] = {
        ("list", len(terms) == 1): lambda: pa.list_(parse_type(terms[0], column)),
        ("map", len(terms) == 2): lambda: pa.map_(parse_type(terms[0], column), parse_type(terms[1], column)),
        ("struct", bool(terms)): lambda: pa.struct([pa.field(*parse_column(term)) for term in terms]),
    }
    build = builders.get((kind, True))
    if build is None:
        raise InvalidSchemaError(
            f"Column {column!r} has the type {text!r}, which is not complete.",
            hint="Write list<string>, map<string,long> or struct<city:string,zip:string>.",
        )
    return build()


def split_terms(text: str) -> list[str]:
    """Return the terms between the commas that stand in no parentheses or brackets."""
    terms, depth, start = [], 0, 0
    for index, character in enumerate(text):
        if character in "(<[":
            depth += 1
        elif character in ")>]":
            depth -= 1
        elif character == "," and depth == 0:
            terms.append(text[start:index])
            start = index + 1
    return [term.strip() for term in (*terms, text[start:]) if term.strip()]


def parse_value(text: str, kind: pa.DataType, column: str) -> Any:
    """Return a value of a type from its text, for example a column's default.

    Raises:
        TypeMismatchError: If the text is no such value.
    """
    try:
        return pa.scalar(text).cast(kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise TypeMismatchError(f"{text!r} is no {kind}, which the column {column!r} is.") from error
