"""Rules that a batch's extremes show to hold are left out of the query; what is found stays the same."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
from cordillera.contracts.checking import RowChecker
from cordillera.errors import ContractViolationError
from cordillera.spec.contract import parse_contract

CONTRACT = parse_contract("""
kind: DataContract
apiVersion: v3.1.0
id: 8f1b5d1e-7d5e-4f3b-8a55-0d6a3f2f6f10
version: 1.0.0
status: active
name: numbers
schema:
  - name: numbers
    logicalType: object
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: n, logicalType: integer, required: true, logicalTypeOptions: {minimum: -3, maximum: 3}}
      - {name: x, logicalType: number, logicalTypeOptions: {minimum: -3, maximum: 3}}
""")
ENGINE = DuckDBEngine()
FLOATS = st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([float("nan"), float("inf"), -0.0]))


def found(rows: pa.RecordBatch, *, screened: bool) -> object:
    rules = [rule if screened else replace(rule, extent=None) for rule in CONTRACT.row_rules]
    checker = RowChecker(ENGINE, CONTRACT, "some.numbers", ["id"], rules, [])
    try:
        assert list(checker.inspect(iter([rows]))) == [rows]
    except ContractViolationError as error:
        return error.details
    return None


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(-5, 5)), FLOATS), max_size=5))
def test_extremes_tell_the_same_as_the_query(values: list[tuple[int | None, float | None]]) -> None:
    columns = [pa.array(range(len(values)), pa.int64()), *map(pa.array, zip(*values, strict=True))]
    if not values:
        columns = [pa.array([], pa.int64()), pa.array([], pa.int64()), pa.array([], pa.float64())]
    schema = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("x", pa.float64())])
    rows = pa.RecordBatch.from_arrays([c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    assert repr(found(rows, screened=True)) == repr(found(rows, screened=False))


def test_rules_that_plainly_hold_ask_the_engine_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    table = ENGINE.table
    monkeypatch.setattr(ENGINE, "table", lambda sql, *args: asked.append(sql) or table(sql, *args))
    whole = [rule for rule in CONTRACT.row_rules if rule.columns != ("x",)]
    rows = pa.RecordBatch.from_pydict({"id": [1, 2], "n": [-3, 3]})
    list(RowChecker(ENGINE, CONTRACT, "some.numbers", ["id"], whole, []).inspect(iter([rows])))
    assert not asked
    wrong = pa.RecordBatch.from_pydict({"id": [1, 2], "n": [-3, 4]})
    with pytest.raises(ContractViolationError, match=r"n\.maximum"):
        list(RowChecker(ENGINE, CONTRACT, "some.numbers", ["id"], whole, []).inspect(iter([wrong])))
    assert asked[0].count("AS rule_") == 1, "the other rules hold for this batch too"
