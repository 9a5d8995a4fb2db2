"""From a badly laid-out dataset by the advice about it to one whose scans read as little as was foretold."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import cordillera
from cordillera.cli.main import main
from cordillera.client import Dataset, Lake
from cordillera.spec.advice import Proposal, ProposalKind
from cordillera.spec.scan_statistics import ALL_COLUMNS

ROWS, GROUP, TIMES = 60_000, 1_000, 12
SCHEMA = pa.schema({"id": pa.int64(), "day": pa.date32(), "customer": pa.int64(), "region": pa.string()})


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake whose files may be small, so that a table of few rows has many."""
    rows = ("data_writer.ROW_GROUP_ROWS", "parquet_encoding.ROW_GROUP_ROWS", "reader._BATCH_ROWS")
    for constant in rows:
        monkeypatch.setattr(f"cordillera.table.{constant}", GROUP)
    monkeypatch.setattr("cordillera.adapters.engines.duckdb_engine._BATCH_ROWS", GROUP)
    monkeypatch.setenv("CORDILLERA_LAKE", str(tmp_path / "lake"))
    with cordillera.create(tmp_path / "lake") as made:
        made.create_namespace("sales")
        yield made


@pytest.fixture
def orders(lake: Lake) -> Dataset:
    """A dataset every file of which holds rows of the whole year, of all customers and regions."""
    random = np.random.default_rng(7)
    dataset = lake.create_dataset(
        "sales.orders",
        SCHEMA,
        key=["id"],
        properties={"write.target-file-size-bytes": "8000", "cordillera.maintenance.enabled": "false"},
    )
    first = (date(2025, 1, 1) - date(1970, 1, 1)).days
    columns = {
        "id": random.permutation(ROWS),
        "day": pa.array(first + random.integers(0, 360, ROWS), pa.int32()).cast(pa.date32()),
        "customer": random.integers(0, 20_000, ROWS),
        "region": random.choice(["north", "south", "east", "west"], ROWS),
    }
    batches = pa.table(columns, schema=SCHEMA).to_batches(GROUP)
    dataset.write(pa.RecordBatchReader.from_batches(SCHEMA, batches), "append")
    assert dataset.details().version.files > 20
    return dataset


def _advised(orders: Dataset, kind: ProposalKind) -> Proposal:
    (proposal,) = orders.advise().proposals
    assert proposal.kind is kind
    assert proposal.read_then < proposal.read_now / 2
    return proposal


def _follow(proposal: Proposal) -> None:
    for command in proposal.commands:
        program, *arguments = shlex.split(command)
        assert program == "cordillera"
        assert main(arguments) == 0, command


def _files_read(lake: Lake, scan: Callable[[int], object]) -> float:
    """Return how many files scans read on the average, as they are recorded."""
    backend: Any = lake.backend
    app = backend.app

    def total() -> tuple[int, int]:
        app.scans.flush()
        with app.store.read() as tx:
            sums = tx.scans.totals(app.catalog.dataset("sales.orders").version.id, date(2000, 1, 1))
        return next(((one.scans, one.files_read) for one in sums if one.column_id == ALL_COLUMNS), (0, 0))

    before = total()
    for number in range(TIMES):
        scan(number)
    after = total()
    assert after[0] - before[0] == TIMES
    return (after[1] - before[1]) / TIMES


def test_ranges_of_days(lake: Lake, orders: Dataset) -> None:
    def scan(number: int) -> None:
        month = f"2025-{number % 12 + 1:02d}"
        lake.sql(f"SELECT count(*) FROM sales.orders WHERE day BETWEEN '{month}-05' AND '{month}-14'").read_all()

    before = _files_read(lake, scan)
    proposal = _advised(orders, ProposalKind.PARTITION)
    assert proposal.what == "Partition by month(day)."
    assert proposal.read_now == before == orders.details().version.files
    _follow(proposal)
    assert orders.details().version.partitioning == ("month(day)",)
    assert _files_read(lake, scan) <= 1.5 * proposal.read_then
    assert orders.advise().proposals == ()
    assert orders.details().version.rows == ROWS


def test_single_customers(lake: Lake, orders: Dataset) -> None:
    def scan(number: int) -> None:
        orders.scan(where=f"customer = {number * 1500}").to_arrow()

    before = _files_read(lake, scan)
    proposal = _advised(orders, ProposalKind.SORT)
    assert proposal.read_now == round(before)
    _follow(proposal)
    assert orders.details().version.sort_order == ("customer",)
    assert orders.maintenance().policy.strategy == "sort"
    assert _files_read(lake, scan) <= 1.5 * proposal.read_then
    assert orders.advise().proposals == ()


def test_customers_and_orders(lake: Lake, orders: Dataset) -> None:
    def scan(number: int) -> None:
        column = ("customer", "id")[number % 2]
        orders.scan(where=f"{column} BETWEEN {number * 1500} AND {number * 1500 + 99}").to_arrow()

    for _ in range(2):
        _files_read(lake, scan)
    proposal = _advised(orders, ProposalKind.Z_ORDER)
    assert sorted(proposal.what.removeprefix("Z-order by ").rstrip(".").split(" and ")) == ["customer", "id"]
    _follow(proposal)
    assert _files_read(lake, scan) <= 1.5 * proposal.read_then
    assert orders.advise().proposals == ()


def test_customers_of_a_table_in_the_order_of_its_key(lake: Lake, orders: Dataset) -> None:
    orders.sort_by("id")
    orders.compact("sort")

    def scan(number: int) -> None:
        orders.scan(where=f"customer = {number * 1500}").to_arrow()

    def by_id(number: int) -> None:
        orders.scan(where=f"id BETWEEN {number * 1500} AND {number * 1500 + 99}").to_arrow()

    def found() -> list[object]:
        return orders.scan(where="customer = 1500").to_arrow().sort_by("id").to_pylist()

    before = found()
    for kind in (scan, by_id, by_id, by_id):
        _files_read(lake, kind)
    proposal = _advised(orders, ProposalKind.BLOOM_FILTER)
    assert proposal.what == "Have Bloom filters of customer."
    _follow(proposal)
    assert orders.bloom_filters() == ["customer"]
    assert orders.advise().proposals == ()
    assert found() == before != []


def test_values_that_are_counted_are_not_sampled(lake: Lake, orders: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.refresh_statistics(["region"])
    monkeypatch.setattr("cordillera.advice.evidence._SAMPLED_FILES", 0)  # to sample would fail
    for _ in range(TIMES):
        orders.scan(where="region = 'north'").to_arrow()
    assert [one.what for one in orders.advise().proposals] == ["Partition by region."]


def test_regions(lake: Lake, orders: Dataset) -> None:
    def scan(_: int) -> None:
        orders.scan(where="region = 'north'").to_arrow()

    _files_read(lake, scan)
    proposal = _advised(orders, ProposalKind.PARTITION)
    assert proposal.what == "Partition by region."
    _follow(proposal)
    assert _files_read(lake, scan) <= 1.5 * proposal.read_then
    assert orders.advise().proposals == ()


def test_merges_whose_keys_lie_close_together(orders: Dataset) -> None:
    def merge(number: int) -> int:
        ids = pa.array(range(number * 3_000, number * 3_000 + 500))
        nothing = {name: pa.nulls(500, SCHEMA.field(name).type) for name in SCHEMA.names[1:]}
        orders.write(pa.table({"id": ids, **nothing}, schema=SCHEMA), "upsert")
        return orders.snapshots(limit=1)[0].files_added - 1  # all but the new rows are vectors of files touched

    before = max(merge(number) for number in range(10))
    advice = orders.advise()
    proposal = _advised(orders, ProposalKind.SORT)
    assert (advice.merges, proposal.what) == (10, "Sort by id.")
    assert "In 10 of 10 merges the keys lay close together" in proposal.why
    _follow(proposal)
    after = max(merge(number) for number in range(10, 20))
    assert after <= 1.5 * proposal.read_then < before / 2


def test_two_columns_asked_for_together_are_not_z_ordered(orders: Dataset) -> None:
    for number in range(TIMES):
        orders.scan(where=f"customer = {number * 1500} AND id > {number * 1000}").to_arrow()
    assert _advised(orders, ProposalKind.SORT).what == "Sort by customer."
