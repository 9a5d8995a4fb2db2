"""Deciding from statistics which files need not be read. A rule may keep a file for nothing, never drop one wrongly."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import (
    _InclusiveMetricsEvaluator,
    _StrictMetricsEvaluator,
    expression_evaluator,
    inclusive_projection,
    rewrite_not,
)
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import DoubleType, FloatType, NestedField

from cordillera.spec.arrow_types import primitive
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.content_file import ContentFile
from cordillera.table.data_file import MayContain

_FEW = 20_000
"""So many keys are compared one by one with the bounds of files; more are likely to meet every file anyway."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The values of one key column in a batch of changes, in Iceberg's internal form.

    Attributes:
        field: The column.
        low, high: The least and the greatest value.
        values: All of them, ascending, where they are few.
        column: The same as the batch's column has them.
    """

    field: NestedField
    low: Any
    high: Any
    values: Sequence[Any] = ()
    column: pa.Array | None = None

    def may_meet(self, file: ContentFile) -> bool:
        """Tell whether a file may hold one of the values."""
        low, high = self._bounds(file)
        if self.high < low or self.low > high:
            return False
        if not self.values:
            return True
        least = bisect_left(self.values, low)
        return least < len(self.values) and bool(self.values[least] <= high)

    def meeting(self, file: ContentFile) -> pa.Array:
        """Return those of the few values that a file may hold."""
        assert self.column is not None, "only a range of few values lists them"
        low, high = self._bounds(file)
        least = bisect_left(self.values, low)
        return self.column.slice(least, max(bisect_right(self.values, high) - least, 0))

    def share_of(self, values: pa.Array) -> float:
        """Return about what share of all rows has one of these values, to compare key columns by."""
        if not isinstance(self.low, int) or self.high == self.low:
            return 1.0
        return float(len(values) / (self.high - self.low))

    def _bounds(self, file: ContentFile) -> tuple[Any, Any]:
        lower, upper = file.lower_bounds.get(self.field.field_id), file.upper_bounds.get(self.field.field_id)
        low = self.low if lower is None else from_bytes(primitive(self.field), lower)
        return low, self.high if upper is None else from_bytes(primitive(self.field), upper)


def key_ranges(keys: pa.Table, schema: Schema, key: Sequence[str]) -> tuple[KeyRange, ...]:
    """Return the values or ranges of a batch's keys; key columns that cannot prune are left out.

    Floats are left out: bounds do not cover NaN. So are types whose Arrow and Iceberg orders are not plainly the same.
    """
    ranges = []
    for name in key:
        column, field = keys.column(name), schema.find_field(name)
        if not len(column) or isinstance(field.field_type, FloatType | DoubleType):
            continue
        given = column.type
        if pa.types.is_temporal(given):
            column = column.cast(pa.int32() if pa.types.is_date32(given) else pa.int64())
        if not _orders_plainly(column.type):
            continue
        if len(column) <= _FEW:
            distinct = pc.unique(column).sort()
            values = distinct.to_pylist()
            ranges.append(KeyRange(field, values[0], values[-1], values, distinct.cast(given)))
        else:
            extremes = pc.min_max(column).as_py()
            ranges.append(KeyRange(field, extremes["min"], extremes["max"]))
    return tuple(ranges)


def _orders_plainly(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_binary(kind)
    )


def by_key_ranges(ranges: Sequence[KeyRange]) -> MayContain:
    """Return the rule "the file may hold one of these keys"."""
    return lambda file: all(one.may_meet(file) for one in ranges)


class FilterPruner:
    """The rule "the file may hold a row that the filter is true for", by partition and by column bounds."""

    def __init__(self, metadata: TableMetadata, schema: Schema, expression: BooleanExpression) -> None:
        self._metadata, self._schema = metadata, schema
        self._expression = rewrite_not(expression)
        self._always = isinstance(self._expression, AlwaysTrue)
        self._bounds = None if self._always else _InclusiveMetricsEvaluator(schema, self._expression)
        self._by_spec: dict[int, Callable[[Record], bool]] = {}
        self._by_partition: dict[tuple[int, tuple[Any, ...]], bool] = {}

    def __call__(self, file: ContentFile) -> bool:
        """Tell whether ``file`` has to be read."""
        if self._always or self._bounds is None:
            return True
        key = (file.spec_id, file.partition)
        if key not in self._by_partition:
            self._by_partition[key] = self._partition_may_match(file)
        return self._by_partition[key] and bool(self._bounds.eval(file))  # type: ignore[arg-type]  # same attributes

    def _partition_may_match(self, file: ContentFile) -> bool:
        if file.spec_id not in self._by_spec:
            self._by_spec[file.spec_id] = self._evaluator(file.spec_id)
        return bool(self._by_spec[file.spec_id](Record(*file.partition)))

    def _evaluator(self, spec_id: int) -> Callable[[Record], bool]:
        spec = self._metadata.spec_by_id(spec_id)
        if not spec.fields:
            return lambda _: True
        try:
            projected = inclusive_projection(self._schema, spec)(self._expression)
        except OverflowError:  # what lies beyond the last day there is, or before the first
            return lambda _: True
        partition_schema = Schema(*spec.partition_type(self._schema).fields)
        return expression_evaluator(partition_schema, projected, case_sensitive=True)


class FilterCover:
    """The rule "the filter is true for every row of the file", by column bounds.

    Args:
        schema: The table's.
        columns: The columns that the filter reads.
        certain: See ``RowFilter.certain``.
    """

    def __init__(self, schema: Schema, columns: Sequence[str], certain: BooleanExpression) -> None:
        self._fields = [schema.find_field(name).field_id for name in columns]
        self._bounds = None if isinstance(certain, AlwaysFalse) else _StrictMetricsEvaluator(schema, certain)

    def __call__(self, file: ContentFile) -> bool:
        """Tell whether ``file`` need not be read to know that all its rows satisfy the filter."""
        if self._bounds is None or any(number not in file.null_value_counts for number in self._fields):
            return False  # without a count there may be NULLs
        return bool(self._bounds.eval(file))  # type: ignore[arg-type]  # it has the same attributes


def bounds_overlap(one: ContentFile, other: ContentFile, fields: Sequence[NestedField]) -> bool:
    """Tell whether two files may hold rows that agree on all of ``fields``. Floats do not count: bounds omit NaN."""
    for field in fields:
        kind, number = primitive(field), field.field_id
        if isinstance(kind, FloatType | DoubleType):
            continue
        for lower, upper in ((one.lower_bounds, other.upper_bounds), (other.lower_bounds, one.upper_bounds)):
            low, high = lower.get(number), upper.get(number)
            if low is not None and high is not None and from_bytes(kind, low) > from_bytes(kind, high):
                return False
    return True
