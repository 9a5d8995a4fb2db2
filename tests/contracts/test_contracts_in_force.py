"""A contract that is put in force while a write is under way is held against that write, however it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from cordillera.app import Application
from cordillera.catalog.requests import DatasetWrite
from cordillera.client import Dataset, Lake
from cordillera.contracts.service import ContractService
from cordillera.errors import ContractViolationError
from cordillera.ports.commit_guard import Change, Verdict
from tests.conftest import app_of
from tests.contracts.test_contracts import CONTRACT, batch

LOOSE = CONTRACT.replace("minimum: 0", "minimum: -9")
BAD, GOOD = (3, -5, "AB"), (4, 5, "AB")
LEAST = """\
      - id: at_least_two
        type: sql
        query: SELECT count(*) FROM {object}
        mustBeGreaterOrEqualTo: 2
        customProperties: [{property: scope, value: batch}]
      - id: total_small
"""


@pytest.fixture
def app(lake: Lake) -> Application:
    return app_of(lake)


@pytest.fixture(params=["without a contract", "with another"])
def orders(lake: Lake, request: pytest.FixtureRequest) -> Dataset:
    lake.create_namespace("sales")
    schema = {"id": pa.int64(), "amount": pa.int64(), "code": pa.string()}
    orders = lake.create_dataset("sales.orders", schema, key=["id"])
    if request.param == "with another":
        orders.put_contract(LOOSE)
    orders.write(batch((1, 600, "AB"), (2, 7, "AB")), "upsert")
    return orders


def meanwhile(orders: Dataset, row: tuple[int, int, str], text: str = CONTRACT) -> pa.RecordBatchReader:
    """Return rows of which a part has been read when a contract is put in force."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield from batch(row).to_batches()
        orders.put_contract(text)

    return pa.RecordBatchReader.from_batches(batch(row).schema, batches())


WRITES: dict[str, Callable[[Application, Dataset, pa.RecordBatchReader], object]] = {
    "append": lambda app, orders, rows: orders.write(rows, "append"),
    "upsert": lambda app, orders, rows: orders.write(rows, "upsert"),
    "partial update": lambda app, orders, rows: orders.write(rows, "partial_update"),
    "replace": lambda app, orders, rows: orders.write(rows, "replace"),
    "merge": lambda app, orders, rows: orders.merge(rows).when_not_matched().insert().execute(),
    "transaction": lambda app, orders, rows: app.transactions.commit([DatasetWrite("sales.orders", "upsert", rows)]),
}


def ids(orders: Dataset) -> list[int]:
    return sorted(orders.scan().to_arrow()["id"].to_pylist())


@pytest.mark.parametrize("way", WRITES)
def test_rows_read_before_it_was_in_force_are_held_to_it(app: Application, orders: Dataset, way: str) -> None:
    with pytest.raises(ContractViolationError, match=r"amount\.minimum") as caught:
        WRITES[way](app, orders, meanwhile(orders, BAD))
    assert ids(orders) == [1, 2]
    assert [one.branch for one in orders.candidates()] == [caught.value.details["candidate"]], "to be looked at"
    again = CONTRACT.replace("version: 1.0.0", "version: 1.0.1")
    WRITES[way](app, orders, meanwhile(orders, GOOD, again))
    assert ids(orders) == ([4] if way == "replace" else [1, 2, 4])


@pytest.fixture
def as_it_commits(monkeypatch: pytest.MonkeyPatch, orders: Dataset) -> Callable[[str], None]:
    """Return what puts a contract in force as soon as the next commit has been held to the one before."""

    def arm(text: str) -> None:
        check, texts = ContractService.check, [text]

        def checked(service: ContractService, change: Change) -> Verdict:
            verdict = check(service, change)
            if texts:
                orders.put_contract(texts.pop())
            return verdict

        monkeypatch.setattr(ContractService, "check", checked)

    return arm


def test_a_contract_does_not_slip_in_between_the_check_and_the_commit(
    orders: Dataset, as_it_commits: Callable[[str], None]
) -> None:
    as_it_commits(CONTRACT)
    with pytest.raises(ContractViolationError, match=r"amount\.minimum"):
        orders.write(batch(BAD), "upsert")
    as_it_commits(CONTRACT.replace("version: 1.0.0", "version: 1.0.1"))
    orders.write(batch(GOOD), "upsert")
    assert ids(orders) == [1, 2, 4]


def test_a_compaction_that_meets_a_new_contract_goes_on(orders: Dataset, as_it_commits: Callable[[str], None]) -> None:
    orders.write(batch(GOOD), "upsert")
    as_it_commits(CONTRACT)
    done = orders.compact(rewrite_all=True)
    assert (done.commits, done.groups_left, done.rows_moved) == (1, 0, 3)
    assert ids(orders) == [1, 2, 4]


def test_a_rule_on_a_whole_write_is_held_against_one_that_began_before(orders: Dataset) -> None:
    least = CONTRACT.replace("      - id: total_small\n", LEAST)
    with pytest.raises(ContractViolationError, match="at_least_two"):
        orders.write(meanwhile(orders, GOOD, least), "upsert")
    assert ids(orders) == [1, 2]


def test_rows_of_a_branch_are_held_to_the_contract_when_they_are_published(orders: Dataset) -> None:
    orders.create_branch("audit")
    orders.write(meanwhile(orders, BAD), "upsert", branch="audit")
    assert ids(orders) == [1, 2]
    for publish in (lambda: orders.publish("audit"), lambda: orders.cherry_pick(orders.snapshots(branch="audit")[0])):
        with pytest.raises(ContractViolationError, match=r"amount\.minimum"):
            publish()
    orders.delete_where("id = 3", branch="audit")
    orders.publish("audit")
    assert ids(orders) == [1, 2]


def test_rows_that_have_met_the_contract_are_not_read_again(orders: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = CONTRACT[: CONTRACT.index("    quality:")]
    orders.put_contract(silent)
    orders.create_branch("audit")
    looked_at: list[int] = []
    check = ContractService._check_rows

    def counting(service: ContractService, change: Change, contract: Any, rules: Any) -> Any:
        looked_at.append(sum(map(len, rules)))
        return check(service, change, contract, rules)

    monkeypatch.setattr(ContractService, "_check_rows", counting)
    orders.write(batch(GOOD), "upsert")
    orders.write(batch((5, 1, "AB")), "upsert", branch="audit")
    orders.cherry_pick(orders.snapshots(branch="audit")[0])
    orders.compact()
    assert set(looked_at) == {0}
    orders.put_contract(silent.replace("version: 1.0.0", "version: 1.0.1"))
    orders.rollback(1)
    assert looked_at[-1] > 0, "what comes back was written before"
