"""What a contract refuses is kept beside what readers see: looked at, corrected, published, and removed in time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.catalog.requests import DatasetWrite
from cordillera.client import Dataset, Lake
from cordillera.context import acting
from cordillera.errors import CandidateNotFoundError, ContractViolationError, SnapshotNotFoundError
from cordillera.spec.candidate import MOST
from cordillera.worker import Worker
from tests.conftest import MovableClock, app_of
from tests.contracts.test_contracts import CONTRACT, batch


@pytest.fixture
def app(timed_lake: Lake) -> Application:
    return app_of(timed_lake)


@pytest.fixture
def orders(timed_lake: Lake) -> Dataset:
    """A dataset of a row, whose contract allows a total of 1,000."""
    timed_lake.create_namespace("sales")
    orders = timed_lake.create_dataset("sales.orders", contract=CONTRACT, sequence="amount")
    orders.write(batch((1, 600, "AB")), "upsert")
    return orders


def refuse(orders: Dataset, number: int = 2) -> str:
    """Write what breaks the contract; return the branch that it is kept on."""
    with pytest.raises(ContractViolationError, match="total_small") as caught:
        orders.write(batch((number, 600, "AB")), "upsert", idempotency_key=f"refused {number}")
    return str(caught.value.details["candidate"])


def ids(orders: Dataset, as_of: str | None = None) -> list[int]:
    return sorted(orders.scan(as_of=as_of).to_arrow()["id"].to_pylist())


def files(orders: Dataset) -> set[Path]:
    place = orders.details().version.location.removeprefix("file://")
    return {one for one in Path(place).rglob("*") if one.is_file() and one.suffix in {".parquet", ".avro", ".puffin"}}


def test_readers_see_nothing_of_a_candidate_and_nobody_is_told(timed_lake: Lake, orders: Dataset) -> None:
    events, version = len(timed_lake.backend.events(dataset="sales.orders")), orders.details().version
    branch = refuse(orders)
    after = orders.details().version
    assert (after.sequence_number, after.rows) == (version.sequence_number, version.rows)
    assert (ids(orders), len(timed_lake.backend.events(dataset="sales.orders"))) == ([1], events)
    [candidate] = orders.candidates()
    assert (candidate.branch, candidate.sequence_number, candidate.base) == (branch, 2, 1)
    assert candidate.expires_at - candidate.refused_at == timedelta(days=7)
    assert ids(orders, branch) == [1, 2]
    [broken] = orders.candidate(branch).violations
    assert (broken.rule, broken.rows) == ("total_small", None)
    assert "1200" in broken.message
    newest = timed_lake.backend.audit(object_name="sales.orders")[0]
    assert (newest.action, newest.details["rules"], newest.details["branch"]) == (
        "contract.refuse", ["total_small"], branch,
    )  # fmt: skip


def test_what_was_refused_under_a_key_may_be_written_under_it_once_it_is_right(orders: Dataset) -> None:
    refuse(orders)
    orders.write(batch((1, 601, "AB")), "upsert")
    orders.put_contract(CONTRACT.replace("1000", "2000"))
    orders.write(batch((2, 600, "AB")), "upsert", idempotency_key="refused 2")
    assert ids(orders) == [1, 2]


def test_a_candidate_is_corrected_and_published_like_any_branch(orders: Dataset) -> None:
    branch = refuse(orders)
    with pytest.raises(ContractViolationError, match="total_small"):
        orders.publish(branch)
    assert len(orders.candidates()) == 1, "it is kept already"
    orders.write(pa.table({"id": [1], "amount": [700]}), "delete", branch=branch)
    orders.publish(branch)
    assert (ids(orders), orders.candidates()) == ([2], [])


def test_as_many_are_kept_as_may_be_and_the_files_of_others_go(orders: Dataset) -> None:
    refuse(orders)
    one = len(files(orders))
    branches = [refuse(orders, number) for number in range(3, MOST + 4)]
    assert [candidate.branch for candidate in orders.candidates()] == branches[-1 : -MOST - 1 : -1]
    assert ids(orders, branches[-1]) == [1, MOST + 3]
    each = (len(files(orders)) - one) / (MOST - 1)
    refuse(orders, 99)
    assert len(files(orders)) == one + each * (MOST - 1)


def test_maintenance_leaves_a_candidate_until_its_time_is_over(
    timed_lake: Lake, orders: Dataset, app: Application, clock: MovableClock
) -> None:
    before = files(orders)
    branch = refuse(orders)
    kept = files(orders)
    clock.advance(days=6)
    orders.expire_snapshots(older_than=timedelta(), keep_last=1)
    app.orphans.remove(timedelta(), dry_run=False, force=True)
    assert app.candidates.follow_up() == 0
    assert (files(orders), ids(orders, branch)) == (kept, [1, 2])
    clock.advance(days=1)
    assert app.candidates.follow_up() == 1
    assert (files(orders), orders.candidates(), app.candidates.follow_up()) == (before, [], 0)
    with pytest.raises(SnapshotNotFoundError):
        orders.scan(as_of=branch).to_arrow()
    assert ids(orders) == [1]


def test_snapshot_expiry_and_dropping_its_branch_forget_a_candidate_too(
    orders: Dataset, app: Application, clock: MovableClock
) -> None:
    orders.drop_ref(refuse(orders, 2))
    assert orders.candidates() == []
    refuse(orders, 3)
    clock.advance(days=8)
    orders.expire_snapshots(older_than=timedelta(), keep_last=1)
    assert (orders.candidates(), [one.name for one in orders.refs()]) == ([], ["main"])


def test_of_a_transaction_what_was_refused_is_kept_and_the_rest_is_gone(
    timed_lake: Lake, orders: Dataset, app: Application
) -> None:
    other = timed_lake.create_dataset("sales.other", {"id": pa.int64()})
    writes = [
        DatasetWrite("sales.other", "append", pa.table({"id": [1]}).to_reader()),
        DatasetWrite("sales.orders", "upsert", batch((2, 600, "AB")).to_reader()),
    ]
    with pytest.raises(ContractViolationError) as caught:
        app.transactions.commit(writes)
    assert ids(orders, str(caught.value.details["candidate"])) == [1, 2]
    assert (ids(orders), other.scan().to_arrow().num_rows, files(other)) == ([1], 0, set())


def test_rollbacks_and_picked_snapshots_that_are_refused_are_kept(orders: Dataset) -> None:
    orders.write(batch((1, 601, "AB"), (2, 399, "AB")), "upsert")
    orders.put_contract(CONTRACT.replace("sum(amount)", "1000 + count(*) % 2"))
    with pytest.raises(ContractViolationError) as caught:
        orders.rollback(1)
    assert ids(orders, str(caught.value.details["candidate"])) == [1]


def test_examples_are_of_rows_and_columns_that_are_shown(timed_lake: Lake, orders: Dataset) -> None:
    orders.create_branch("audit")
    orders.write(batch((2, 7, "AB"), (3, 8, "AB"), (4, 300, "AB")), "upsert", branch="audit")
    tighter = CONTRACT.replace("minimum: 0", "minimum: 100").replace("^[A-Z]{2}$", "^[X-Z]{2}$")
    orders.put_contract(tighter.replace("restricted", "public"))
    orders.write(batch((1, 601, "XY")), "upsert")
    with pytest.raises(ContractViolationError) as caught:
        orders.cherry_pick(orders.snapshots(branch="audit")[0])
    branch = str(caught.value.details["candidate"])
    seen = {one.rule: (one.rows, one.examples) for one in orders.candidate(branch).violations}
    assert seen["amount.minimum"] == (2, ({"id": 2, "amount": 7}, {"id": 3, "amount": 8}))
    assert seen["code.pattern"][0] == 3
    timed_lake.grant("user:ana", "read", "sales.orders", row_filter="id <> 3", masks={"code": "constant"})
    timed_lake.grant("user:bob", "discover", "sales.orders")
    with acting("user:ana"):
        assert [one.violations for one in orders.candidates()] == [()]
        [shown] = orders.candidate(branch).violations
        assert (shown.rule, shown.rows, shown.examples) == ("amount.minimum", 1, ({"id": 2, "amount": 7},))
        with pytest.raises(CandidateNotFoundError, match="audit"):
            orders.candidate("audit")


def test_the_worker_lets_candidates_expire(orders: Dataset, app: Application, clock: MovableClock) -> None:
    refuse(orders)
    clock.advance(days=7)
    worker = Worker(app)
    worker._chain_due = 0.0
    worker.step()
    assert orders.candidates() == []
