"""What every lake must do, embedded or behind a server, as tests: writes to several datasets in one commit."""

# ruff: noqa: D102, PT012 # tests are named by what they show; a transaction is a block

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.catalog.requests import CommitResult, DatasetWrite
from cordillera.client.backend import LakeBackend
from cordillera.client.lake import Lake
from cordillera.errors import (
    ContractViolationError,
    DatasetNotFoundError,
    DuplicateKeyError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    UnknownOperationError,
)
from cordillera.testing.backend_suite import LakeSuite, make_orders, notes, orders

ACCOUNTS = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("balance", pa.int64())])
SUMMED = TableOptions(key=("id",), aggregates={"balance": "sum"})
WRITERS, TRANSFERS = 4, 5


def deposit(amount: int) -> pa.RecordBatchReader:
    """Return what adds to the balances of both accounts of a dataset."""
    return pa.table({"id": [1, 2], "balance": [amount, amount]}, schema=ACCOUNTS).to_reader()


class TransactionSuite(LakeSuite):
    """Atomicity, races, idempotency, and what consumers can see of a transaction."""

    @pytest.fixture
    def pair(self, backend: LakeBackend, namespace: str) -> tuple[str, str]:
        """Return two datasets of orders, each with the orders 1 and 2."""
        first, second = (make_orders(backend, namespace, name=name) for name in ("first", "second"))
        backend.write(first, orders(1, 2, note="old"), "append")
        backend.write(second, orders(1, 2, note="old"), "append")
        return first, second

    def test_writes_of_every_kind_are_committed_together(
        self, backend: LakeBackend, namespace: str, pair: tuple[str, str]
    ) -> None:
        third, fourth = (make_orders(backend, namespace, name=name) for name in ("third", "fourth"))
        backend.write(third, orders(1, 2, note="old"), "append")
        with Lake(backend).transaction("one of each") as tx:
            tx.write(pair[0], orders(2, 3, note="new"), "upsert", completes="2013-01-31")
            tx.delete(pair[1], [{"id": 1}])
            tx.delete_where(third, "id = 2")
            tx.write(fourth, [{"id": 7, "note": "made"}])
        assert [result.sequence_number for result in tx.results] == [2, 2, 2, 1]
        assert [(r.rows_inserted, r.rows_updated, r.rows_deleted) for r in tx.results] == [
            (1, 1, 0), (0, 0, 1), (0, 0, 1), (1, 0, 0),
        ]  # fmt: skip
        assert notes(backend, pair[0]) == {1: "old", 2: "new", 3: "new"}
        assert notes(backend, pair[1]) == {2: "old"}
        assert notes(backend, third) == {1: "old"}
        assert notes(backend, fourth) == {7: "made"}
        completion = backend.completion(pair[0], "2013-01-31")
        assert completion is not None
        assert completion.sequence_number == 2

    def test_replacements_and_partial_updates_too(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        with Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(2, note="new"), "replace", where="id = 2")
            tx.write(pair[1], [{"id": 1, "note": "new"}], "partial_update")
        assert notes(backend, pair[0]) == {1: "old", 2: "new"}
        assert notes(backend, pair[1]) == {1: "new", 2: "old"}

    def test_branches_are_written_to_together(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        for name in pair:
            backend.create_ref(name, "audit", "branch")
        with Lake(backend).transaction() as tx:
            for name in pair:
                tx.write(name, orders(3, note="new"), branch="audit")
        for name in pair:
            assert notes(backend, name) == {1: "old", 2: "old"}
            assert notes(backend, name, as_of="audit") == {1: "old", 2: "old", 3: "new"}

    def test_events_snapshots_and_audit_tell_what_belongs_together(
        self, backend: LakeBackend, pair: tuple[str, str]
    ) -> None:
        with Lake(backend).transaction("the move") as tx:
            for name in pair:
                tx.write(name, orders(3), "upsert")
        marks = []
        for name in pair:
            (event,) = backend.events(dataset=name, limit=1)
            mark = event.payload["transaction"]
            assert (mark["message"], mark["datasets"]) == ("the move", sorted(pair))
            properties = backend.snapshot(name, 2).properties
            assert (properties["transaction"], properties["message"]) == (mark["id"], "the move")
            (entry,) = backend.audit(object_name=name, limit=1)
            assert entry.details["transaction"] == mark
            marks.append(mark)
        assert marks[0] == marks[1]
        backend.write(pair[0], orders(4), "upsert")
        assert "transaction" not in backend.events(dataset=pair[0], limit=1)[0].payload

    def test_one_that_is_refused_changes_nothing(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        found = len(backend.orphans(older_than_hours=0))
        with pytest.raises(DuplicateKeyError), Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(3), "append")
            tx.write(pair[1], orders(2), "append")
        assert tx.results == []
        with pytest.raises(DatasetNotFoundError), Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(3), "append")
            tx.write("no.where", orders(2), "append")
        with pytest.raises(UnknownOperationError), Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(3), "append")
            tx.write(pair[1], orders(3), "toss")
        self._unchanged(backend, pair, found)

    @pytest.mark.parametrize("rule", ["every row", "the whole table"])
    def test_a_contract_that_one_breaks_keeps_all_out(
        self, backend: LakeBackend, pair: tuple[str, str], rule: str
    ) -> None:
        draft = backend.draft_contract(pair[1])
        if rule == "every row":
            text = draft.replace("name: note", "name: note\n    required: true", 1)
        else:
            few = "  quality:\n  - {id: few, type: library, metric: rowCount, mustBeLessThan: 3}\n  properties:\n"
            text = draft.replace("  properties:\n", few, 1)
        assert text != draft
        backend.put_contract(pair[1], text)
        found = len(backend.orphans(older_than_hours=0))
        with pytest.raises(ContractViolationError), Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(3), "append")
            tx.write(pair[1], [{"id": 3, "note": None}], "append")
        self._unchanged(backend, pair, found)

    def test_an_error_in_the_block_leaves_nothing(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        found = len(backend.orphans(older_than_hours=0))
        with pytest.raises(ZeroDivisionError), Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(3), "append")
            raise ZeroDivisionError
        self._unchanged(backend, pair, found)

    def test_rows_that_break_off_leave_nothing(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        def broken() -> Iterator[pa.RecordBatch]:
            yield from orders(3)
            raise ZeroDivisionError

        rows = pa.RecordBatchReader.from_batches(orders(3).schema, broken())
        found = len(backend.orphans(older_than_hours=0))
        with pytest.raises(ZeroDivisionError), Lake(backend).transaction() as tx:
            tx.write(pair[0], orders(3), "append")
            tx.write(pair[1], rows, "append")
        self._unchanged(backend, pair, found)

    def _unchanged(self, backend: LakeBackend, pair: tuple[str, str], orphans: int) -> None:
        for name in pair:
            assert notes(backend, name) == {1: "old", 2: "old"}
            assert backend.dataset(name).version.sequence_number == 1
        assert len(backend.orphans(older_than_hours=0)) == orphans

    def test_a_dataset_is_written_to_once(self, backend: LakeBackend, dataset: str) -> None:
        with pytest.raises(InvalidInputError, match="twice"), Lake(backend).transaction() as tx:
            tx.write(dataset, orders(1), "append")
            tx.write(f"{dataset}_v1", orders(2), "append")
        assert notes(backend, dataset) == {}

    def test_an_empty_one_does_nothing(self, backend: LakeBackend) -> None:
        with Lake(backend).transaction() as tx:
            pass
        assert tx.results == []
        with pytest.raises(InvalidInputError, match="no writes"):
            backend.write_together([])

    # --- repeating -----------------------------------------------------------------------------------------------

    def _move(self, backend: LakeBackend, names: tuple[str, ...], *ids: int) -> list[CommitResult]:
        writes = [DatasetWrite(name, "upsert", orders(*ids, note="new")) for name in names]
        return backend.write_together(writes, idempotency_key="k")

    def test_a_repeated_one_has_no_further_effect(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        first = self._move(backend, pair, 2, 3)
        backend.write(pair[0], orders(3, note="later"), "upsert")
        again = self._move(backend, pair, 2, 3)
        assert again == [replace(result, replayed=True) for result in first]
        assert notes(backend, pair[0]) == {1: "old", 2: "new", 3: "later"}
        assert self._move(backend, (pair[1], pair[0]), 2, 3) == list(reversed(again))

    def test_a_key_stands_for_one_transaction(
        self, backend: LakeBackend, namespace: str, pair: tuple[str, str]
    ) -> None:
        third = make_orders(backend, namespace, name="third")
        self._move(backend, pair, 2, 3)
        others = [((*pair,), (2, 4)), ((pair[0],), (2, 3)), ((pair[1], third), (2, 3)), ((*pair, third), (2, 3))]
        for names, ids in others:
            with pytest.raises(IdempotencyKeyReusedError):
                self._move(backend, names, *ids)
        with pytest.raises(IdempotencyKeyReusedError):
            backend.write(pair[0], orders(2, 3, note="new"), "upsert", idempotency_key="k")
        assert notes(backend, third) == {}
        assert backend.dataset(pair[0]).version.sequence_number == 2

    def test_deletes_by_condition_are_compared_too(self, backend: LakeBackend, pair: tuple[str, str]) -> None:
        def delete(where: str) -> list[CommitResult]:
            writes = [DatasetWrite(name, "delete", where=where) for name in pair]
            return backend.write_together(writes, idempotency_key="k")

        assert [result.rows_deleted for result in delete("id = 1")] == [1, 1]
        assert all(result.replayed for result in delete("id = 1"))
        with pytest.raises(IdempotencyKeyReusedError):
            delete("id = 2")

    # --- races ---------------------------------------------------------------------------------------------------

    def test_transfers_in_opposite_order_all_land(self, backend: LakeBackend, namespace: str) -> None:
        names = [f"{namespace}.left", f"{namespace}.right"]
        for name in names:
            backend.create_dataset(name, ACCOUNTS, SUMMED)
            backend.write(name, deposit(1000), "append")

        def transfer(writer: int) -> None:
            for number in range(TRANSFERS):
                amount = 10 ** (writer % 2) * (1 if number % 2 else 2)
                parts = [(names[0], -amount), (names[1], amount)]
                ordered = parts if writer % 2 else reversed(parts)
                backend.write_together([DatasetWrite(name, "upsert", deposit(by)) for name, by in ordered])

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(transfer, range(WRITERS)))
        moved = 2 * (10 + 1) * (3 * 2 + 2 * 1)
        left, right = (backend.scan(name).read_all()["balance"].to_pylist() for name in names)
        assert (left, right) == ([1000 - moved] * 2, [1000 + moved] * 2)
        for name in names:
            assert backend.dataset(name).version.sequence_number == 1 + WRITERS * TRANSFERS
        events = {name: self._transactions(backend, name) for name in names}
        assert events[names[0]] == events[names[1]]

    def _transactions(self, backend: LakeBackend, name: str) -> list[str]:
        found = [event.payload.get("transaction", {}) for event in backend.events(dataset=name)]
        return [mark["id"] for mark in found if mark]
