"""What a lake makes of a target, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from cordillera.client import Lake
from cordillera.spec.subscription import Equality

STATES = "SELECT id, amount, _commit_sequence_number, _is_current FROM orders ORDER BY 1, 3"
"""What ``assert_history_kept_and_repaired`` asks of a history, in SQL."""


def assert_proven_equal_and_repaired(
    lake: Lake, kind: str, settings: Mapping[str, str], execute: Callable[[str], Any], spoilt: Sequence[str]
) -> None:
    """Deliver orders to a target, spoil the table there, find what is wrong, and have it put right.

    Args:
        lake: A lake without anything in it.
        kind, settings: The target's.
        execute: Runs a statement in the target and returns its rows.
        spoilt: Statements that remove the orders 5 and 6, change order 7 and add another.
    """
    schema = pa.schema([("id", pa.int64()), ("region", pa.string()), ("amount", pa.float64())])
    lake.create_namespace("sales")
    orders = lake.create_dataset("sales.orders", schema, key=["id"])
    orders.write([{"id": n, "region": f"r{n % 7}", "amount": n / 7} for n in range(200)], "append")
    lake.create_target("copy", kind, **settings)
    lake.backend.check_target("copy")
    made = orders.subscribe("copy")
    lake.run_pending()
    assert lake.backend.subscription(made.id).subscription.equality == Equality.EQUAL
    orders.write([{"id": 3}], "delete")
    lake.run_pending()
    before = execute("SELECT * FROM orders ORDER BY id")
    assert len(before) == 199
    for statement in spoilt:
        execute(statement)
    found = lake.backend.verify_subscription(made.id)
    assert (found.rows_missing, found.rows_unexpected, found.rows_different) == (2, 1, 1)
    repaired = lake.backend.repair_subscription(made.id)
    assert (repaired.rows_restored, repaired.rows_removed, repaired.verified.equal) == (3, 1, True)
    assert execute("SELECT * FROM orders ORDER BY id") == before


def assert_history_kept_and_repaired(
    lake: Lake, kind: str, settings: Mapping[str, str], states: Callable[[], Sequence[Any]], spoil: Callable[[], Any]
) -> None:
    """Keep the history of orders in a target, spoil what holds there, find what is wrong, and have it put right.

    Args:
        lake: A lake without anything in it.
        kind, settings: The target's.
        states: Returns the rows of ``orders`` there: id, amount, commit, whether it holds; by id and commit.
        spoil: Gives the order 1 the amount 98 in its current row.
    """
    lake.create_namespace("sales")
    orders = lake.create_dataset("sales.orders", {"id": pa.int64(), "amount": pa.int64()}, key=["id"])
    orders.write([{"id": 1, "amount": 10}, {"id": 2, "amount": 20}], "append")
    lake.create_target("copy", kind, **settings)
    made = orders.subscribe("copy", mode="history")
    lake.run_pending()
    orders.write([{"id": 1, "amount": 11}], "upsert")
    orders.write([{"id": 1, "amount": 12}], "upsert")
    orders.write([{"id": 2}], "delete")
    lake.run_pending()
    expected = [(1, 10, 1, False), (1, 11, 2, False), (1, 12, 3, True), (2, 20, 1, False)]
    assert [tuple(row) for row in states()] == expected
    record = lake.backend.subscription_deliveries(made.id)[0]
    assert (record.rows_inserted, record.rows_updated, record.rows_deleted) == (2, 2, 0)
    assert lake.backend.verify_subscription(made.id).equal
    spoil()
    found = lake.backend.verify_subscription(made.id)
    assert (found.rows_missing, found.rows_unexpected, found.rows_different, found.keys_unsound) == (0, 0, 1, 0)
    assert lake.backend.repair_subscription(made.id).verified.equal
    assert [tuple(row) for row in states()][:3] == [*expected[:2], (1, 98, 3, False)]
    assert [tuple(row) for row in states()][3:] == [(1, 12, 4, True), expected[3]]
