"""What every lake must do with rows, contracts and completions, as tests. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    ContractNotFoundError,
    ContractViolationError,
    CordilleraError,
    DatasetNotFoundError,
    DuplicateKeyError,
    IdempotencyKeyReusedError,
    InvalidContractError,
    InvalidExpressionError,
    InvalidInputError,
    InvalidPartitionError,
    InvalidSqlError,
    MissingKeyError,
    NullKeyError,
    TypeMismatchError,
    UnknownColumnError,
    UnknownOperationError,
    WaitTimeoutError,
)
from cordillera.spec.contract import Party, Severity
from cordillera.spec.freshness import FreshnessState
from cordillera.testing.backend_suite import LakeSuite, make_orders, notes, orders


class RowsSuite(LakeSuite):
    """Writing, reading and asking for rows; contracts and completions, which say what rows may be and when all are."""

    # --- writing -------------------------------------------------------------------------------------------------

    def test_every_operation_writes(self, backend: LakeBackend, dataset: str) -> None:
        result = backend.write(dataset, orders(1, 2, 3, note="a"), "append")
        assert (result.sequence_number, result.snapshot_committed, result.rows_inserted) == (1, True, 3)
        result = backend.write(dataset, orders(3, 4, note="b"), "upsert")
        assert (result.rows_inserted, result.rows_updated) == (1, 1)
        partial = pa.table({"id": [1], "note": ["c"]})
        assert backend.write(dataset, partial.to_reader(), "partial_update").rows_updated == 1
        assert notes(backend, dataset) == {1: "c", 2: "a", 3: "b", 4: "b"}
        assert backend.write(dataset, pa.table({"id": [2]}).to_reader(), "delete").rows_deleted == 1
        assert backend.delete_where(dataset, "note = 'b' AND id > 3").rows_deleted == 1
        assert notes(backend, dataset) == {1: "c", 3: "b"}
        backend.write(dataset, orders(3, note="d"), "replace", where="id = 3")
        assert notes(backend, dataset) == {1: "c", 3: "d"}
        backend.write(dataset, orders(9), "replace")
        assert notes(backend, dataset) == {9: ""}

    def test_partitions_are_replaced(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, TableOptions(partitioning=("day",)))
        backend.write(name, orders(1, day=date(2013, 1, 1)), "append")
        backend.write(name, orders(2, day=date(2013, 1, 2)), "append")
        backend.write(name, orders(3, day=date(2013, 1, 2)), "replace_partitions")
        assert sorted(notes(backend, name)) == [1, 3]

    def test_writing_nothing_changes_nothing(self, backend: LakeBackend, dataset: str) -> None:
        assert not backend.write(dataset, orders(), "append").snapshot_committed
        assert backend.snapshots(dataset) == []

    def test_a_repeated_write_has_no_further_effect(self, backend: LakeBackend, dataset: str) -> None:
        key = "Schlüssel ☃ 100%\n"
        first = backend.write(dataset, orders(1), "append", idempotency_key=key, completes=date(2013, 1, 31))
        again = backend.write(dataset, orders(1), "append", idempotency_key=key, completes=date(2013, 1, 31))
        assert (first.replayed, again.replayed) == (False, True)
        assert again == replace(first, replayed=True)
        assert first.completion is not None
        assert first.completion.partition == "2013-01-31"
        with pytest.raises(IdempotencyKeyReusedError):
            backend.write(dataset, orders(2), "append", idempotency_key=key)
        assert backend.delete_where(dataset, "id = 1", idempotency_key="d").rows_deleted == 1
        assert backend.delete_where(dataset, "id = 1", idempotency_key="d").replayed
        assert len(backend.snapshots(dataset)) == 2

    @pytest.mark.parametrize(
        ("operation", "rows", "kind"),
        [
            ("append", orders(5, None).read_all(), NullKeyError),
            ("upsert", orders(5, 7, 7).read_all(), DuplicateKeyError),
            ("append", orders(5, 1).read_all(), DuplicateKeyError),
            ("append", pa.table({"id": ["5", "x"], "note": ["", ""]}), TypeMismatchError),
            ("append", pa.table({"id": [5], "colour": ["red"]}), UnknownColumnError),
            ("append", pa.table({"note": ["y"]}), MissingKeyError),
            ("upsert", pa.table({"id": [5]}), MissingKeyError),
            ("explode", orders(5).read_all(), UnknownOperationError),
        ],
    )
    def test_rows_that_do_not_fit_are_refused_whole(
        self, backend: LakeBackend, dataset: str, operation: str, rows: pa.Table, kind: type[CordilleraError]
    ) -> None:
        backend.write(dataset, orders(1, note="before"), "append")
        with pytest.raises(kind):
            backend.write(dataset, rows.to_reader(), operation)
        assert notes(backend, dataset) == {1: "before"}
        assert len(backend.snapshots(dataset)) == 1

    def test_rows_that_break_off_are_not_written(self, backend: LakeBackend, dataset: str) -> None:
        def breaking() -> Iterator[pa.RecordBatch]:
            yield from orders(1)
            raise ValueError("the source broke")

        with pytest.raises(ValueError, match="the source broke"):
            backend.write(dataset, pa.RecordBatchReader.from_batches(orders().schema, breaking()), "append")
        assert backend.snapshots(dataset) == []

    def test_writing_elsewhere_is_refused(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        with pytest.raises(DatasetNotFoundError):
            backend.write(f"{namespace}.nope", orders(1), "append")
        with pytest.raises(InvalidInputError):
            backend.write(dataset, orders(1), "append", where="id = 1")
        with pytest.raises(InvalidPartitionError):
            backend.write(dataset, orders(1), "append", completes="someday")
        for condition in ("id =", "nope = 1", "id = (SELECT 1)"):
            with pytest.raises((InvalidExpressionError, UnknownColumnError)):
                backend.delete_where(dataset, condition)
        assert backend.snapshots(dataset) == []

    def test_two_writers_at_once_both_succeed(self, backend: LakeBackend, dataset: str) -> None:
        def write(first: int) -> None:
            for number in range(first, first + 5):
                backend.write(dataset, orders(number), "upsert")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, (0, 100)))
        assert sorted(notes(backend, dataset)) == [*range(5), *range(100, 105)]
        assert [found.sequence_number for found in backend.snapshots(dataset)] == list(range(10, 0, -1))

    # --- reading -------------------------------------------------------------------------------------------------

    def test_a_scan_reads_what_it_is_asked_for(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1, 2, 3, note="a"), "append")
        backend.write(dataset, orders(4, note="it's"), "append")
        found = backend.scan(dataset, columns=["note", "id"], where="id >= 3").read_all()
        assert found.column_names == ["note", "id"]
        assert sorted(found["id"].to_pylist()) == [3, 4]
        assert backend.scan(dataset, where="note = 'it''s'").read_all()["id"].to_pylist() == [4]
        assert backend.scan(dataset, limit=2).read_all().num_rows == 2
        assert backend.scan(dataset, limit=0).read_all().num_rows == 0
        assert backend.scan(dataset, where="id > 99").read_all().num_rows == 0

    @pytest.mark.parametrize(
        ("options", "kind"),
        [
            ({"columns": ["nope"]}, UnknownColumnError),
            ({"columns": []}, UnknownColumnError),
            ({"where": "nope = 1"}, UnknownColumnError),
            ({"where": "id +"}, InvalidExpressionError),
        ],
    )
    def test_a_scan_that_makes_no_sense_is_refused(
        self, backend: LakeBackend, dataset: str, options: dict[str, Any], kind: type[CordilleraError]
    ) -> None:
        with pytest.raises((kind, InvalidExpressionError)):
            backend.scan(dataset, **options).read_all()

    def test_a_reader_that_is_not_read_to_its_end_does_no_harm(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(*range(1000)), "append")
        for _ in range(20):
            backend.scan(dataset)
            next(iter(backend.scan(dataset)))
        assert backend.scan(dataset).read_all().num_rows == 1000

    def test_values_of_every_type_come_back_as_they_went(self, backend: LakeBackend, namespace: str) -> None:
        values: dict[str, pa.Array] = {
            "i": pa.array([1, None, -(2**31)], pa.int32()),
            "l": pa.array([2**62, None, 0], pa.int64()),
            "f": pa.array([1.5, None, float("inf")], pa.float32()),
            "d": pa.array([0.1, None, -0.0], pa.float64()),
            "s": pa.array(["ä☃", None, ""]),
            "b": pa.array([b"\x00\xff", None, b""]),
            "bool": pa.array([True, None, False]),
            "dec": pa.array([Decimal("1.23"), None, Decimal("-0.01")], pa.decimal128(20, 2)),
            "date": pa.array([date(1970, 1, 1), None, date(2999, 12, 31)]),
            "time": pa.array([time(1, 2, 3, 4), None, time(0)], pa.time64("us")),
            "ts": pa.array([datetime(2013, 1, 1, 5), None, datetime(1900, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
            "tz": pa.array([datetime(2013, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
            "uuid": pa.array([UUID(int=5).bytes, None, UUID(int=0).bytes], pa.uuid()),
            "fixed": pa.array([b"abcd", None, b"\x00" * 4], pa.binary(4)),
            "list": pa.array([[1, None], None, []], pa.list_(pa.int64())),
            "struct": pa.array([{"x": 1, "y": ["a"]}, None, {"x": None, "y": None}]),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        }
        table = pa.table(values)
        name = f"{namespace}.types"
        backend.create_dataset(name, table.schema, TableOptions())
        backend.write(name, table.to_reader(), "append")
        assert backend.scan(name).read_all().to_pylist() == table.to_pylist()

    # --- asking --------------------------------------------------------------------------------------------------

    def test_queries_join_datasets(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        other = make_orders(backend, namespace, name="others")
        backend.write(dataset, orders(1, 2), "append")
        backend.write(other, orders(2, 3, note="o"), "append")
        found = backend.query(f"SELECT a.id, b.note FROM {dataset} a JOIN {other} b USING (id)")
        assert found.read_all().to_pylist() == [{"id": 2, "note": "o"}]
        backend.write(dataset, orders(5), "append")
        count = f"SELECT count(*) AS n FROM {dataset}"
        assert backend.query(count).read_all()["n"].to_pylist() == [3]
        assert backend.query(count, {dataset: 1}).read_all()["n"].to_pylist() == [2]
        assert backend.query(count, {dataset: None}).read_all()["n"].to_pylist() == [3]

    @pytest.mark.parametrize(
        ("sql", "kind"),
        [
            ("SELEC 1", InvalidSqlError),
            ("DELETE FROM a.b", InvalidSqlError),
            ("SELECT * FROM read_csv('/etc/passwd')", InvalidSqlError),
            ("SELECT nope FROM {dataset}", InvalidSqlError),
            ("SELECT CAST(note AS INTEGER) FROM {dataset}", InvalidSqlError),
            ("SELECT 1 FROM {dataset}_nope", DatasetNotFoundError),
        ],
    )
    def test_a_query_that_cannot_be_answered_is_refused(
        self, backend: LakeBackend, dataset: str, sql: str, kind: type[CordilleraError]
    ) -> None:
        backend.write(dataset, orders(1, note="no number"), "append")
        with pytest.raises(kind):
            backend.query(sql.format(dataset=dataset)).read_all()

    # --- contracts -----------------------------------------------------------------------------------------------

    def test_a_contract_is_enforced(self, backend: LakeBackend, dataset: str) -> None:
        with pytest.raises(ContractNotFoundError):
            backend.contract(dataset)
        draft = backend.draft_contract(dataset)
        text = draft.replace("name: note", "name: note\n    required: true  # ☃", 1)
        assert text != draft
        put = backend.put_contract(dataset, text)
        assert put == backend.contract(dataset)
        assert (put.revision, put.text, put.dataset) == (1, text, dataset)
        with pytest.raises(ContractViolationError, match="note"):
            backend.write(dataset, pa.table({"id": [1], "note": pa.array([None], pa.string())}).to_reader(), "append")
        assert backend.snapshots(dataset) == []
        backend.write(dataset, orders(1, note="x"), "append")

    def test_all_that_is_wrong_in_a_document_is_told(self, backend: LakeBackend, dataset: str) -> None:
        draft = backend.draft_contract(dataset)
        assert not backend.check_contract(draft).wrong
        broken = draft.replace("logicalType: string", "logicalType: text").replace("id:", "ident:", 1)
        found = backend.check_contract(broken)
        assert len([one for one in found.findings if one.line and one.severity is Severity.ERROR]) >= 2
        assert found.costs == {}

    def test_what_checking_a_rule_costs_is_told_before_it_is_in_force(self, backend: LakeBackend, dataset: str) -> None:
        rule = "quality: [{name: several, type: library, metric: rowCount, mustBeGreaterThan: 0}]"
        draft = backend.draft_contract(dataset).replace("  properties:", f"  {rule}\n  properties:", 1)
        assert backend.check_contract(draft).costs["several"] == backend.put_contract(dataset, draft).costs["several"]

    @pytest.mark.parametrize("end", ["\r\n", "\n\n", "", "\t# ☃"])
    def test_a_document_comes_back_byte_for_byte(self, backend: LakeBackend, dataset: str, end: str) -> None:
        kept = "acmeRegion: {of:   [ours]}  # unknown to the standard"
        text = backend.draft_contract(dataset).replace("\n", "\r\n", 3).rstrip() + f"\n{kept}{end}"
        assert backend.put_contract(dataset, text).text == text
        found = backend.contract(dataset)
        assert found.text == text
        assert any("acmeRegion" in one for one in found.unenforced)

    def test_how_a_dataset_stands_to_its_promise_is_told(self, backend: LakeBackend, dataset: str) -> None:
        assert backend.service_level(dataset).freshness.state is FreshnessState.UNPROMISED
        promise = "\nslaProperties:\n- {property: frequency, value: 1, unit: d}\n"
        backend.put_contract(dataset, backend.draft_contract(dataset) + promise)
        backend.complete(dataset, "2013-01-01")
        status = backend.service_level(dataset)
        assert (status.dataset, status.freshness.due_partition) == (dataset, "2013-01-02")
        assert status.freshness.state is FreshnessState.BREACHED
        assert status.summary.startswith("Waiting for 2013-01-02, due 2013-01-04 00:00 UTC, ")

    def test_what_a_document_would_change_is_told(self, backend: LakeBackend, dataset: str) -> None:
        draft = backend.draft_contract(dataset)
        with pytest.raises(ContractNotFoundError):
            backend.diff_contract(dataset, draft)
        assert backend.contract_revisions(dataset) == []
        backend.put_contract(dataset, draft)
        assert backend.diff_contract(dataset, draft) == []
        required = draft.replace("name: note", "name: note\n    required: true", 1)
        [stricter] = backend.diff_contract(dataset, required)
        assert (stricter.element, stricter.breaks) == ("columns.note:required", (Party.PUBLISHERS,))
        with pytest.raises(InvalidContractError):
            backend.diff_contract(dataset, "kind: DataContract")

    def test_the_revisions_of_a_contract_are_kept_with_what_they_changed(
        self, backend: LakeBackend, dataset: str
    ) -> None:
        draft = backend.draft_contract(dataset)
        required = draft.replace("name: note", "name: note\n    required: true", 1)
        for text in (draft, required, draft):
            backend.put_contract(dataset, text)
        found = backend.contract_revisions(dataset)
        assert [one.revision for one in found] == [3, 2, 1]
        assert [[change.breaks for change in one.changes] for one in found] == [
            [(Party.CONSUMERS,)],
            [(Party.PUBLISHERS,)],
            [],
        ]
        assert backend.contract_revisions(dataset, limit=1) == found[:1]
        assert backend.contract_revisions(dataset, 3, limit=1) == found[1:2]

    @pytest.mark.parametrize("text", ["", "{", "kind: DataContract", "- a list", "\x00"])
    def test_a_malformed_contract_is_refused(self, backend: LakeBackend, dataset: str, text: str) -> None:
        with pytest.raises(InvalidContractError):
            backend.put_contract(dataset, text)
        with pytest.raises(ContractNotFoundError):
            backend.contract(dataset)

    # --- completions ---------------------------------------------------------------------------------------------

    def test_partitions_become_complete(self, backend: LakeBackend, dataset: str) -> None:
        assert backend.completion(dataset, "2013-01-01") is None
        first = backend.complete(dataset, date(2013, 1, 1), idempotency_key="k")
        assert (first.partition, first.revision, first.sequence_number) == ("2013-01-01", 1, 0)
        assert backend.complete(dataset, "2013-01-01", idempotency_key="k") == first
        again = backend.complete(dataset, "2013-01-01")
        assert (again.revision, again.restated) == (2, True)
        assert backend.completion(dataset, date(2013, 1, 1)) == again
        backend.complete(dataset, "2013-01-02")
        assert [found.partition for found in backend.completions(dataset)] == ["2013-01-02", "2013-01-01"]
        assert backend.completions(dataset, before="2013-01-02", limit=1) == [again]
        for operation in (backend.complete, backend.completion):
            with pytest.raises(InvalidPartitionError):
                operation(dataset, "tomorrow")
        with pytest.raises(DatasetNotFoundError):
            backend.completion("no.where", "2013-01-01")

    @pytest.mark.parametrize("label", ["a/b", "..", "%2F", "?x=1#y", "ä ☃", "draft", " "])
    def test_a_label_may_have_any_characters(self, backend: LakeBackend, namespace: str, label: str) -> None:
        name = make_orders(backend, namespace, TableOptions(completion_unit="value"))
        made = backend.complete(name, label)
        assert made.partition == label
        assert backend.completion(name, label) == made

    def test_a_date_names_the_partition_it_lies_in(self, backend: LakeBackend, namespace: str) -> None:
        monthly = make_orders(backend, namespace, TableOptions(completion_unit="month"), "monthly")
        assert backend.complete(monthly, date(2013, 1, 31)).partition == "2013-01"
        hourly = make_orders(backend, namespace, TableOptions(completion_unit="hour"), "hourly")
        assert backend.complete(hourly, datetime(2013, 1, 31, 7, 30)).partition == "2013-01-31T07"  # noqa: DTZ001

    def test_a_completion_can_be_waited_for(self, backend: LakeBackend, dataset: str) -> None:
        with pytest.raises(WaitTimeoutError, match="2013-01-01"):
            backend.wait_until_complete(dataset, "2013-01-01", timeout=0.1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(backend.wait_until_complete, dataset, date(2013, 1, 1), timeout=30)
            made = backend.complete(dataset, "2013-01-01")
            assert waiting.result() == made
