"""Derived completions on a lake, whatever the order in which rows, announcements and upstream partitions come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.client.dataset import Dataset
from cordillera.errors import InvalidInputError, NotAllowedError, UnknownColumnError
from cordillera.spec.completion_rule import CompletionRule, PartitionStatus
from tests.conftest import MovableClock

SCHEMA = {"id": pa.int64(), "day": pa.date32(), "amount": pa.decimal128(10, 2), "note": pa.string()}


@pytest.fixture
def sales(timed_lake: Lake) -> Lake:
    timed_lake.create_namespace("sales")
    return timed_lake


@pytest.fixture
def orders(sales: Lake) -> Dataset:
    return sales.create_dataset("sales.orders", SCHEMA, key=["id"], completion_unit="day")


def put(dataset: Dataset, day: str, *ids: int, amount: str = "1.00", note: str = "") -> None:
    rows = [{"id": n, "day": date.fromisoformat(day), "amount": Decimal(amount), "note": note} for n in ids]
    dataset.write(rows, "upsert")


def revisions(dataset: Dataset) -> dict[str, int]:
    return {one.partition: one.revision for one in dataset.completions()}


def why(dataset: Dataset, day: str) -> str:
    return "; ".join(reason.text for reason in dataset.explain_completion(day).reasons)


def test_enough_rows_make_a_partition_complete(sales: Lake, orders: Dataset) -> None:
    orders.put_completion_rule(CompletionRule(column="day", min_rows=3))
    put(orders, "2026-01-01", 1, 2)
    put(orders, "2026-01-02", 3, 4, 5)
    sales.run_pending()
    assert revisions(orders) == {"2026-01-02": 1}
    assert why(orders, "2026-01-01") == "it has 2 rows, at least 3 are expected"
    put(orders, "2026-01-01", 6)
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1, "2026-01-02": 1}
    completion = orders.completion("2026-01-01")
    assert completion is not None
    assert (completion.sequence_number, completion.declared_by) == (3, "rule")


def test_late_rows_restate_a_partition_and_only_that(sales: Lake, orders: Dataset) -> None:
    orders.put_completion_rule(CompletionRule(column="day", min_rows=1))
    put(orders, "2026-01-01", 1)
    put(orders, "2026-01-02", 2)
    sales.run_pending()
    put(orders, "2026-01-01", 1, note="corrected")
    sales.run_pending()
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 2, "2026-01-02": 1}
    orders.compact()
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 2, "2026-01-02": 1}, "rows that only move change no partition"
    assert orders.explain_completion("2026-01-01").status is PartitionStatus.RESTATED


def test_a_row_that_moves_restates_both_partitions_once_they_hold_again(sales: Lake, orders: Dataset) -> None:
    orders.put_completion_rule(CompletionRule(column="day", min_rows=1))
    put(orders, "2026-01-01", 1)
    put(orders, "2026-01-02", 2)
    sales.run_pending()
    put(orders, "2026-01-02", 1)
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1, "2026-01-02": 2}
    explained = orders.explain_completion("2026-01-01")
    assert (explained.status, explained.rows) == (PartitionStatus.CHANGED, 0)
    put(orders, "2026-01-01", 7)
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 2, "2026-01-02": 2}


def test_a_declared_partition_is_restated_by_late_rows(sales: Lake, orders: Dataset) -> None:
    orders.put_completion_rule(CompletionRule(column="day"))
    put(orders, "2026-01-01", 1)
    sales.run_pending()
    assert revisions(orders) == {}
    assert why(orders, "2026-01-01") == "nobody has declared it complete, and no rule does"
    row = {"id": 2, "day": date(2026, 1, 1), "amount": Decimal(1), "note": ""}
    orders.write([row], "upsert", completes="2026-01-01")
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1}, "what comes with the declaration is not late"
    orders.write([{"id": 1}], "delete")
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 2}


def test_announced_totals_have_to_be_met(sales: Lake, orders: Dataset) -> None:
    rule = CompletionRule(column="day", announced=True, totals=("amount",))
    orders.put_completion_rule(rule)
    put(orders, "2026-01-01", 1, 2, amount="2.50")
    sales.run_pending()
    assert why(orders, "2026-01-01") == "nobody has announced how many rows there will be"
    orders.announce("2026-01-01", 2, {"amount": "5.10"})
    sales.run_pending()
    assert why(orders, "2026-01-01") == "the total of amount is 5.00, 5.10 was announced"
    put(orders, "2026-01-01", 2, amount="2.60")
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1}
    orders.announce("2026-01-02", 0, {"amount": "0"})
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1, "2026-01-02": 1}, "a day on which nothing happened"


def test_the_watermark_completes_what_it_has_passed(sales: Lake, clock: MovableClock) -> None:
    events = sales.create_dataset("sales.events", {"id": pa.int64(), "at": pa.timestamp("us", "UTC")},
                                  key=["id"], completion_unit="day")  # fmt: skip
    rule = CompletionRule(column="at", timezone="America/New_York", lateness_seconds=3600, workdays=("mon", "fri"))
    events.put_completion_rule(rule)

    def at(number: int, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> None:
        events.write([{"id": number, "at": datetime(year, month, day, hour, minute, tzinfo=UTC)}], "upsert")
        sales.run_pending()

    clock.advance(days=30)
    at(1, 2026, 1, 1, 12)
    at(2, 2026, 1, 2, 5, 59)  # 00:59 in New York
    assert revisions(events) == {}
    assert "2026-01-02T01:00:00 is needed" in why(events, "2026-01-01")
    at(3, 2026, 1, 2, 6)
    assert revisions(events) == {"2026-01-01": 1}
    at(4, 2026, 1, 6, 12)
    assert revisions(events) == {"2026-01-01": 1, "2026-01-02": 1, "2026-01-05": 1}, "nothing is expected on others"
    at(5, 2026, 1, 3, 12)
    assert revisions(events)["2026-01-03"] == 1, "rows that come late are complete at once"
    at(6, 9990, 1, 1)
    assert set(revisions(events)) <= {one.isoformat() for one in (date(2026, 1, n) for n in range(1, 32))}


def test_upstream_partitions_have_to_be_complete(sales: Lake, orders: Dataset) -> None:
    rates = sales.create_dataset("sales.rates", {"day": pa.date32()}, completion_unit="day")
    stock = sales.create_dataset("sales.stock", {"month": pa.string()}, completion_unit="month")
    upstream = {"sales.rates": "trailing 2 days", "sales.stock": "month of day"}
    orders.put_completion_rule(CompletionRule(column="day", upstream=upstream))
    put(orders, "2026-01-02", 1)
    sales.run_pending()
    rates.complete("2026-01-01")
    stock.complete("2026-01")
    sales.run_pending()
    assert why(orders, "2026-01-02") == "waiting for sales.rates 2026-01-02"
    rates.complete("2026-01-02")
    rates.complete("2026-01-02")
    sales.run_pending()
    assert revisions(orders) == {"2026-01-02": 1}


def test_workdays_of_upstream_partitions_are_counted_on_the_own_calendar(sales: Lake, orders: Dataset) -> None:
    rates = sales.create_dataset("sales.rates", {"day": pa.date32()}, completion_unit="day")
    rule = CompletionRule(column="day", upstream={"sales.rates": "days since workday"})
    with pytest.raises(InvalidInputError, match="counts workdays"):
        orders.put_completion_rule(rule)
    orders.put_completion_rule(replace(rule, workdays=("mon", "tue", "wed", "thu", "fri")))
    for day in (3, 4):
        rates.complete(f"2026-01-{day:02}")
    sales.run_pending()
    assert why(orders, "2026-01-05") == "waiting for sales.rates 2026-01-05"
    rates.complete("2026-01-05")
    sales.run_pending()
    assert revisions(orders) == {"2026-01-05": 1}, "nothing is expected on Saturday and Sunday"


def test_rules_that_are_set_later_count_what_is_there(sales: Lake, orders: Dataset) -> None:
    put(orders, "2026-01-01", 1, 2)
    put(orders, "2026-01-02", 3)
    orders.complete("2026-01-02")
    orders.put_completion_rule(CompletionRule(column="day", min_rows=2))
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1, "2026-01-02": 1}
    orders.put_completion_rule(CompletionRule(column="day", min_rows=1))
    put(orders, "2026-01-02", 4)
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1, "2026-01-02": 2}
    orders.remove_completion_rule()
    assert orders.completion_rule() is None
    put(orders, "2026-01-02", 5)
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1, "2026-01-02": 2}


def test_partitions_by_value_and_as_a_whole(sales: Lake) -> None:
    schema = {"id": pa.int64(), "region": pa.string()}
    regions = sales.create_dataset("sales.regions", schema, key=["id"], completion_unit="value")
    regions.put_completion_rule(CompletionRule(column="region", min_rows=2))
    regions.write([{"id": 1, "region": "north"}, {"id": 2, "region": "north"}, {"id": 3, "region": "a\nb"},
                   {"id": 4, "region": None}, {"id": 5, "region": "a\nb"}], "append")  # fmt: skip
    whole = sales.create_dataset("sales.whole", schema, key=["id"])
    whole.put_completion_rule(CompletionRule(min_rows=1))
    sales.run_pending()
    assert revisions(regions) == {"north": 1}
    assert revisions(whole) == {}
    whole.write([{"id": 1, "region": "x"}], "append")
    sales.run_pending()
    assert revisions(whole) == {"all": 1}


def test_a_rule_that_can_be_followed_no_more_says_so(sales: Lake, orders: Dataset) -> None:
    from cordillera.spec.schema_evolution import DropColumn, RenameColumn

    orders.put_completion_rule(CompletionRule(column="day", min_rows=1))
    orders.evolve(RenameColumn("day", "date"), DropColumn("note"))
    orders.write([{"id": 1, "date": date(2026, 1, 1), "amount": Decimal(1)}], "upsert")
    sales.run_pending()
    found = orders.completion_rule()
    assert found is not None
    assert "no column 'day'" in found.problem
    assert "cannot be followed" in why(orders, "2026-01-01")
    orders.put_completion_rule(CompletionRule(column="date", min_rows=1))
    sales.run_pending()
    assert revisions(orders) == {"2026-01-01": 1}


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (CompletionRule(), InvalidInputError),
        (CompletionRule(column="nope"), UnknownColumnError),
        (CompletionRule(column="note"), InvalidInputError),
        (CompletionRule(column="day", totals=("amount",)), InvalidInputError),
        (CompletionRule(column="day", totals=("note",), announced=True), InvalidInputError),
        (CompletionRule(column="day", timezone="Mars/Base"), InvalidInputError),
        (CompletionRule(column="day", min_rows=-1), InvalidInputError),
        (CompletionRule(column="day", lateness_seconds=-1), InvalidInputError),
        (CompletionRule(column="day", upstream={"sales.orders": "same"}), NotAllowedError),
        (CompletionRule(column="day", upstream={"sales.monthly": "same"}), InvalidInputError),
        (CompletionRule(column="day", upstream={"sales.monthly": "soon"}), InvalidInputError),
        (CompletionRule(column="day", workdays=("someday",)), InvalidInputError),
    ],
)
def test_rules_that_cannot_be_are_refused(
    sales: Lake, orders: Dataset, rule: CompletionRule, error: type[Exception]
) -> None:
    sales.create_dataset("sales.monthly", {"month": pa.string()}, completion_unit="month")
    with pytest.raises(error):
        orders.put_completion_rule(rule)
    assert orders.completion_rule() is None
