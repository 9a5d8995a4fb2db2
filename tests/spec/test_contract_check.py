"""One pass for all row rules, examples, values, and what is said about violations."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from cordillera.errors import ContractViolationError
from cordillera.spec.contract import (
    MAX_EXAMPLES,
    Contract,
    Severity,
    aggregate_violation,
    count_sql,
    describe_violations,
    examples_sql,
    row_violation,
    values_sql,
)
from tests.spec.contract_support import bad_rows, contract, integer, query, text, values

VALID = {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["EWR", "JFK"]}}


def orders(**classified: str) -> Contract:
    columns: list[dict[str, Any]] = [
        {**integer("id", minimum=1), "required": True},
        {**text("origin"), "quality": [{**VALID, "id": "known_origin", "description": "Known airports only"}]},
    ]
    for column in columns:
        column["classification"] = classified.get(column["name"], "public")
    return contract(*columns)


ROWS = pa.table({"id": [1, 2, 0, None, 5], "origin": ["EWR", "XXX", "JFK", None, "YYY"]})


def test_one_pass_counts_what_breaks_every_rule() -> None:
    rules = orders().row_rules
    statement = count_sql(rules, "rows")
    assert statement.count("FROM") == 1
    assert query(statement, ROWS) == [{"rows": 5, "rule_0": 1, "rule_1": 1, "rule_2": 2}]
    assert [rule.name for rule in rules] == ["id.required", "id.minimum", "known_origin"]


def test_rows_from_a_stream_can_be_counted() -> None:
    batches = [pa.record_batch({"id": [n], "origin": ["XXX"]}) for n in range(3)]
    stream = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert query(count_sql(orders().row_rules, "rows"), stream)[0] == {"rows": 3, "rule_0": 0, "rule_1": 1, "rule_2": 3}


def test_no_rules_and_no_rows() -> None:
    assert query(count_sql((), "rows"), ROWS) == [{"rows": 5}]
    assert query(values_sql((), "rows"), ROWS) == [{"rows": 5}]
    nothing = query(count_sql(orders().row_rules, "rows"), ROWS.slice(0, 0))
    assert nothing == [{"rows": 0, "rule_0": 0, "rule_1": 0, "rule_2": 0}]


def test_the_relation_is_quoted() -> None:
    name = 'a"b; DROP TABLE x'
    read = contract(integer("n"), quality=[{"metric": "rowCount", "mustBe": 1}])
    assert 'FROM "a""b; DROP TABLE x"' in count_sql(orders().row_rules, name)
    assert 'FROM "a""b; DROP TABLE x"' in examples_sql(orders().row_rules[0], name, ["id"], 1)
    assert 'FROM "a""b; DROP TABLE x"' in values_sql(read.aggregate_rules, name)


def test_examples_show_the_columns_asked_for() -> None:
    rule = orders().row_rules[2]
    assert bad_rows(rule, ROWS, "id", "origin") == [{"id": 2, "origin": "XXX"}, {"id": 5, "origin": "YYY"}]
    assert query(examples_sql(rule, "rows", ["id", "origin", "id"], 1), ROWS) == [{"id": 2, "origin": "XXX"}]
    assert query(examples_sql(rule, "rows", [], 1), ROWS) == [{"id": 2, "origin": "XXX"}]


def test_examples_find_the_rows_that_were_counted_even_those_with_nan() -> None:
    (rule,) = contract({"name": "a", "logicalType": "number", "logicalTypeOptions": {"exclusiveMaximum": 0}}).row_rules
    rows = pa.table({"index": [0, 1, 2, 3], "a": [float("nan"), 1.0, -1.0, None]})
    assert query(count_sql((rule,), "rows"), rows) == [{"rows": 4, "rule_0": 2}]
    assert bad_rows(rule, rows, "index") == [{"index": 0}, {"index": 1}]


def test_a_violation_names_rule_rows_and_examples() -> None:
    read = orders()
    rule = read.row_rules[2]
    violation = row_violation(read, rule, 2, bad_rows(rule, ROWS, "id", "origin"))
    assert violation.message == (
        "known_origin: Known airports only. 2 rows break it, for example id = 2, origin = 'XXX'; "
        "id = 5, origin = 'YYY'."
    )
    assert (violation.rule, violation.column, violation.rows) == ("known_origin", "origin", 2)
    assert violation.examples == ({"id": 2, "origin": "XXX"}, {"id": 5, "origin": "YYY"})


@pytest.mark.parametrize("label", ["restricted", "confidential", "Secret", "4"])
def test_values_that_are_neither_public_nor_internal_are_hidden(label: str) -> None:
    read = orders(origin=label)
    rule = read.row_rules[2]
    violation = row_violation(read, rule, 2, bad_rows(rule, ROWS, "id", "origin"))
    assert violation.examples == ({"id": 2, "origin": "•••"}, {"id": 5, "origin": "•••"})
    assert "XXX" not in violation.message


def test_a_field_hides_the_column_around_it_and_unknown_columns_are_hidden() -> None:
    nested = {
        **{"name": "person", "logicalType": "object", "required": True},
        "properties": [{**text("name"), "classification": "confidential"}],
    }
    read = contract(nested)
    (violation,) = [row_violation(read, read.row_rules[0], 1, [{"person": {"name": "Ann"}, "other": "Bob"}])]
    assert violation.examples == ({"person": "•••", "other": "•••"},)


def test_examples_are_few_short_and_plain() -> None:
    read = contract(*({"name": name, "logicalType": "string", "required": True} for name in "abcdef"))
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    row = {"a": "x" * 500, "b": moment, "c": float("nan"), "d": b"\x00\xff", "e": None, "f": [1] * 500}
    violation = row_violation(read, read.row_rules[0], 10, [row] * 10)
    assert len(violation.examples) == MAX_EXAMPLES
    example = violation.examples[0]
    assert example["a"] == "x" * 39 + "…"
    assert example["b"] == "2020-01-01 00:00:00+00:00"
    assert (example["c"], example["d"], example["e"], len(example["f"])) == ("nan", "00ff", None, 40)
    json.dumps(violation.examples, allow_nan=False)


def test_an_aggregate_that_holds_is_no_violation() -> None:
    read = contract(integer("a"), quality=[{"metric": "rowCount", "mustBeBetween": [1, 5]}])
    (rule,) = read.aggregate_rules
    assert aggregate_violation(read, rule, values((rule,), pa.table({"a": [1, 2]}))["rowCount"]) is None
    violation = aggregate_violation(read, rule, 5)
    assert violation is not None
    assert violation.rows is None
    assert violation.message == (
        "rowCount: rowCount must be strictly between 1 and 5. For the table it is 5 rows, which must be strictly "
        "between 1 and 5."
    )


def test_the_value_of_an_aggregate_over_a_sensitive_column_is_hidden() -> None:
    rule = {"type": "sql", "query": "SELECT max(pay) FROM {object}", "mustBeLessThan": 10}
    read = contract({**integer("pay"), "classification": "confidential"}, quality=[rule])
    violation = aggregate_violation(read, read.aggregate_rules[0], 123456)
    assert violation is not None
    assert "123456" not in violation.message
    assert "•••" in violation.message


def test_the_error_names_dataset_rules_counts_examples_and_the_next_step() -> None:
    read = orders()
    found = [row_violation(read, rule, 2, bad_rows(rule, ROWS, "id")) for rule in read.row_rules[1:]]
    error = describe_violations("nyc.flights", found)
    assert isinstance(error, ContractViolationError)
    assert error.message.startswith("The rows for nyc.flights break its contract. id.minimum: ")
    assert "known_origin: Known airports only. 2 rows break it" in error.message
    assert error.message.endswith("Nothing was written.")
    assert "change the contract" in error.hint
    assert error.details["dataset"] == "nyc.flights"
    assert [entry["rule"] for entry in error.details["violations"]] == ["id.minimum", "known_origin"]
    assert error.details["violations"][0]["severity"] == Severity.ERROR
    json.dumps(error.details)
