"""Rules on the whole table are checked at the cost of a commit's change, and find what a look at all rows finds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cordillera.adapters.storage.local import LocalStorage
from cordillera.app import Application
from cordillera.client import Dataset, Lake
from cordillera.contracts.table_rules import TableRules
from cordillera.errors import CommitConflictError, ContractViolationError
from cordillera.ports.commit_guard import Change
from cordillera.ports.metadata.contracts import KeptPartials
from cordillera.spec.contract import Scope, parse_contract
from cordillera.spec.schema_evolution import AddColumn, DropColumn
from tests.conftest import app_of

COLUMNS = """
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    logicalType: object
    properties:
      - {name: id, logicalType: integer, physicalType: long, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: price, logicalType: number, physicalType: "decimal(38,2)"}
      - {name: day, logicalType: date}
      - {name: note, logicalType: string}
    quality:
"""
RULES = """
      - {id: rows, type: library, metric: rowCount, mustBeLessThan: 2000}
      - {id: total, type: sql, query: "SELECT sum(price) FROM {object}", mustBeLessThan: 1000}
      - {id: mean, type: sql, query: "SELECT avg(price) FROM {object} WHERE note <> ''", mustBeLessThan: 900}
      - {id: newest, type: sql, query: "SELECT date_diff('day', max(day), min(day)) FROM {object}", mustBeLessThan: 1}
      - {id: dearest, type: sql, query: "SELECT max(price) FROM {object}", mustBeLessThan: 900}
      - {id: keys, type: library, metric: duplicateValues, arguments: {properties: [note, id]}, mustBe: 0}
"""
CONTRACT = COLUMNS + RULES


@pytest.fixture
def app(lake: Lake) -> Application:
    return app_of(lake)


def create(lake: Lake, contract: str = CONTRACT, **options: Any) -> Dataset:
    lake.create_namespace("a")
    return lake.create_dataset("a.sales", contract=contract, **options)


def rows(*ids: int, price: str = "1.10", day: int = 0) -> pa.Table:
    count = len(ids)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "price": pa.array([Decimal(price)] * count, pa.decimal128(38, 2)),
            "day": pa.array([day] * count, pa.int32()).cast(pa.date32()),
            "note": ["x"] * count,
        }
    )


def kept_and_true(app: Application) -> tuple[KeptPartials | None, KeptPartials | None]:
    """Return what is kept of the dataset, and what a look at all rows gives."""
    target = app.catalog.dataset("a.sales")
    metadata = app.tables.load(target.version)
    contract = parse_contract(app.contracts.get(target).document.text)
    change = Change(target.dataset, target.version, metadata, metadata)
    looked = TableRules(app.tables.io, app.engine, change, contract, None)
    _, true = looked.check([rule for rule in contract.aggregate_rules if rule.scope is Scope.TABLE])
    with app.store.read() as tx:
        return tx.contracts.partials(target.version.id), true


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
def test_what_is_kept_is_what_all_rows_give_whatever_happens(lake: Lake, app: Application, mode: str) -> None:
    sales = create(lake, write_mode=mode)

    def another_column_of_the_same_name() -> None:
        sales.put_contract("\n".join(line for line in CONTRACT.splitlines() if "note" not in line))
        sales.evolve(DropColumn("note"))
        sales.evolve(AddColumn("note", pa.string()))
        sales.put_contract(CONTRACT)
        sales.write(rows(64).drop_columns(["note"]), "append")

    steps: list[Callable[[], object]] = [
        lambda: sales.write(rows(*range(40)), "append"),
        lambda: sales.write(rows(1, 2, 50, price="2.25", day=9), "upsert"),
        lambda: sales.write(rows(50).select(["id"]), "delete"),
        lambda: sales.delete_where("id < 3"),
        lambda: sales.create_branch("audit"),
        lambda: sales.write(rows(60, 7, day=-4), "upsert", branch="audit"),
        lambda: sales.publish("audit"),
        lambda: sales.compact(rewrite_all=True),
        lambda: sales.expire_snapshots(older_than=timedelta(), keep_last=1),
        lambda: sales.write(rows(61, day=12), "append"),
        lambda: sales.evolve(AddColumn("more", pa.int64())),
        lambda: sales.write(rows(62, price="0.02"), "append"),
        lambda: sales.write(rows(*range(8)), "replace"),
        lambda: sales.rollback(sales.snapshots()[1].sequence_number),
        another_column_of_the_same_name,
    ]
    for number, step in enumerate(steps):
        step()
        kept, true = kept_and_true(app)
        assert kept == true, f"step {number}"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The data files that are opened from now on."""
    opened: list[str] = []
    open_input = LocalStorage.open_input

    def noted(storage: LocalStorage, uri: str) -> AbstractContextManager[pa.NativeFile]:
        opened.append(uri)
        return open_input(storage, uri)

    monkeypatch.setattr(LocalStorage, "open_input", noted)
    return opened


def opened_by(read: list[str], act: Callable[[], object]) -> int:
    read.clear()
    act()
    return len({uri for uri in read if uri.endswith(".parquet")})


def test_files_read_for_a_small_change_do_not_grow_with_the_table(
    lake: Lake, app: Application, read: list[str]
) -> None:
    sales = create(lake)

    def change(first: int) -> int:
        return opened_by(read, lambda: sales.write(rows(first, first + 1, price="2.00"), "upsert"))

    def grow(*starts: int) -> None:
        for start in starts:
            sales.write(rows(*range(start, start + 5)), "append")

    grow(0, 5, 10)
    small = change(0)
    grow(*range(15, 50, 5))
    assert change(5) == small <= 4
    app.contracts.put(app.catalog.dataset("a.sales"), CONTRACT.replace("avg(price)", "median(price)"))
    assert change(10) > 9, "a rule that cannot be taken apart reads the table"


def test_an_extreme_whose_row_goes_is_looked_for_once(lake: Lake, app: Application, read: list[str]) -> None:
    sales = create(lake)
    for number in range(8):
        sales.write(rows(number, price=f"{number}.00", day=-abs(number - 4)), "append")
    assert opened_by(read, lambda: sales.write(rows(2).select(["id"]), "delete")) < 4
    assert opened_by(read, lambda: sales.write(rows(7).select(["id"]), "delete")) >= 6
    assert opened_by(read, lambda: sales.write(rows(8, price="8.00"), "append")) < 4
    kept, true = kept_and_true(app)
    assert kept == true


def test_what_is_refused_leaves_what_is_kept_alone(lake: Lake, app: Application) -> None:
    sales = create(lake)
    sales.write(rows(1), "append")
    before, _ = kept_and_true(app)
    with pytest.raises(ContractViolationError, match=r"total: .* '1000.10', which must be less than 1000"):
        sales.write(rows(2, price="999.00"), "append")
    assert kept_and_true(app) == (before, before)


def test_a_writer_that_was_overtaken_reads_no_table_but_tries_again(lake: Lake, app: Application) -> None:
    sales = create(lake)
    sales.write(rows(1), "append")
    target = app.catalog.dataset("a.sales")
    before = app.tables.load(target.version)
    sales.write(rows(2), "append")
    change = Change(target.dataset, target.version, before, app.tables.load(app.catalog.dataset("a.sales").version))
    with pytest.raises(CommitConflictError, match="Another writer"):
        app.contracts.check(change)


def test_a_contract_tells_which_of_its_rules_read_the_table(lake: Lake) -> None:
    sales = create(lake, CONTRACT.replace("avg(price)", "median(price)"))
    costs = sales.contract().costs
    assert costs["mean"] == "the table: median follows from all rows, not from sums and counts"
    assert {costs[name] for name in ("rows", "total", "newest", "dearest", "keys", "id.required")} == {"the change"}
