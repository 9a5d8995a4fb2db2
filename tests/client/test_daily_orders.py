"""A team's dataset of orders over a few days: merges, then every kind of evolution with a merge behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv

import cordillera
from cordillera.client.dataset import Dataset
from cordillera.errors import IncompatibleSchemaError
from cordillera.spec.schema_evolution import AddColumn, RenameColumn, WidenColumn

SCHEMA = pa.schema([("id", pa.int32()), ("day", pa.date32()), ("status", pa.string()), ("total", pa.decimal128(8, 2))])
DAYS = {
    "first": "id,day,status,total\n1,2024-03-01,open,10.00\n2,2024-03-01,open,20.00\n3,2024-03-01,open,30.00\n"
    "4,2024-03-02,open,40.00\n",
    "second": "id,day,status,total\n2,2024-03-01,paid,21.00\n5,2024-03-02,open,50.00\n6,2024-04-01,open,60.00\n",
    "third": "id,status\n1,sent\n5,paid\n7,open\n",
}
AFTER_THREE = {
    1: (date(2024, 3, 1), "sent", Decimal("10.00")),
    2: (date(2024, 3, 1), "paid", Decimal("21.00")),
    3: (date(2024, 3, 1), "open", Decimal("30.00")),
    4: (date(2024, 3, 2), "open", Decimal("40.00")),
    5: (date(2024, 3, 2), "paid", Decimal("50.00")),
    6: (date(2024, 4, 1), "open", Decimal("60.00")),
    7: (None, "open", None),
}


@pytest.fixture(params=["merge-on-read", "copy-on-write", "auto"])
def orders(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Dataset]:
    """The dataset after three merge files."""
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        dataset = lake.create_dataset("sales.orders", SCHEMA, key=["id"], write_mode=request.param)
        for name, text in DAYS.items():
            (tmp_path / f"{name}.csv").write_text(text)
            given = csv.read_csv(tmp_path / f"{name}.csv")
            rows = given.cast(pa.schema([SCHEMA.field(column) for column in given.column_names]))
            dataset.merge(rows).when_matched().update().when_not_matched().insert().execute()
        yield dataset


def stored(dataset: Dataset) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in zip(*dataset.scan().to_arrow().to_pydict().values(), strict=True)}


def files(dataset: Dataset) -> dict[str, str]:
    """Every file of the table but those that say where it is now: data files, manifests, deletes."""
    table = Path(dataset.metadata_location.removeprefix("file://")).parent.parent
    found = (path for path in table.rglob("*") if path.is_file() and ".metadata.json" not in path.name)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_three_merge_files_leave_seven_rows(orders: Dataset) -> None:
    assert stored(orders) == AFTER_THREE
    counts = [(s.rows_inserted, s.rows_updated, s.rows_deleted) for s in reversed(orders.snapshots())]
    assert counts == [(4, 0, 0), (2, 1, 0), (1, 2, 0)]


def test_every_evolution_leaves_files_as_they_are_and_merges_go_on(orders: Dataset) -> None:
    expected = dict(AFTER_THREE)

    def merge(number: int, **values: Any) -> None:
        row = {"id": number, **values}
        rows = pa.Table.from_pylist([row], schema=pa.schema([orders.schema.field(name) for name in row]))
        result = orders.merge(rows).when_matched().update().when_not_matched().insert().execute()
        assert (result.rows_inserted, result.rows_updated) == ((0, 1) if number in expected else (1, 0))

    before, untouched = files(orders), orders.snapshots()
    orders.partition_by("month(day)")
    assert (files(orders), orders.snapshots(), stored(orders)) == (before, untouched, expected)
    merge(3, status="sent")
    expected[3] = (date(2024, 3, 1), "sent", Decimal("30.00"))
    assert stored(orders) == expected

    before = files(orders)
    orders.evolve(AddColumn("channel", pa.string(), default="shop"))
    expected = {number: (*row, "shop") for number, row in expected.items()}
    assert (files(orders), stored(orders)) == (before, expected)
    merge(4, channel="web")
    merge(8, day=date(2024, 4, 2), channel="web")
    expected[4], expected[8] = (*expected[4][:3], "web"), (date(2024, 4, 2), None, None, "web")
    assert stored(orders) == expected

    before = files(orders)
    orders.evolve(RenameColumn("status", "state"))
    assert orders.schema.names == ["id", "day", "state", "total", "channel"]
    assert (files(orders), stored(orders)) == (before, expected)
    merge(6, state="paid")
    expected[6] = (date(2024, 4, 1), "paid", Decimal("60.00"), "shop")
    assert stored(orders) == expected

    before = files(orders)
    orders.evolve(WidenColumn("id", pa.int64()), WidenColumn("total", pa.decimal128(12, 2)))
    assert (files(orders), stored(orders)) == (before, expected)
    merge(2**40, total=Decimal("1234567890.12"))
    merge(7, day=date(2024, 3, 3), total=Decimal("70.00"))
    expected[2**40] = (None, None, Decimal("1234567890.12"), "shop")
    expected[7] = (date(2024, 3, 3), "open", Decimal("70.00"), "shop")
    assert stored(orders) == expected

    before = files(orders)
    for narrower in (WidenColumn("id", pa.int32()), WidenColumn("total", pa.decimal128(8, 2))):
        with pytest.raises(IncompatibleSchemaError, match="cannot become"):
            orders.evolve(narrower)
    assert (files(orders), stored(orders)) == (before, expected)
    past = orders.scan(as_of=3).to_arrow()
    assert {row["id"]: tuple(row.values())[1:] for row in past.to_pylist()} == AFTER_THREE
