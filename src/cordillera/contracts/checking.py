"""Checking rows against a contract's rules with the query engine, while they stream by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cordillera.ports.engine import QueryEngine, Relation
from cordillera.row_spool import RowSpool, held
from cordillera.spec.contract import (
    MAX_EXAMPLES,
    AggregateRule,
    Contract,
    RowRule,
    Severity,
    Violation,
    aggregate_violation,
    count_sql,
    describe_violations,
    examples_sql,
    row_violation,
    values_sql,
)

_RELATION = "rows_to_check"


class RowChecker:
    """Checks one write. Row rules are evaluated batch by batch, one pass for all of them.

    Rules about the write as a whole need all of its rows: these are spooled as they pass.

    Args:
        engine: Evaluates rules.
        contract: The contract.
        dataset: The dataset's name, for messages.
        key: Key columns, shown with examples.
        row_rules, batch_rules: The rules that apply to the columns of the write.
    """

    def __init__(
        self,
        engine: QueryEngine,
        contract: Contract,
        dataset: str,
        key: Sequence[str],
        row_rules: Sequence[RowRule],
        batch_rules: Sequence[AggregateRule],
    ) -> None:
        self._engine, self._contract, self._dataset, self._key = engine, contract, dataset, key
        self._row_rules, self._batch_rules = row_rules, batch_rules
        self._broken: Counter[int] = Counter()
        self._examples: dict[int, list[dict[str, object]]] = {}
        self.found: list[Violation] = []
        """What is broken, once all rows have passed."""

    def inspect(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on.

        Raises:
            ContractViolationError: Behind the last batch, if a rule of severity error is broken; it names them all.
        """
        with RowSpool() as spool:
            for batch in batches:
                self._check_rows(batch)
                if self._batch_rules:
                    spool.add(batch)
                yield batch
            found = self._row_violations()
            if (rows := spool.table()) is not None:
                found += aggregate_violations(self._engine, self._contract, self._batch_rules, rows)
        self.found = found
        refuse_errors(self._dataset, found)

    def _check_rows(self, batch: pa.RecordBatch) -> None:
        """Count what breaks the rules. Planning a query for dozens of rules takes longer than most batches do, so rules
        that the batch's extremes show to hold are left out of it.
        """
        asked = {index: rule for index, rule in enumerate(self._row_rules) if not _holds_plainly(rule, batch)}
        if not asked or not batch.num_rows:
            return
        used = {name for rule in asked.values() for name in (*self._key, *rule.columns)}
        rows = pa.Table.from_batches([batch]).select([name for name in batch.schema.names if name in used])
        counts = self._engine.table(count_sql(list(asked.values()), _RELATION), {_RELATION: rows})
        for number, (index, rule) in enumerate(asked.items()):
            broken = counts.column(f"rule_{number}")[0].as_py()
            if broken:
                self._broken[index] += broken
                self._collect(index, rule, rows)

    def _collect(self, index: int, rule: RowRule, rows: pa.Table) -> None:
        examples = self._examples.setdefault(index, [])
        wanted = MAX_EXAMPLES - len(examples)
        if wanted > 0:
            shown = [name for name in (*self._key, *rule.columns) if name in rows.column_names]
            query = examples_sql(rule, _RELATION, shown, wanted)
            examples += self._engine.table(query, {_RELATION: rows}).to_pylist()

    def _row_violations(self) -> list[Violation]:
        return [
            row_violation(self._contract, self._row_rules[index], count, self._examples[index])
            for index, count in sorted(self._broken.items())
        ]


def _holds_plainly(rule: RowRule, batch: pa.RecordBatch) -> bool:
    """Tell whether no row of a batch can break a rule, as far as the extremes of its column show that."""
    extent = rule.extent
    if extent is None:
        return False
    column = batch.column(rule.columns[0])
    if extent.required:
        return bool(column.null_count == 0)
    if not pa.types.is_integer(column.type):
        return False
    found = pc.min_max(column).as_py()
    if found["min"] is None:
        return True
    return (extent.low is None or found["min"] >= extent.low) and (extent.high is None or found["max"] <= extent.high)


def aggregate_violations(
    engine: QueryEngine, contract: Contract, rules: Sequence[AggregateRule], rows: Relation
) -> list[Violation]:
    """Return the aggregate rules that a set of rows breaks."""
    if not rules:
        return []
    table = rows if isinstance(rows, pa.Table) else held(rows, rows.schema)
    values = engine.table(values_sql(rules, _RELATION), {_RELATION: table})
    found = [
        aggregate_violation(contract, rule, values.column(f"rule_{index}")[0].as_py())
        for index, rule in enumerate(rules)
    ]
    return [violation for violation in found if violation is not None]


def refuse_errors(dataset: str, violations: Sequence[Violation]) -> None:
    """Raise for violations of severity error; warnings alone refuse nothing.

    Raises:
        ContractViolationError: Naming every broken rule, warnings too.
    """
    if any(violation.severity is Severity.ERROR for violation in violations):
        raise describe_violations(dataset, violations)


def try_rules(engine: QueryEngine, contract: Contract, schema: pa.Schema) -> None:
    """Evaluate every rule on one row of NULLs, which shows those that do not fit the columns' types.

    No rows would not do: the engine converts a literal of the wrong type only when there is a row to compare it with.

    Raises:
        InvalidSqlError: In the engine's words.
    """
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    nulls = pa.Table.from_arrays([pa.nulls(1, field.type) for field in nullable], schema=nullable)
    engine.table(count_sql(contract.row_rules, _RELATION), {_RELATION: nulls})
    for rule in contract.aggregate_rules:
        engine.table(values_sql([rule], _RELATION), {_RELATION: nulls})
