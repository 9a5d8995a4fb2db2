"""Counting rows by partition: those that changed between two snapshots, or all that there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    LongType,
    TimestampType,
    TimestamptzType,
)

from cordillera.catalog.tables import TableService
from cordillera.errors import InvalidInputError, NotAllowedError, SnapshotNotFoundError, UnknownColumnError
from cordillera.ports.engine import QueryEngine
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.completion import FIRST_YEAR, LABEL_FORMATS, LAST_YEAR, WHOLE_LABEL, CompletionUnit
from cordillera.spec.completion_rule import CompletionRule
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE
from cordillera.spec.sql import literal, quote

_MOST_PARTITIONS = 100_000
_TIMES = (DateType, TimestampType, TimestamptzType)
_EXACT = (IntegerType, LongType, DecimalType)


@dataclass(frozen=True, slots=True)
class PartitionChange:
    """What rows did to a partition.

    Attributes:
        rows: How many more there are.
        totals: How much more each control total is.
        sequence: The last snapshot that changed any.
    """

    partition: str
    rows: int
    totals: dict[str, Decimal]
    sequence: int


@dataclass(frozen=True, slots=True)
class Count:
    """What came of counting.

    Attributes:
        changes: By partition.
        newest: The highest time of the column that came, in the rule's zone; None for none, or where it is no time.
        whole: Whether everything was counted, instead of what changed.
    """

    changes: tuple[PartitionChange, ...]
    newest: datetime | None
    whole: bool


class PartitionCounter:
    """Counts rows of dataset versions by partition.

    Args:
        tables: Reads them.
        engine: Adds up.
    """

    def __init__(self, tables: TableService, engine: QueryEngine) -> None:
        self._tables, self._engine = tables, engine

    def count(self, name: str, version: DatasetVersion, rule: CompletionRule, after: int | None) -> Count:
        """Count what changed behind a snapshot, commit by commit; or all rows, if ``after`` is None or has expired.

        Raises:
            UnknownColumnError: If a column that the rule names is gone.
            NotAllowedError: If there are too many partitions.
        """
        check_columns(name, self._tables.load(version).schema, CompletionUnit(version.completion_unit), rule)
        if after is not None:
            try:
                return self._changed(name, version, rule, after)
            except (SnapshotNotFoundError, NotAllowedError):
                pass  # commits in between have expired
        columns = list(dict.fromkeys(one for one in (rule.column, *rule.totals) if one)) or None
        rows = self._tables.scan_metadata(name, self._tables.load(version), columns)
        return self._grouped(name, version, rule, rows, weight="1", sequence=str(version.sequence_number), whole=True)

    def _changed(self, name: str, version: DatasetVersion, rule: CompletionRule, after: int) -> Count:
        feed = self._tables.change_feed(name, version, after=after, upto=version.sequence_number, net=False)
        weight = f"CASE WHEN {CHANGE_TYPE} IN ('insert', 'update_after') THEN 1 ELSE -1 END"
        return self._grouped(name, version, rule, feed, weight=weight, sequence=COMMIT_SEQUENCE, whole=False)

    def _grouped(
        self,
        name: str,
        version: DatasetVersion,
        rule: CompletionRule,
        rows: pa.RecordBatchReader,
        *,
        weight: str,
        sequence: str,
        whole: bool,
    ) -> Count:
        unit, numbers = CompletionUnit(version.completion_unit), range(len(rule.totals))
        label, moment = _label_sql(rows.schema, unit, rule)
        values = "".join(f", {quote(rule.totals[number])} AS value_{number}" for number in numbers)
        sums = "".join(f", coalesce(sum(weight * value_{number}), 0) AS total_{number}" for number in numbers)
        statement = (
            f"WITH weighed AS (SELECT {label} AS label, {moment} AS moment, {weight} AS weight, {sequence} AS sequence"
            f"{values} FROM source) "
            "SELECT label, sum(weight)::BIGINT AS rows, max(sequence)::BIGINT AS sequence, "
            f"max(CASE WHEN weight > 0 THEN moment END) AS newest{sums} FROM weighed WHERE {_is_label(unit)} "
            f"GROUP BY label LIMIT {_MOST_PARTITIONS + 1}"
        )
        found = self._engine.table(statement, {"source": rows})
        if found.num_rows > _MOST_PARTITIONS:
            raise NotAllowedError(
                f"More than {_MOST_PARTITIONS:,} partitions of {name} changed at once; {rule.column} tells rows apart, "
                "not partitions.",
                hint="Let the completion rule name a column with fewer values.",
            )
        newest = max((one for one in found.column("newest").to_pylist() if one is not None), default=None)
        return Count(tuple(_changes(found, rule)), newest, whole)


def check_columns(name: str, schema: Schema, unit: CompletionUnit, rule: CompletionRule) -> None:
    """Make sure that a schema has the columns that a rule names, and that they are of types it can count.

    Raises:
        UnknownColumnError, InvalidInputError: If not.
    """
    for column in filter(None, (rule.column, *rule.totals)):
        kind = _type_of(name, schema, column)
        if column == rule.column and unit in LABEL_FORMATS and not isinstance(kind, _TIMES):
            raise InvalidInputError(
                f"{column} of {name} is of type {kind}: it does not tell the {unit} of a row.",
                hint="Name a column of dates or times.",
            )
        if column in rule.totals and not isinstance(kind, _EXACT):
            raise InvalidInputError(
                f"{column} of {name} is of type {kind}; sums of it are not exact, so they are no control totals.",
                hint="Use a column of integers or decimals.",
            )


def now_in(rule: CompletionRule, now: datetime) -> datetime:
    """Return the present in a rule's zone, without the zone: as labels have it."""
    return now.astimezone(ZoneInfo(rule.timezone)).replace(tzinfo=None)


def _type_of(name: str, schema: Schema, column: str) -> IcebergType:
    found = next((one for one in schema.fields if one.name == column), None)
    if found is None or not found.field_type.is_primitive:
        raise UnknownColumnError(
            f"{name} has no column {column[:60]!r} that a completion rule could use.",
            hint=f"It has: {', '.join(one.name for one in schema.fields[:20])}.",
        )
    return found.field_type


def _label_sql(schema: pa.Schema, unit: CompletionUnit, rule: CompletionRule) -> tuple[str, str]:
    """Return the expressions for the label of a row's partition, and for its time."""
    if unit is CompletionUnit.WHOLE:
        return literal(WHOLE_LABEL), "NULL::TIMESTAMP"
    column, kind = quote(rule.column), schema.field(rule.column).type
    if unit is CompletionUnit.VALUE:
        return f"{column}::VARCHAR", "NULL::TIMESTAMP"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = f"timezone({literal(rule.timezone)}, {column})"
    moment = f"CASE WHEN year({column}) BETWEEN {FIRST_YEAR} AND {LAST_YEAR} THEN {column}::TIMESTAMP END"
    return f"strftime({moment}, {literal(LABEL_FORMATS[unit])})", moment


def _is_label(unit: CompletionUnit) -> str:
    """Return the condition that a value can be a label; rows with others belong to no partition."""
    if unit is CompletionUnit.VALUE:
        return r"regexp_full_match(label, '[^\x00-\x1f\x7f]{1,200}')"
    return "label IS NOT NULL"


def _changes(found: pa.Table, rule: CompletionRule) -> Iterator[PartitionChange]:
    rows: list[dict[str, Any]] = found.to_pylist()
    for row in rows:
        totals = {total: Decimal(row[f"total_{number}"]) for number, total in enumerate(rule.totals)}
        yield PartitionChange(row["label"], row["rows"], totals, row["sequence"])
