"""Declaring merge semantics: what a new dataset asks for, checked against its columns.

A history (``MergeRule.SCD2``, ``MergeRule.SCD7``) gets the columns ``valid_from``, ``valid_to`` and ``is_current``, for
type 7 also ``surrogate_key``, behind its own. ``valid_from`` is part of the key, since one natural key has many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from cordillera.errors import InvalidSchemaError
from cordillera.spec.merge import Aggregate, HistoryColumns, MergeRule, MergeSemantics, WriteMode

VALID_FROM, VALID_TO, IS_CURRENT, SURROGATE_KEY = "valid_from", "valid_to", "is_current", "surrogate_key"

_Choice = TypeVar("_Choice", WriteMode, MergeRule, Aggregate)


@dataclass(frozen=True, slots=True)
class MergeDeclaration:
    """Merge semantics as they are asked for.

    Attributes:
        key: Columns that identify a row, as writers know it.
        sequence: Column that tells the later of two rows of a key.
        write_mode: A ``WriteMode``.
        rule: A ``MergeRule``.
        aggregates: Column → an ``Aggregate``.
        tracked: Columns whose change opens a new row of a history; empty for all.
    """

    key: tuple[str, ...] = ()
    sequence: str | None = None
    write_mode: str = WriteMode.MERGE_ON_READ.value
    rule: str = MergeRule.LATEST_ROW_WINS.value
    aggregates: Mapping[str, str] = field(default_factory=dict)
    tracked: tuple[str, ...] = ()


def declare(wanted: MergeDeclaration, schema: pa.Schema) -> tuple[MergeSemantics, pa.Schema]:
    """Return the merge semantics that are asked for, and the schema with the columns that they keep by themselves.

    Raises:
        InvalidSchemaError: If they make no sense for these columns. What a key or a sequence may be is checked with the
            table.
    """
    write_mode = parse_write_mode(wanted.write_mode)
    rule = _choice(MergeRule, wanted.rule, "merge rule")
    aggregates = {name: _choice(Aggregate, how, "aggregate") for name, how in wanted.aggregates.items()}
    _check_aggregates(wanted, rule, aggregates, schema)
    if rule is MergeRule.FIRST_ROW_WINS and not wanted.key:
        raise InvalidSchemaError(
            f"The merge rule {rule} decides between rows of a key, but there is no key.", hint="Give the dataset a key."
        )
    if rule not in (MergeRule.SCD2, MergeRule.SCD7):
        if wanted.tracked:
            raise InvalidSchemaError(
                f"Columns are tracked by a history only, and the merge rule is {rule}.",
                hint=f"Use the merge rule {MergeRule.SCD2} or {MergeRule.SCD7}.",
            )
        return MergeSemantics(wanted.key, wanted.sequence, write_mode, rule, aggregates), schema
    history, schema = _history(wanted, rule, schema)
    key = (*wanted.key, history.valid_from)
    return MergeSemantics(key, wanted.sequence, write_mode, rule, aggregates, history), schema


def parse_write_mode(text: str) -> WriteMode:
    """Return the write mode of that name.

    Raises:
        InvalidSchemaError: Listing the write modes there are.
    """
    return _choice(WriteMode, text, "write mode")


def _choice(kind: type[_Choice], text: str, what: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        raise InvalidSchemaError(
            f"There is no {what} {str(text)[:40]!r}.", hint=f"Use one of: {', '.join(kind)}."
        ) from None


def _check_aggregates(
    wanted: MergeDeclaration, rule: MergeRule, aggregates: Mapping[str, Aggregate], schema: pa.Schema
) -> None:
    if not aggregates:
        return
    if rule is not MergeRule.LATEST_ROW_WINS or not wanted.key:
        raise InvalidSchemaError(
            f"Columns aggregate the rows of a key under the merge rule {MergeRule.LATEST_ROW_WINS} only.",
            hint="Give the dataset a key, and leave the merge rule out.",
        )
    _check_known(aggregates, schema, "The aggregate")
    for name, how in aggregates.items():
        if name in wanted.key or name == wanted.sequence:
            raise InvalidSchemaError(
                f"The column {name!r} is part of the key or the sequence, and cannot aggregate.",
                hint="Aggregate another column.",
            )
        kind = schema.field(name).type
        if not _can(how, kind):
            raise InvalidSchemaError(
                f"The column {name!r} is {kind}, which has no {how}.",
                hint=f"Use {Aggregate.FIRST} or {Aggregate.LAST_NON_NULL}, or another type.",
            )


def _can(how: Aggregate, kind: pa.DataType) -> bool:
    if how is Aggregate.SUM:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
    return how in (Aggregate.FIRST, Aggregate.LAST_NON_NULL) or not pa.types.is_nested(kind)


def _history(wanted: MergeDeclaration, rule: MergeRule, schema: pa.Schema) -> tuple[HistoryColumns, pa.Schema]:
    if not wanted.key or wanted.sequence is None or wanted.sequence not in schema.names:
        raise InvalidSchemaError(
            f"A history ({rule}) needs a key, and a sequence column that says since when a row holds.",
            hint="Give both; the sequence is usually a timestamp or a date.",
        )
    surrogate = SURROGATE_KEY if rule is MergeRule.SCD7 else None
    history = HistoryColumns(VALID_FROM, VALID_TO, IS_CURRENT, surrogate, wanted.tracked)
    taken = {name.lower() for name in schema.names}
    if clash := [name for name in history.maintained if name in taken]:
        raise InvalidSchemaError(
            f"A history ({rule}) keeps {', '.join(map(repr, clash))} by itself.",
            hint="Leave the columns out of the schema, or rename them.",
        )
    _check_known(wanted.tracked, schema, "The history")
    if fixed := [name for name in wanted.tracked if name in (*wanted.key, wanted.sequence)]:
        raise InvalidSchemaError(
            f"The column {fixed[0]!r} is part of the key or the sequence, and cannot be tracked.",
            hint="Track the columns whose change matters; by default all.",
        )
    moment = schema.field(wanted.sequence).type
    columns = [
        pa.field(VALID_FROM, moment, nullable=False, metadata={"doc": "since when the row holds"}),
        pa.field(VALID_TO, moment, metadata={"doc": "until when it held, exclusive; NULL while it holds"}),
        pa.field(IS_CURRENT, pa.bool_(), nullable=False, metadata={"doc": "whether it holds"}),
    ]
    if surrogate:
        columns.append(pa.field(surrogate, pa.int64(), nullable=False, metadata={"doc": "number of this row"}))
    return history, pa.schema([*schema, *columns], metadata=schema.metadata)


def _check_known(names: Iterable[str], schema: pa.Schema, what: str) -> None:
    columns: Sequence[str] = schema.names
    if unknown := [name for name in names if name not in columns]:
        raise InvalidSchemaError(
            f"{what} names the column {unknown[0]!r}, which does not exist.", hint=f"Columns: {', '.join(columns)}."
        )
