"""What a lake makes of a target, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from cordillera.client import Lake
from cordillera.spec.subscription import Equality


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
