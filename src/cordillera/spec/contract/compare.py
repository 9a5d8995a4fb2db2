"""Comparing a contract with the dataset it is for: columns, types, NULLs, key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from cordillera.spec.contract.model import Column, Contract, Severity, key_of
from cordillera.spec.contract.types import keeps_promise


class ProblemKind(StrEnum):
    """What a contract and its dataset disagree about."""

    MISSING_COLUMN = "missing_column"
    UNDECLARED_COLUMN = "undeclared_column"
    TYPE = "type"
    NULLABLE = "nullable"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Problem:
    """A disagreement between a contract and its dataset.

    Attributes:
        kind: What it is about.
        column: The column's dotted name; None where it is about the whole.
        severity: Error where the dataset cannot keep what the contract promises, warning where it can.
        message: What each of the two says.
    """

    kind: ProblemKind
    column: str | None
    severity: Severity
    message: str


def schema_problems(contract: Contract, arrow_schema: pa.Schema, key: Sequence[str]) -> list[Problem]:
    """Compare a contract with a dataset's schema and key, the gravest disagreements first.

    Args:
        contract: The contract.
        arrow_schema: The dataset's schema.
        key: The dataset's key columns, in order; empty for a dataset without a key.
    """
    problems = list(_field_problems(contract.columns, {field.name: field for field in arrow_schema}, ""))
    declared = key_of(contract)
    if declared != tuple(key):
        message = f"the contract's primary key is {_names(declared)}, the dataset's key is {_names(key)}"
        problems.append(Problem(ProblemKind.KEY, None, Severity.ERROR, message))
    return sorted(problems, key=lambda problem: problem.severity != Severity.ERROR)


def _names(names: Sequence[str]) -> str:
    return f"({', '.join(names)})" if names else "none"


def _field_problems(columns: Sequence[Column], fields: dict[str, pa.Field], prefix: str) -> Iterator[Problem]:
    for column in columns:
        field = fields.get(column.name)
        if field is None:
            yield _missing(column, fields, prefix)
        else:
            yield from _column_problems(column, field, f"{prefix}{column.name}")
    declared = {column.name for column in columns}
    for name in fields:
        if name not in declared:
            message = f"the dataset has a column {prefix}{name}, which the contract does not describe"
            yield Problem(ProblemKind.UNDECLARED_COLUMN, f"{prefix}{name}", Severity.WARNING, message)


def _missing(column: Column, fields: dict[str, pa.Field], prefix: str) -> Problem:
    near = [name for name in fields if name.lower() == column.name.lower()]
    spelled = f"; it has {prefix}{near[0]}, and names are case-sensitive" if near else ""
    message = f"the contract promises the column {prefix}{column.name}, which the dataset does not have{spelled}"
    return Problem(ProblemKind.MISSING_COLUMN, f"{prefix}{column.name}", Severity.ERROR, message)


def _column_problems(column: Column, field: pa.Field, path: str) -> Iterator[Problem]:
    if not keeps_promise(column, field.type):
        message = f"the contract declares {path} as {_declaration(column)}, the dataset has {field.type}"
        yield Problem(ProblemKind.TYPE, path, Severity.ERROR, message)
        return
    if column.required and field.nullable and column.key_position is None:
        # Rows are checked for it one by one, but rows written before the contract, or by its absence, may hold NULL.
        message = f"the contract requires {path}, the dataset allows NULL in it"
        yield Problem(ProblemKind.NULLABLE, path, Severity.WARNING, message)
    if column.fields and pa.types.is_struct(field.type):
        inner = [field.type.field(index) for index in range(field.type.num_fields)]
        yield from _field_problems(column.fields, {one.name: one for one in inner}, f"{path}.")
    if column.items and hasattr(field.type, "value_field"):
        yield from _column_problems(column.items, field.type.value_field, f"{path}.element")


def _declaration(column: Column) -> str:
    options = column.options
    details = [options.format] if options.format and column.logical_type in ("integer", "number") else []
    details += ["timezone"] if options.timezone else []
    text = column.logical_type or "a column"
    text += f" ({', '.join(details)})" if details else ""
    return f"{text}, physically {column.physical_type}" if column.physical_type else text
