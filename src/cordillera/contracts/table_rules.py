"""Checking rules on one value over a whole table, at the cost of what a commit changes where the rule allows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa

from cordillera.contracts.checking import aggregate_violations
from cordillera.errors import CommitConflictError
from cordillera.ports.commit_guard import Change
from cordillera.ports.engine import QueryEngine
from cordillera.ports.metadata.contracts import KeptPartials
from cordillera.spec.arrow_types import to_arrow_schema
from cordillera.spec.contract import AggregateRule, Contract, Violation, aggregate_violation
from cordillera.spec.contract.fragments import ROWS
from cordillera.spec.contract.partials import Decomposition, NotDecomposableError, Partial, decompose, fold
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.data_file import POSITION
from cordillera.table.difference import FileRows, difference
from cordillera.table.io import TableIO
from cordillera.table.scan import Scan, stream

_EXACT = Context(prec=80)
"""More digits than a decimal has, so that none is rounded away."""
_WIDE = pa.decimal128(38, 0)
_Numbers = Mapping[Partial, int | None]


class TableRules:
    """Checks the rules on the whole table that a commit has to keep.

    What their values are computed from is kept of the last snapshot that readers have seen. From there on, the rows
    that came and went are read; all rows are where nothing is kept of a snapshot that is still there, for an extreme
    whose row went, and for rules that cannot be taken apart.

    Args:
        io: Access to tables.
        engine: Computes values.
        change: The commit.
        contract: What it has to keep.
        kept: What is kept.
    """

    def __init__(
        self, io: TableIO, engine: QueryEngine, change: Change, contract: Contract, kept: KeptPartials | None
    ) -> None:
        self._io, self._engine, self._change, self._contract, self._kept = io, engine, change, contract, kept
        self._metadata = change.after
        self._types: dict[Partial, pa.DataType] = {}
        self._columns: set[str] = set()

    def check(self, rules: Sequence[AggregateRule]) -> tuple[list[Violation], KeptPartials | None]:
        """Return the rules that the table would break, and what to keep for the next check; None without any.

        Raises:
            CommitConflictError: If another writer was faster: what is kept is of a later snapshot.
            InvalidSqlError: If a rule cannot be computed of these rows.
        """
        snapshot = self._metadata.current_snapshot
        if snapshot is None or not rules:
            return [], None
        taken_apart = self._decompositions(rules)
        self._columns = {name for rule in taken_apart for name in rule.columns}
        names = self._names(taken_apart)
        numbers = self._numbers(snapshot, names)
        apart = {rule: one for rule, one in taken_apart.items() if one.partials <= numbers.keys()}
        found = self._of_partials(apart, numbers)
        whole = [rule for rule in rules if rule not in apart]
        if whole:
            found += aggregate_violations(self._engine, self._contract, whole, self._all_rows(snapshot, whole))
        if not numbers:
            return found, None
        told = {names[partial]: number for partial, number in numbers.items()}
        return found, KeptPartials(self._change.version.id, snapshot.snapshot_id, snapshot.sequence_number, told)

    def _decompositions(self, rules: Sequence[AggregateRule]) -> dict[AggregateRule, Decomposition]:
        found: dict[AggregateRule, Decomposition] = {}
        types, key = types_of(self._metadata), unique_key(self._metadata)
        for rule in rules:
            with suppress(NotDecomposableError):
                found[rule] = decompose(rule, types, key)
        return found

    def _names(self, taken_apart: Mapping[AggregateRule, Decomposition]) -> dict[Partial, str]:
        """Return under which names partials are kept: what they say, and the columns of which they say it."""
        fields = {field.name.lower(): f"{field.field_id} {field.field_type}" for field in self._metadata.schema.fields}
        found: dict[Partial, str] = {}
        for rule, decomposition in taken_apart.items():
            read = [fields.get(name.lower(), "") for name in rule.columns]
            for partial in decomposition.partials:
                found.setdefault(partial, hashlib.sha256("\n".join([partial.sql, *read]).encode()).hexdigest())
        return found

    # --- numbers -------------------------------------------------------------------------------------------------

    def _numbers(self, snapshot: IcebergSnapshot, names: Mapping[Partial, str]) -> dict[Partial, int | None]:
        """Return the partials of all rows; those that turn out not to be whole numbers are left out."""
        if not names:
            return {}
        everything = difference(self._io, self._metadata, None, snapshot).after
        found = dict(self._folded(snapshot, names, everything))
        missing = [partial for partial in names if partial not in found]
        return {**found, **(self._computed(missing, everything) if missing else {})}

    def _folded(self, snapshot: IcebergSnapshot, names: Mapping[Partial, str], everything: FileRows) -> _Numbers:
        """Return the partials that follow from what is kept, and from the rows that came and went since."""
        kept = self._kept
        if kept is None:
            return {}
        before = self._change.before.current_snapshot
        if kept.sequence_number > (before.sequence_number if before else 0):
            raise CommitConflictError(
                f"Another writer committed to {self._change.dataset.full_name} first.", hint="Read it again and retry."
            )
        base = self._metadata.snapshot_by_id(kept.snapshot_id)
        known = [partial for partial, name in names.items() if name in kept.numbers]
        if base is None or not known:
            return {}
        rows = difference(self._io, self._metadata, base, snapshot)
        if rows.before.count + rows.after.count > everything.count:
            return {}
        come, gone = self._computed(known, rows.after), self._computed(known, rows.before)
        found: dict[Partial, int | None] = {}
        for partial in known:
            with suppress(NotDecomposableError):
                found[partial] = fold(partial.kind, kept.numbers[names[partial]], come[partial], gone[partial])
        return found

    def _computed(self, partials: Sequence[Partial], rows: FileRows) -> dict[Partial, int | None]:
        """Return the partials of rows, which are read once."""
        columns = [f"{partial.sql} AS partial_{index}" for index, partial in enumerate(partials)]
        schema = self._metadata.schema
        read = schema.select(*(field.name for field in schema.fields if field.name in self._columns))
        stored = rows.read(self._io, read, (POSITION,))
        table = self._engine.table(f"SELECT {', '.join(columns)} FROM {ROWS}", {ROWS: stored})
        found: dict[Partial, int | None] = {}
        for partial, column in zip(partials, table.columns, strict=True):
            if _is_whole(column.type):
                self._types[partial] = column.type
                found[partial] = _number(column[0])
        return found

    # --- values --------------------------------------------------------------------------------------------------

    def _of_partials(self, rules: Mapping[AggregateRule, Decomposition], numbers: _Numbers) -> list[Violation]:
        """Return the rules that values break which are computed from partials."""
        if not rules:
            return []
        used = {partial: f"partial_{index}" for index, partial in enumerate(numbers)}
        columns = [_column(number, self._types[partial]) for partial, number in numbers.items()]
        row = pa.table([pa.array([0]), *columns], ["any", *used.values()])
        names = {
            partial: f"CAST({name} AS HUGEINT)" if self._types[partial] == _WIDE else name
            for partial, name in used.items()
        }
        values = ", ".join(f"{one.sql(names)} AS rule_{index}" for index, one in enumerate(rules.values()))
        computed = self._engine.table(f"SELECT {values} FROM partials", {"partials": row})
        found = (
            aggregate_violation(self._contract, rule, column[0].as_py())
            for rule, column in zip(rules, computed.columns, strict=True)
        )
        return [violation for violation in found if violation is not None]

    def _all_rows(self, snapshot: IcebergSnapshot, rules: Iterable[AggregateRule]) -> pa.RecordBatchReader:
        names = tuple(dict.fromkeys(name for rule in rules for name in rule.columns))
        schema = self._metadata.schema
        chosen = names or tuple(field.name for field in schema.fields)
        return stream(self._io, Scan(self._metadata, snapshot, schema, chosen))


def types_of(metadata: TableMetadata) -> dict[str, pa.DataType | None]:
    """Return the types of a table's columns."""
    return {field.name: field.type for field in to_arrow_schema(metadata.schema)}


def unique_key(metadata: TableMetadata) -> Sequence[str]:
    """Return the columns that no two rows of a table agree in, whoever writes them; a history repeats its key."""
    return metadata.semantics.key if metadata.semantics.history is None else ()


def _is_whole(kind: pa.DataType) -> bool:
    exact = pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return bool(exact or pa.types.is_date32(kind) or pa.types.is_timestamp(kind))


def _number(value: pa.Scalar[Any]) -> int | None:
    """Return what a value is kept as: decimals without their point, days and microseconds since 1970."""
    if not value.is_valid:
        return None
    if pa.types.is_decimal(value.type):
        return int(value.as_py().scaleb(value.type.scale, _EXACT))
    return int(value.value) if not pa.types.is_integer(value.type) else int(value.as_py())


def _column(number: int | None, kind: pa.DataType) -> pa.Array[Any]:
    """Return a kept number as the value that it is of."""
    if number is None:
        return pa.nulls(1, kind)
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(number).scaleb(-kind.scale, _EXACT)], kind)
    width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    return pa.array([number], width).cast(kind)
