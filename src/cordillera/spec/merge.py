"""Merge semantics: how written rows combine with stored ones.

Key equality, the same in every operation and engine:
    * Key columns are never NULL; rows with a NULL key are refused.
    * ``''`` is a value like any other, equal only to itself. Strings compare by code point: no case folding, no
    trimming,
      no Unicode normalisation.
    * NaN equals NaN; ``-0.0`` equals ``0.0``.
    * Timestamps with a zone compare as instants, whatever zone they were written in.

Sequence rule: where a dataset has a sequence column, a row replaces the stored row of its key only if its sequence is
greater or equal; a late row is dropped and counted. A delete carries a sequence too, and is remembered as a
tombstone: a row that arrives afterwards with a smaller sequence stays deleted. Within one batch the greatest
sequence of a key wins; the same key with the same sequence twice is refused, because nothing says which is right.
Without a sequence column the later commit wins, and a batch that repeats a key is refused.

A dataset may declare other merge semantics (``MergeRule``, ``Aggregate``): the first row of a key stays for good,
columns aggregate what is written to them, or every row is kept with the time for which it held (``spec.history``).

Sparse partial updates: a column ``_columns`` names, row by row, the columns that the row sets (key and sequence apart);
NULL means all that are given. The rows of one key are applied one after the other, in the order of their sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import orjson
from pyiceberg.schema import Schema

from cordillera.errors import MissingKeyError, NotAllowedError, UnknownColumnError, UnknownOperationError
from cordillera.spec.names import COLUMN_SET

KEY_PROPERTY = "cordillera.key-field-ids"
SEQUENCE_PROPERTY = "cordillera.sequence-field-id"
WRITE_MODE_PROPERTY = "write.merge.mode"
AUTO_PROPERTY = "cordillera.write-mode"
"""Tells of ``WriteMode.AUTO``, which other writers do not know: to them such a table is merge-on-read."""
TOMBSTONES_PROPERTY = "cordillera.tombstones"
RULE_PROPERTY = "cordillera.merge-rule"
AGGREGATES_PROPERTY = "cordillera.aggregates"
HISTORY_PROPERTY = "cordillera.history"


class Operation(StrEnum):
    """What a write does with its rows."""

    APPEND = "append"
    """Add rows; a key that is already stored is refused."""
    UPSERT = "upsert"
    """Insert rows, or put them in the place of the stored rows of the same keys."""
    PARTIAL_UPDATE = "partial_update"
    """Change only the given columns of the stored rows; a key that is not stored is inserted, other columns NULL."""
    DELETE = "delete"
    """Remove the stored rows of the given keys."""
    REPLACE = "replace"
    """Make the rows the whole content."""
    REPLACE_PARTITIONS = "replace_partitions"
    """Make the rows the whole content of the partitions they fall into."""
    MERGE = "merge"
    """What the clauses of a conditional merge say (``spec.merge_clauses``)."""


class MergeRule(StrEnum):
    """Which rows of a key a dataset keeps."""

    LATEST_ROW_WINS = "latest-row-wins"
    """The newest, by sequence or by commit."""
    FIRST_ROW_WINS = "first-row-wins"
    """The one that was stored first; upserts and partial updates never change it."""
    SCD2 = "scd2"
    """All, each with the time for which it held (slowly changing dimension, type 2)."""
    SCD7 = "scd7"
    """As ``SCD2``, and each with a surrogate key of its own (slowly changing dimension, type 7)."""


class Aggregate(StrEnum):
    """How a column combines what is written with what is stored. NULL is passed over by all but ``FIRST``."""

    SUM = "sum"
    """The sum of every value written."""
    MAX = "max"
    """The greatest value written; NaN counts as greatest."""
    MIN = "min"
    """The least value written."""
    FIRST = "first"
    """The value of the row that was stored first."""
    LAST_NON_NULL = "last_non_null"
    """The newest value that is not NULL; of a late row only where there is none."""

    @property
    def is_commutative(self) -> bool:
        """Whether the order of rows has no influence on the result."""
        return self in (Aggregate.SUM, Aggregate.MAX, Aggregate.MIN)


class WriteMode(StrEnum):
    """How rows are taken out of data files."""

    MERGE_ON_READ = "merge-on-read"
    """Mark them in deletion vectors; readers leave them out."""
    COPY_ON_WRITE = "copy-on-write"
    """Rewrite the files without them."""
    AUTO = "auto"
    """For each file, what costs less (``spec.write_cost``)."""


def write_mode_properties(mode: WriteMode) -> dict[str, str]:
    """Return the table properties that store a write mode."""
    if mode is WriteMode.AUTO:
        return {WRITE_MODE_PROPERTY: WriteMode.MERGE_ON_READ.value, AUTO_PROPERTY: mode.value}
    return {WRITE_MODE_PROPERTY: mode.value}


@dataclass(frozen=True, slots=True)
class HistoryColumns:
    """The columns that a history keeps by itself, and those whose change opens a new row.

    Attributes:
        valid_from: Since when a row held; part of the key, of the sequence column's type.
        valid_to: Until when, exclusive; NULL while it holds.
        is_current: Whether it holds.
        surrogate_key: A number of the row's own (SCD 7), or None.
        tracked: Columns whose change opens a new row; empty for all.
    """

    valid_from: str
    valid_to: str
    is_current: str
    surrogate_key: str | None = None
    tracked: tuple[str, ...] = ()

    @property
    def maintained(self) -> tuple[str, ...]:
        """The columns that writers do not give."""
        own = (self.valid_from, self.valid_to, self.is_current)
        return (*own, self.surrogate_key) if self.surrogate_key else own


@dataclass(frozen=True, slots=True)
class MergeSemantics:
    """How a dataset version combines rows. Column names are today's names.

    Attributes:
        key: Columns that identify a stored row; of a history, the natural key and ``valid_from``.
        sequence: Column that tells the later of two rows of a key.
        write_mode: How rows are taken out of files.
        rule: Which rows of a key are kept.
        aggregates: Columns that combine values, and how.
        history: The columns of a history, where the rule asks for one.
    """

    key: tuple[str, ...] = ()
    sequence: str | None = None
    write_mode: WriteMode = WriteMode.MERGE_ON_READ
    rule: MergeRule = MergeRule.LATEST_ROW_WINS
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)
    history: HistoryColumns | None = None

    @property
    def natural_key(self) -> tuple[str, ...]:
        """The key that writers know: of a history, the key without ``valid_from``."""
        history = self.history
        return self.key if history is None else tuple(name for name in self.key if name != history.valid_from)

    @property
    def identifying(self) -> tuple[str, ...]:
        """The columns by which a row is found and told to be the later one: key and sequence."""
        return tuple(dict.fromkeys([*self.key, *([self.sequence] if self.sequence else [])]))

    @classmethod
    def of(cls, schema: Schema, properties: Mapping[str, str]) -> MergeSemantics:
        """Read the merge semantics of a table; they are stored by field id and so follow renames."""
        ids = [int(i) for i in properties.get(KEY_PROPERTY, "").split(",") if i] or schema.identifier_field_ids
        sequence = properties.get(SEQUENCE_PROPERTY)
        aggregates = orjson.loads(properties.get(AGGREGATES_PROPERTY, "{}"))
        history = properties.get(HISTORY_PROPERTY)
        return cls(
            key=tuple(schema.find_field(i).name for i in ids),
            sequence=schema.find_field(int(sequence)).name if sequence else None,
            write_mode=WriteMode(
                properties.get(AUTO_PROPERTY) or properties.get(WRITE_MODE_PROPERTY, WriteMode.MERGE_ON_READ)
            ),
            rule=MergeRule(properties.get(RULE_PROPERTY, MergeRule.LATEST_ROW_WINS)),
            aggregates={schema.find_field(int(i)).name: Aggregate(how) for i, how in aggregates.items()},
            history=_history_of(schema, history) if history else None,
        )

    def to_properties(self, schema: Schema) -> dict[str, str]:
        """Return the table properties that store these semantics."""
        properties = write_mode_properties(self.write_mode)
        if self.key:
            properties[KEY_PROPERTY] = ",".join(str(schema.find_field(name).field_id) for name in self.key)
        if self.sequence:
            properties[SEQUENCE_PROPERTY] = str(schema.find_field(self.sequence).field_id)
        if self.rule is not MergeRule.LATEST_ROW_WINS:
            properties[RULE_PROPERTY] = self.rule.value
        if self.aggregates:
            by_id = {str(schema.find_field(name).field_id): how.value for name, how in self.aggregates.items()}
            properties[AGGREGATES_PROPERTY] = orjson.dumps(by_id).decode()
        if self.history:
            properties[HISTORY_PROPERTY] = orjson.dumps(_history_ids(schema, self.history)).decode()
        return properties

    def fixed_field_ids(self, schema: Schema) -> frozenset[int]:
        """Return the field ids of columns that these semantics stand on."""
        names = [*self.key, *([self.sequence] if self.sequence else []), *self.aggregates]
        if self.history:
            names += [*self.history.maintained, *self.history.tracked]
        return frozenset(schema.find_field(name).field_id for name in names)


def _history_of(schema: Schema, text: str) -> HistoryColumns:
    ids = orjson.loads(text)
    tracked = tuple(schema.find_field(i).name for i in ids.pop("tracked"))
    return HistoryColumns(**{role: i and schema.find_field(i).name for role, i in ids.items()}, tracked=tracked)


def _history_ids(schema: Schema, history: HistoryColumns) -> dict[str, object]:
    names = {
        "valid_from": history.valid_from,
        "valid_to": history.valid_to,
        "is_current": history.is_current,
        "surrogate_key": history.surrogate_key,
    }
    ids: dict[str, object] = {
        role: None if name is None else schema.find_field(name).field_id for role, name in names.items()
    }
    return {**ids, "tracked": [schema.find_field(name).field_id for name in history.tracked]}


def parse_operation(text: str | Operation) -> Operation:
    """Return the operation of that name, which rows can be written with.

    Raises:
        UnknownOperationError: Listing the operations there are.
    """
    writing = [operation for operation in Operation if operation is not Operation.MERGE]
    if text == Operation.MERGE:
        raise UnknownOperationError(
            "A merge needs clauses, which a write has not.", hint="Use dataset.merge(…), or: cordillera dataset merge."
        )
    try:
        return Operation(text)
    except ValueError:
        raise UnknownOperationError(
            f"There is no write operation {str(text)[:60]!r}.", hint=f"Use one of: {', '.join(writing)}."
        ) from None


def check_allowed(operation: Operation, semantics: MergeSemantics, dataset: str) -> None:
    """Check that a dataset's merge rule allows an operation.

    Raises:
        NotAllowedError: If a history would be overwritten.
    """
    keeping = (Operation.UPSERT, Operation.DELETE)
    if semantics.history is not None and operation not in keeping:
        raise NotAllowedError(
            f"{dataset} keeps the history of its rows ({semantics.rule}), which {operation} would not.",
            hint="Use upsert with whole rows, or delete; to erase rows for good, use delete_where.",
        )


def check_columns(
    operation: Operation,
    given: Sequence[str],
    declared: Sequence[str],
    semantics: MergeSemantics,
    dataset: str,
) -> None:
    """Check that rows with the ``given`` columns can be used for ``operation`` on a dataset with the ``declared`` ones.

    Raises:
        UnknownColumnError: If a given column does not exist, or is one that writers do not give.
        MissingKeyError: If the operation needs a key or sequence that the dataset or the rows lack.
    """
    maintained = semantics.history.maintained if semantics.history else ()
    declared = [name for name in declared if name not in maintained]
    allowed = {*declared, COLUMN_SET} if operation is Operation.PARTIAL_UPDATE else set(declared)
    if unknown := [name for name in given if name not in allowed]:
        raise UnknownColumnError(
            f"The rows have columns that {dataset} does not{_or_keeps(unknown, maintained)}: "
            f"{', '.join(map(repr, unknown))}.",
            hint=_column_hint(unknown, declared),
        )
    if operation in (Operation.UPSERT, Operation.PARTIAL_UPDATE, Operation.DELETE, Operation.MERGE):
        check_keyed(operation, semantics, dataset)
    if operation is Operation.UPSERT and (absent := [name for name in declared if name not in given]):
        raise MissingKeyError(
            f"The rows for upsert on {dataset} lack {', '.join(map(repr, absent))}; an upsert puts whole rows.",
            hint="Give every column, or use partial_update to leave the others untouched.",
        )
    check_identified(operation, given, semantics, dataset)


def _or_keeps(unknown: Sequence[str], maintained: Sequence[str]) -> str:
    return ", or keeps by itself" if any(name in maintained for name in unknown) else ""


def _column_hint(unknown: Sequence[str], declared: Sequence[str]) -> str:
    if COLUMN_SET in unknown:
        return f"{COLUMN_SET} goes with partial_update."
    return f"Add them with evolve(), or leave them out. Columns: {', '.join(declared)}."


def check_keyed(operation: Operation, semantics: MergeSemantics, dataset: str) -> None:
    """Refuse an operation that finds rows by key on a dataset without one (``MissingKeyError``)."""
    if not semantics.key:
        raise MissingKeyError(
            f"{dataset} has no key, so {operation} cannot find the rows to change.",
            hint="Use append or replace, or create a dataset version with a key.",
        )


def check_identified(operation: Operation, given: Sequence[str], semantics: MergeSemantics, dataset: str) -> None:
    """Refuse rows that lack a key column, or the sequence where it decides (``MissingKeyError``)."""
    key, needed = semantics.natural_key, list(semantics.natural_key)
    if semantics.sequence and operation is not Operation.REPLACE:
        needed.append(semantics.sequence)
    missing = [name for name in needed if name not in given]
    if missing:
        raise MissingKeyError(
            f"The rows for {operation} on {dataset} lack the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(map(repr, missing))}.",
            hint=f"Every row needs its key ({', '.join(key) or 'none'})"
            + (f" and its sequence ({semantics.sequence})." if semantics.sequence else "."),
        )
