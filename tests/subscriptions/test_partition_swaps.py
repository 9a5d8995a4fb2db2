"""Exports that are laid out by partition: deliveries bring the partitions that changed, and nothing else."""

from __future__ import annotations

import json
import math
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cordillera
from cordillera.client import Lake
from cordillera.context import acting
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.schema_evolution import AddColumn
from cordillera.spec.subscription import Subscription, SubscriptionState
from tests.examples import examples

NAME, ANA = "sales.orders", "user:ana"
DAY = datetime(2013, 1, 1, tzinfo=UTC)


def made_in(folder: Path) -> Lake:
    lake = cordillera.create(folder / "lake")
    lake.create_namespace("sales")
    schema = {"id": pa.int64(), "at": pa.timestamp("us", "UTC"), "region": pa.string()}
    lake.create_dataset(NAME, schema, key=["id"], partitioning=["day(at)"])
    lake.create_target("files", "parquet", root=str(folder / "files"), layout="partitions")
    return lake


@pytest.fixture
def sales(tmp_path: Path) -> Any:
    with made_in(tmp_path) as lake:
        put(lake, {1: 0, 2: 0, 3: 1, 4: 2})
        yield lake


def put(lake: Lake, days: dict[int, int]) -> None:
    rows = [{"id": i, "at": DAY + timedelta(day), "region": f"r{i}"} for i, day in days.items()]
    lake.dataset(NAME).write(rows, "upsert")


def subscribed(lake: Lake) -> Subscription:
    made = lake.dataset(NAME).subscribe("files")
    lake.run_pending()
    return made


def delivered(lake: Lake, of: Subscription) -> DeliveryRecord:
    """Let workers work, and return the figures of the newest delivery, once the target is proven equal."""
    lake.run_pending()
    assert lake.backend.verify_subscription(of.id).equal
    assert lake.backend.subscription(of.id).in_step
    return lake.backend.subscription_deliveries(of.id)[0]


def exported(folder: Path) -> dict[str, str]:
    """Return the file of each partition that the newest export has."""
    marker = json.loads(max(folder.glob("files/orders/*/_SUCCESS")).read_text())
    found = {file["partition"]: file["uri"] for file in marker["files"]}
    assert len(found) == len(marker["files"])
    return found


def test_a_delivery_writes_the_partitions_that_changed(sales: Lake, tmp_path: Path) -> None:
    made = subscribed(sales)
    first = exported(tmp_path)
    assert set(first) == {"at_day=2013-01-01", "at_day=2013-01-02", "at_day=2013-01-03"}
    put(sales, {3: 1, 5: 1})
    told = delivered(sales, made)
    assert (told.whole, told.partitions, told.rows_upserted, told.rows_deleted) == (False, 1, 2, 1)
    assert told.why is DeliveryReason.CHANGED_PARTITIONS
    assert sales.backend.subscription_deliveries(made.id)[-1].why is DeliveryReason.FIRST
    second = exported(tmp_path)
    assert {one for one in second if second[one] != first[one]} == {"at_day=2013-01-02"}


def test_a_row_that_moves_changes_the_partition_it_leaves_and_the_one_it_comes_to(sales: Lake, tmp_path: Path) -> None:
    made = subscribed(sales)
    put(sales, {4: 7})
    assert delivered(sales, made).partitions == 2
    assert set(exported(tmp_path)) == {"at_day=2013-01-01", "at_day=2013-01-02", "at_day=2013-01-08"}
    sales.dataset(NAME).delete_where("id = 3")
    assert delivered(sales, made).partitions == 1
    assert set(exported(tmp_path)) == {"at_day=2013-01-01", "at_day=2013-01-08"}


def test_what_is_only_moved_between_files_is_not_written_again(sales: Lake, tmp_path: Path) -> None:
    made = subscribed(sales)
    put(sales, {6: 0})
    delivered(sales, made)
    before = exported(tmp_path)
    sales.dataset(NAME).compact(rewrite_all=True)
    told = delivered(sales, made)
    assert (told.partitions, told.bytes) == (0, 0)
    assert exported(tmp_path) == before


def test_another_partitioning_or_column_brings_everything_once_and_partitions_after_that(
    sales: Lake, tmp_path: Path
) -> None:
    made, orders = subscribed(sales), sales.dataset(NAME)
    orders.partition_by("month(at)")
    put(sales, {5: 1})
    assert delivered(sales, made).why is DeliveryReason.EARLIER_PARTITIONING
    assert set(exported(tmp_path)) == {"at_month=2013-01"}
    put(sales, {6: 40})
    assert delivered(sales, made).why is DeliveryReason.EARLIER_PARTITIONING  # as long as its files are there
    orders.compact(rewrite_all=True)
    delivered(sales, made)
    put(sales, {7: 40})
    told = delivered(sales, made)
    assert (told.whole, told.partitions) == (False, 1)
    orders.evolve(AddColumn("note", pa.string()))
    orders.delete_where("id = 7")
    assert delivered(sales, made).why is DeliveryReason.TABLE_DIFFERS


def test_a_change_of_every_partition_brings_everything(sales: Lake) -> None:
    made = subscribed(sales)
    put(sales, {1: 0, 3: 1, 4: 2})
    told = delivered(sales, made)
    assert (told.whole, told.why) == (True, DeliveryReason.EVERY_PARTITION)


def test_targets_that_are_laid_out_whole_get_everything(sales: Lake, tmp_path: Path) -> None:
    sales.create_target("plain", "parquet", root=str(tmp_path / "plain"))
    made = sales.dataset(NAME).subscribe("plain")
    sales.run_pending()
    put(sales, {3: 1})
    told = delivered(sales, made)
    assert (told.whole, told.partitions, told.why) == (True, None, DeliveryReason.TAKES_EVERYTHING)


def test_folders_tell_nothing_that_is_not_shown(sales: Lake, tmp_path: Path) -> None:
    sales.dataset(NAME).partition_by("region", "day(at)")
    sales.dataset(NAME).compact(rewrite_all=True)
    sales.grant(ANA, "write", "target:files")
    sales.grant(ANA, "read", NAME, row_filter="id < 4", masks={"region": "hash"})
    with acting(ANA):
        made = sales.dataset(NAME).subscribe("files")
    sales.run_pending()
    assert set(exported(tmp_path)) == {"at_day=2013-01-01", "at_day=2013-01-02"}
    put(sales, {2: 0, 5: 3})
    told = delivered(sales, made)
    assert (told.whole, told.partitions, told.rows_upserted) == (False, 1, 2)  # the day of order 5 does not count
    assert set(exported(tmp_path)) == {"at_day=2013-01-01", "at_day=2013-01-02"}
    sales.grant(ANA, "read", NAME, row_filter="id < 4", masks={"region": "hash", "at": "null"})
    sales.run_pending()
    told = sales.backend.subscription_deliveries(made.id)[0]
    assert (told.whole, told.why) == (True, DeliveryReason.SHOWN_OTHERWISE)


def test_a_damaged_export_is_told_and_repaired(sales: Lake, tmp_path: Path) -> None:
    made = subscribed(sales)
    Path(exported(tmp_path)["at_day=2013-01-01"].removeprefix("file://")).unlink()
    put(sales, {3: 1})
    sales.run_pending()
    found = sales.backend.subscription(made.id).subscription
    assert found.state is SubscriptionState.FAILED
    assert "is gone, or another" in (found.last_error or "")
    assert sales.backend.repair_subscription(made.id).verified.equal
    sales.backend.resume_subscription(made.id)
    assert delivered(sales, made).partitions == 1


# --- every kind of value ----------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[pa.DataType, Any, Any]] = {
    "b": (pa.bool_(), True, False),
    "i": (pa.int32(), 7, -7),
    "f": (pa.float32(), 0.1, -0.0),
    "x": (pa.float64(), math.nan, -math.inf),
    "m": (pa.decimal128(9, 2), Decimal("1.10"), Decimal("-0.01")),
    "d": (pa.date32(), date(2013, 1, 1), date(1, 1, 1)),
    "t": (pa.time64("us"), time(1, 2, 3, 4), time()),
    "s": (pa.timestamp("us"), datetime(2013, 1, 1, 1, 2, 3, 4), datetime(1969, 1, 1)),
    "z": (pa.timestamp("us", "UTC"), DAY, datetime(1900, 1, 1, tzinfo=UTC)),
    "v": (pa.string(), "a/b=%ü", ""),
    "u": (pa.uuid(), UUID(int=7).bytes, UUID(int=2**127).bytes),
    "y": (pa.binary(), b"\0\xff", b""),
    "q": (pa.binary(3), b"abc", b"\0\0\0"),
}


def test_partitions_of_every_kind_of_value_are_found_again(tmp_path: Path) -> None:
    derived = ["truncate(2, v_)", "bucket(4, i_)", "hour(z_)", "month(d_)", "year(s_)"]
    columns = {**{n: kind for n, (kind, *_) in KINDS.items()}, **{f"{n}_": KINDS[n][0] for n in "vizds"}}
    with made_in(tmp_path) as lake:
        kinds = lake.create_dataset(
            "sales.kinds", {"id": pa.int64(), **columns}, key=["id"], partitioning=[*KINDS, *derived]
        )
        values = [[KINDS[name.rstrip("_")][side] for name in columns] for side in (1, 2)]
        rows = [[*values[0], 1], [*values[1], 2], [*(None for _ in columns), 3], [*values[0], 4]]

        def written(*chosen: list[Any]) -> pa.Table:
            arrays = [
                pa.array(one, pa.binary(16) if kind == pa.uuid() else kind).cast(kind)
                for one, kind in zip(zip(*(row[:-1] for row in chosen), strict=True), columns.values(), strict=True)
            ]
            return pa.table([pa.array([row[-1] for row in chosen], pa.int64()), *arrays], names=["id", *columns])

        kinds.write(written(*rows), "upsert")
        made = kinds.subscribe("files")
        lake.run_pending()
        for row in rows[:3]:
            kinds.write(written(row), "upsert")
            told = delivered(lake, made)
            assert (told.whole, told.partitions) == (False, 1)


# --- against everything anew ------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("put"), st.dictionaries(st.integers(1, 6), st.integers(0, 3), min_size=1, max_size=3)),
    st.tuples(st.just("delete"), st.integers(1, 6)),
    st.sampled_from([("compact", None), ("deliver", None), ("deliver", None)]),
    st.tuples(st.just("partition"), st.sampled_from(["day(at)", "bucket(2, id)"])),
)


@settings(max_examples=examples(2))
@given(st.lists(STEP, min_size=4, max_size=8))
def test_whatever_happens_the_target_is_equal(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name, made_in(Path(name)) as lake:
        put(lake, {1: 1, 2: 2})
        made, orders = subscribed(lake), lake.dataset(NAME)
        for step, given_ in steps:
            if step == "compact":
                orders.compact(rewrite_all=True)
            elif step == "deliver":
                delivered(lake, made)
            elif step == "delete":
                orders.delete_where(f"id = {given_}")
            elif step == "partition":
                orders.partition_by(given_)
            else:
                put(lake, given_)
        delivered(lake, made)
