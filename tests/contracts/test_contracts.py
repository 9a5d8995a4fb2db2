"""Contracts: what breaks them is refused, with rule, rows and examples, and nothing is written."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from cordillera.client import Dataset, Lake
from cordillera.errors import ContractNotFoundError, ContractViolationError, InvalidContractError
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    logicalType: object
    properties:
      - name: id
        logicalType: integer
        logicalTypeOptions: {format: i64}
        primaryKey: true
        primaryKeyPosition: 1
        required: true
      - name: amount
        logicalType: integer
        logicalTypeOptions: {format: i64, minimum: 0}
      - name: code
        logicalType: string
        classification: restricted
        logicalTypeOptions: {pattern: "^[A-Z]{2}$"}
    quality:
      - id: batch_small
        type: sql
        query: SELECT count(*) FROM {object}
        mustBeLessOrEqualTo: 5
        customProperties: [{property: scope, value: batch}]
      - id: total_small
        type: sql
        query: SELECT sum(amount) FROM {object}
        mustBeLessOrEqualTo: 1000
        severity: error
      - id: rarely_zero
        type: custom
        engine: cordillera
        implementation: amount <> 0
        severity: warning
"""


@pytest.fixture
def orders(lake: Lake) -> Dataset:
    lake.create_namespace("sales")
    return lake.create_dataset("sales.orders", contract=CONTRACT)


def batch(*rows: tuple[int, int | None, str | None]) -> pa.Table:
    ids, amounts, codes = zip(*rows, strict=True)
    return pa.table({"id": list(ids), "amount": pa.array(amounts, pa.int64()), "code": pa.array(codes, pa.string())})


def test_a_dataset_is_made_from_its_contract(orders: Dataset) -> None:
    details = orders.details()
    assert details.version.key == ("id",)
    assert [column.name for column in details.columns] == ["id", "amount", "code"]
    assert orders.contract().text == CONTRACT
    assert orders.contract().revision == 1


def test_rows_that_keep_it_are_written_warnings_or_not(orders: Dataset) -> None:
    assert orders.write(batch((1, 5, "AB"), (2, 0, None), (3, None, "XY")), "upsert").rows_inserted == 3


def test_every_broken_rule_is_named_with_rows_and_hidden_examples(orders: Dataset) -> None:
    orders.write(batch((1, 5, "AB")), "upsert")
    with pytest.raises(ContractViolationError) as error:
        orders.write(batch((1, -7, "AB"), (2, -8, "secret"), (3, 1, "OK")), "upsert")
    assert "sales.orders" in error.value.message
    assert "2 rows" in error.value.message
    assert "-7" in error.value.message
    assert "secret" not in str(error.value)
    assert "secret" not in str(error.value.details)
    rules = {violation["rule"]: violation["rows"] for violation in error.value.details["violations"]}
    assert sorted(rules.values()) == [1, 2]
    assert orders.scan().to_arrow().num_rows == 1
    assert orders.details().version.sequence_number == 1


def test_rules_about_the_write_see_all_of_it(orders: Dataset) -> None:
    with pytest.raises(ContractViolationError, match="batch_small"):
        orders.write(batch(*((i, 1, "AB") for i in range(6))), "upsert")
    assert orders.details().version.sequence_number == 0


def test_rules_about_the_table_see_what_it_would_become(orders: Dataset) -> None:
    orders.write(batch((1, 600, "AB")), "upsert")
    with pytest.raises(ContractViolationError, match="total_small"):
        orders.write(batch((2, 600, "AB")), "upsert")
    assert orders.scan().to_arrow().num_rows == 1
    orders.write(batch((1, 300, "AB")), "upsert")
    orders.write(batch((2, 600, "AB")), "upsert")


def test_partial_updates_are_held_to_the_rules_of_their_columns(orders: Dataset) -> None:
    orders.write(batch((1, 5, "AB")), "upsert")
    with pytest.raises(ContractViolationError, match="amount"):
        orders.write(pa.table({"id": [1], "amount": [-1]}), "partial_update")
    orders.write(pa.table({"id": [1], "amount": [6]}), "partial_update")
    orders.write(pa.table({"id": [1]}), "delete")


@pytest.mark.parametrize("operation", ["append", "replace"])
@pytest.mark.parametrize("tombstones", [False, True])
def test_columns_that_an_append_leaves_out_are_held_to_their_rules(
    lake: Lake, operation: str, tombstones: bool
) -> None:
    lake.create_namespace("sales")
    always = CONTRACT.replace("amount <> 0", "code IS NOT NULL").replace("severity: warning", "severity: error")
    orders = lake.create_dataset("sales.orders", contract=always, sequence="amount" if tombstones else None)
    if tombstones:
        orders.write(pa.table({"id": [9], "amount": [1]}), "delete")
    orders.write(batch((1, 5, "AB")), operation)
    with pytest.raises(ContractViolationError, match="rarely_zero"):
        orders.write(pa.table({"id": [2], "amount": [5]}), operation)
    assert orders.scan().to_arrow()["code"].to_pylist() == ["AB"]


@pytest.mark.parametrize(
    "options", [{}, {"format_version": 2}, {"sequence": "amount"}, {"write_mode": "copy-on-write"}]
)
def test_columns_that_a_partial_update_leaves_out_of_new_rows_are_held_to_their_rules(
    lake: Lake, options: dict[str, Any]
) -> None:
    lake.create_namespace("sales")
    always = CONTRACT.replace("amount <> 0", "code IS NOT NULL").replace("severity: warning", "severity: error")
    orders = lake.create_dataset("sales.orders", contract=always, **options)
    orders.write(batch((1, 5, "AB"), (2, 5, "AB")), "append")
    orders.write(pa.table({"id": [1, 2], "amount": [6, 6]}), "partial_update")
    with pytest.raises(ContractViolationError, match="rarely_zero") as caught:
        orders.write(pa.table({"id": [1, 3], "amount": [7, 7]}), "partial_update", idempotency_key="k")
    assert "3" in str(caught.value.details)
    assert [row["amount"] for row in orders.scan().to_arrow().sort_by("id").to_pylist()] == [6, 6]
    orders.write(pa.table({"id": [3], "amount": [7], "code": ["CD"]}), "partial_update")
    assert orders.scan().to_arrow().num_rows == 3


def test_the_schema_is_guarded(orders: Dataset) -> None:
    with pytest.raises(InvalidContractError, match="amount"):
        orders.evolve(DropColumn("amount"))
    with pytest.raises(InvalidContractError, match="code"):
        orders.evolve(RenameColumn("code", "kind"))
    orders.evolve(AddColumn("note", pa.string()))
    assert "note" in orders.contract().problems[0]


def test_documents_that_do_not_fit_are_refused(orders: Dataset, lake: Lake) -> None:
    with pytest.raises(InvalidContractError, match="does not have"):
        orders.put_contract(CONTRACT.replace("amount", "price"))
    with pytest.raises(InvalidContractError):
        orders.put_contract("kind: [")
    with pytest.raises(InvalidContractError, match="cannot be evaluated"):
        orders.put_contract(CONTRACT.replace("amount <> 0", "amount <> 'zero'"))
    assert orders.contract().revision == 1
    assert orders.put_contract(CONTRACT.replace("1.0.0", "1.0.1")).revision == 2
    plain = lake.create_dataset("sales.plain", {"a": pa.int64()})
    with pytest.raises(ContractNotFoundError, match="draft"):
        plain.contract()
    plain.put_contract(lake.backend.draft_contract("sales.plain"))
    assert plain.contract().revision == 1


@pytest.mark.parametrize("severity", ["warning", "warn"])
def test_a_warning_refuses_nothing_and_stays_with_the_snapshot(lake: Lake, orders: Dataset, severity: str) -> None:
    orders.put_contract(CONTRACT.replace("severity: warning", f"severity: {severity}"))
    orders.write(batch((1, 0, "AB"), (2, 0, "AB"), (3, 7, "AB")), "upsert")
    orders.write(batch((4, 8, "AB")), "upsert")
    second, first = (snapshot.properties for snapshot in orders.snapshots())
    assert first == {"contract.warnings": "rarely_zero (2 rows)"}
    assert second == {}, "rows are told of when they come, not with every write after it"
    entries = [
        entry.details for entry in lake.backend.audit(object_name="sales.orders") if entry.action == "dataset.commit"
    ]
    assert [entry.get("contract_warnings") for entry in entries] == [None, ["rarely_zero (2 rows)"]]


def test_a_warning_about_many_rows_keeps_their_value_to_itself(orders: Dataset) -> None:
    orders.put_contract(
        CONTRACT.replace(
            "mustBeLessOrEqualTo: 1000\n        severity: error", "mustBeLessOrEqualTo: 9\n        severity: warn"
        )
    )
    orders.write(batch((1, 987, "AB")), "upsert")
    assert orders.snapshots()[0].properties == {"contract.warnings": "total_small"}


def test_what_a_published_branch_breaks_is_noted(lake: Lake, orders: Dataset) -> None:
    orders.write(batch((1, 5, "AB")), "upsert")
    orders.create_branch("audit")
    orders.write(batch((2, 0, "AB")), "upsert", branch="audit")
    assert orders.publish("audit").snapshot_committed
    assert lake.backend.audit(object_name="sales.orders")[0].details["contract_warnings"] == ["rarely_zero (1 row)"]
