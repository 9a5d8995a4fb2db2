"""What every lake must do, embedded or behind a server, as tests: declared merge semantics and conditional merges."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.client.scan import Scan
from cordillera.errors import (
    ContractViolationError,
    DuplicateKeyError,
    IdempotencyKeyReusedError,
    InvalidExpressionError,
    InvalidInputError,
    InvalidSchemaError,
    NotAllowedError,
    NullKeyError,
    UnknownColumnError,
    UnknownOperationError,
)
from cordillera.spec.explanation import FileAction
from cordillera.spec.merge import Aggregate, MergeRule, Operation, WriteMode
from cordillera.spec.merge_clauses import MergeClause, Then, When
from cordillera.testing.backend_suite import LakeSuite

STOCK = pa.schema([("item", pa.int64()), ("changed", pa.int64()), ("amount", pa.int64()), ("place", pa.string())])
UPSERT = (MergeClause(When.MATCHED, Then.UPDATE), MergeClause(When.NOT_MATCHED, Then.INSERT))


def make_stock(backend: LakeBackend, namespace: str, **options: Any) -> Dataset:
    """Make a dataset of items in stock."""
    made = TableOptions(**{"key": ("item",), "sequence": "changed", **options})
    backend.create_dataset(f"{namespace}.stock", STOCK, made)
    return Dataset(backend, f"{namespace}.stock")


def item(number: int, changed: int, amount: int | None = None, place: str | None = None) -> dict[str, Any]:
    """Return one row."""
    return {"item": number, "changed": changed, "amount": amount, "place": place}


def stored(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Return the rows, by item."""
    return sorted(tuple(row.values()) for row in dataset.scan().to_arrow().to_pylist())


def held(scan: Scan) -> list[tuple[Any, ...]]:
    """Return item, amount and time of the rows of a history, in order."""
    rows = scan.select("item", "amount", "valid_from", "valid_to").to_arrow().to_pylist()
    return sorted((tuple(row.values()) for row in rows), key=lambda row: row[::2])


class MergeSuite(LakeSuite):
    """Merge rules, aggregates, column sets, conditional merges."""

    # --- declared semantics --------------------------------------------------------------------------------------

    def test_a_dataset_tells_its_merge_semantics(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, aggregates={"amount": "sum"})
        semantics = dataset.details().semantics
        assert (semantics.key, semantics.sequence, semantics.rule) == (("item",), "changed", MergeRule.LATEST_ROW_WINS)
        assert semantics.aggregates == {"amount": Aggregate.SUM}

    def test_columns_aggregate(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, aggregates={"amount": "sum", "place": "last_non_null"})
        dataset.write([item(1, 1, 5, "a"), item(1, 2, 7), item(2, 1, 1)], "upsert")
        result = dataset.write([item(1, 1, 10, "late"), item(2, 5, None, "b")], "upsert")
        assert (result.rows_updated, result.rows_late) == (2, 0)
        assert stored(dataset) == [(1, 2, 22, "a"), (2, 5, 1, "b")]

    def test_the_first_row_wins(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, merge="first-row-wins")
        dataset.write([item(1, 5, 1), item(1, 4, 2)], "upsert")
        result = dataset.write([item(1, 9, 3), item(2, 9, 4)], "upsert")
        assert (result.rows_inserted, result.rows_updated, result.rows_late) == (1, 0, 1)
        assert stored(dataset) == [(1, 4, 2, None), (2, 9, 4, None)]

    def test_rows_set_columns_of_their_own(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace)
        dataset.write([item(1, 1, 1, "a"), item(2, 1, 2, "b")], "upsert")
        changes = [
            {**item(1, 3, None, "c"), "_columns": ["place"]},
            {**item(1, 2, 9, "no"), "_columns": ["amount"]},
            {**item(2, 2, None, None), "_columns": []},
            {**item(3, 1, 3, "d"), "_columns": None},
        ]
        dataset.write(changes, "partial_update")
        assert stored(dataset) == [(1, 3, 9, "c"), (2, 2, 2, "b"), (3, 1, 3, "d")]
        with pytest.raises(UnknownColumnError, match="'nothing'"):
            dataset.write([{**item(1, 9), "_columns": ["nothing"]}], "partial_update")
        with pytest.raises(UnknownColumnError, match="_columns"):
            dataset.write([{**item(1, 9), "_columns": ["place"]}], "upsert")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"merge": "whatever"}, "no merge rule 'whatever'"),
            ({"merge": "first-row-wins", "key": (), "sequence": None}, "no key"),
            ({"aggregates": {"amount": "average"}}, "no aggregate 'average'"),
            ({"aggregates": {"place": "sum"}}, "which has no sum"),
            ({"aggregates": {"item": "max"}}, "part of the key"),
            ({"aggregates": {"nothing": "max"}}, "'nothing'"),
            ({"aggregates": {"amount": "sum"}, "merge": "first-row-wins"}, "only"),
            ({"tracked": ("amount",)}, "tracked by a history only"),
        ],
    )
    def test_semantics_that_make_no_sense_are_refused(
        self, backend: LakeBackend, namespace: str, options: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(InvalidSchemaError, match=says):
            make_stock(backend, namespace, **options)

    # --- histories -----------------------------------------------------------------------------------------------

    def test_a_history_keeps_every_row_with_its_time(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, merge="scd2")
        dataset.write([item(1, 10, 5, "a"), item(2, 10, 1, "b")], "upsert")
        result = dataset.write([item(1, 30, 7, "a"), item(1, 20, 6, "a"), item(2, 15, 1, "b")], "upsert")
        assert (result.rows_inserted, result.rows_updated) == (2, 1)
        result = dataset.write([{"item": 2, "changed": 25}], "delete")
        assert (result.rows_updated, result.rows_deleted) == (1, 0)
        assert dataset.details().version.key == ("item", "valid_from")
        assert held(dataset.scan()) == [(1, 5, 10, 20), (1, 6, 20, 30), (1, 7, 30, None), (2, 1, 10, 25)]
        assert held(dataset.current()) == [(1, 7, 30, None)]
        assert held(dataset.as_was(20)) == [(1, 6, 20, 30), (2, 1, 10, 25)]
        assert held(dataset.scan(as_of=1)) == [(1, 5, 10, None), (2, 1, 10, None)]
        with pytest.raises(NotAllowedError, match="keeps the history"):
            dataset.write([item(3, 1)], "append")

    def test_facts_find_rows_as_they_were_and_as_they_are(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, merge="scd7", tracked=("place",))
        dataset.write([item(1, 10, 5, "north"), item(1, 20, 6, "south"), item(1, 25, 9, "south")], "upsert")
        old, new = sorted(dataset.scan().to_arrow().column("surrogate_key").to_pylist())
        facts = f"(VALUES (1, {old}), (1, {new})) AS f (item, surrogate_key)"
        was = f"SELECT s.place, s.amount FROM {facts} JOIN {dataset.name} s ON s.surrogate_key = f.surrogate_key"
        assert sorted(backend.query(was).read_all().to_pylist(), key=str) == [
            {"place": "north", "amount": 5},
            {"place": "south", "amount": 9},
        ]
        now = f"SELECT s.place FROM {facts} JOIN {dataset.name} s ON s.item = f.item AND s.is_current"
        assert backend.query(now).read_all().column("place").to_pylist() == ["south", "south"]

    def test_only_a_history_can_be_asked_for_moments(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace)
        for ask in (dataset.current, lambda: dataset.as_was(1)):
            with pytest.raises(NotAllowedError, match="keeps no history"):
                ask()
        with pytest.raises(InvalidSchemaError, match="a sequence column"):
            backend.create_dataset(f"{namespace}.other", STOCK, TableOptions(key=("item",), merge="scd2"))

    # --- explanations --------------------------------------------------------------------------------------------

    def test_a_write_is_explained_and_not_done(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, write_mode="auto", partitioning=("place",))
        dataset.write([item(i, 1, i, "north" if i < 90 else "south") for i in range(100)], "upsert")
        before, location = stored(dataset), dataset.metadata_location
        told = dataset.explain([item(1, 2, 0, "north"), item(200, 2, 0, "north")], "upsert")
        assert (told.rows_inserted, told.rows_updated, told.files_in_table) == (1, 1, 2)
        (file,) = told.files
        assert (file.action, file.rows, file.deleted, told.vectors_written) == (FileAction.MARK, 90, 1, 1)
        assert file.reason.startswith("Marking costs")
        assert 0 < told.bytes_searched < file.size
        assert told.files_written == 1
        told = dataset.explain_delete("place = 'south'")
        assert [(f.action, f.deleted) for f in told.files] == [(FileAction.DROP, 10)]
        assert (told.rows_deleted, told.files_searched, told.bytes_written) == (10, 0, 0)
        told = dataset.merge([item(95, 2)]).when_matched().delete().explain()
        assert (told.operation, told.rows_deleted, told.write_mode) == (Operation.MERGE, 1, WriteMode.AUTO)
        told = dataset.explain([item(300, 2, 1, "west")], "append")
        assert (told.rows_inserted, told.files, told.files_written) == (1, (), 1)
        assert (stored(dataset), dataset.metadata_location) == (before, location)
        with pytest.raises(NullKeyError):
            dataset.explain([{**item(1, 1), "item": None}], "upsert")

    # --- conditional merges --------------------------------------------------------------------------------------

    def test_the_first_clause_that_applies_decides(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, sequence=None)
        dataset.write([item(n, 1, n * 10, "a") for n in (1, 2, 3, 4)])
        result = (
            dataset.merge([{**item(1, 2), "op": "D"}, {**item(2, 2, 5), "op": "U"}, {**item(9, 2, 9), "op": "U"}])
            .when_matched("source.op = 'D'")
            .delete()
            .when_matched()
            .update(columns=["changed"], set={"amount": "target.amount + source.amount"})
            .when_not_matched("source.amount > 100")
            .insert()
            .when_not_matched()
            .insert(set={"place": "'new'"})
            .when_not_matched_by_source("target.amount > 35")
            .delete()
            .when_not_matched_by_source()
            .update(set={"place": "'gone'"})
            .execute()
        )
        assert (result.rows_inserted, result.rows_updated, result.rows_deleted) == (1, 2, 2)
        assert stored(dataset)[:2] == [(2, 2, 25, "a"), (3, 1, 30, "gone")]
        assert dataset.scan().filter("item = 9").to_arrow().to_pylist() == [
            {"item": 9, "changed": None, "amount": None, "place": "new"}
        ]
        newest = dataset.snapshots()[0]
        assert (newest.operation, newest.rows_deleted) == (Operation.MERGE, 2)

    def test_a_merge_keeps_late_rows_out(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace)
        dataset.write([item(1, 5, 1), item(2, 5, 1)], "upsert")
        delete = MergeClause(When.MATCHED, Then.DELETE)
        assert backend.merge(dataset.name, _rows(item(1, 4), item(2, 6)), [delete]).rows_late == 1
        assert dataset.merge([item(2, 5, 7)]).when_not_matched().insert().execute().rows_late == 1
        assert stored(dataset) == [(1, 5, 1, None)]

    def test_a_repeated_merge_has_no_further_effect(self, backend: LakeBackend, namespace: str) -> None:
        name = make_stock(backend, namespace, completion_unit="day").name
        rows = item(1, 1, 1)
        first = backend.merge(name, _rows(rows), UPSERT, idempotency_key="k", completes="2013-01-31")
        again = backend.merge(name, _rows(rows), UPSERT, idempotency_key="k", completes="2013-01-31")
        assert (first.replayed, again.replayed, again.rows_inserted) == (False, True, 1)
        assert first.completion is not None
        for other, clauses in ((item(1, 1, 2), UPSERT), (rows, UPSERT[:1])):
            with pytest.raises(IdempotencyKeyReusedError):
                backend.merge(name, _rows(other), clauses, idempotency_key="k")

    def test_a_merge_that_makes_no_sense_is_refused(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, sequence=None)
        with pytest.raises(DuplicateKeyError, match="item=1"):
            backend.merge(dataset.name, _rows(item(1, 1), item(1, 2)), UPSERT)
        with pytest.raises(InvalidExpressionError):
            dataset.merge([item(1, 1)]).when_matched("amount > 1").delete().execute()
        with pytest.raises(UnknownColumnError, match="'operation'"):
            dataset.merge([{**item(1, 1), "operation": "D"}]).when_matched().delete().execute()
        with pytest.raises(InvalidInputError, match="no clauses"):
            dataset.merge([item(1, 1)]).execute()
        with pytest.raises(UnknownOperationError, match="clauses"):
            dataset.write([item(1, 1)], "merge")
        assert dataset.snapshots() == []

    def test_rules_of_datasets_hold_for_merges(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, merge="first-row-wins")
        with pytest.raises(NotAllowedError, match="first row"):
            dataset.merge([item(1, 1)]).when_matched().update().execute()

    def test_a_contract_sees_the_rows_that_get_stored(self, backend: LakeBackend, namespace: str) -> None:
        dataset = make_stock(backend, namespace, aggregates={"amount": "sum"})
        name, limit = "  - name: amount\n", "      maximum: 10\n"
        text = backend.draft_contract(dataset.name)
        before, found, after = text.partition(name)
        assert found
        backend.put_contract(dataset.name, before + found + after.replace("format: i64\n", f"format: i64\n{limit}", 1))
        dataset.write([item(1, 1, 8)], "upsert")
        with pytest.raises(ContractViolationError):
            dataset.write([item(1, 2, 8)], "upsert")
        with pytest.raises(ContractViolationError):
            dataset.merge([item(1, 3, 8)]).when_matched().update(set={"amount": "target.amount * 2"}).execute()
        assert stored(dataset) == [(1, 1, 8, None)]


def _rows(*rows: dict[str, Any]) -> pa.RecordBatchReader:
    return pa.Table.from_pylist(list(rows), schema=STOCK).to_reader()
