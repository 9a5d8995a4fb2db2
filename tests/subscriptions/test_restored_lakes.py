"""A lake that is put back from a copy finds the targets that went further meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from cordillera.spec.subscription import Equality, Subscription


@pytest.fixture
def subscribed(tmp_path: Path) -> Iterator[tuple[Lake, Subscription]]:
    """A lake as it was two commits before those that its target has."""
    place, copy = tmp_path / "lake", tmp_path / "copy"
    with cordillera.create(place) as lake:
        lake.create_namespace("sales")
        orders = lake.create_dataset("sales.orders", {"id": pa.int64(), "n": pa.int64()}, key=["id"])
        orders.write([{"id": 1, "n": 0}], "append")
        lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
        made = orders.subscribe("copy")
        lake.run_pending()
    shutil.copytree(place, copy)
    with cordillera.open(place) as lake:
        for number in (2, 3):
            lake.dataset("sales.orders").write([{"id": number, "n": 1}], "append")
        lake.run_pending()
    shutil.rmtree(place)
    copy.rename(place)
    with cordillera.open(place) as lake:
        yield lake, made


def test_a_target_that_is_ahead_of_the_lake_is_told_of(subscribed: tuple[Lake, Subscription]) -> None:
    lake, made = subscribed
    lake.dataset("sales.orders").write([{"id": 2, "n": 2}], "append")
    lake.run_pending()
    found = lake.backend.subscription(made.id).subscription
    assert found.state == "failed"
    assert "copy holds snapshot 3 of sales.orders, whose newest is 2: an earlier state of the lake" in found.last_error


@pytest.mark.parametrize("commits", [2, 4])
def test_other_rows_under_the_numbers_that_a_target_has_are_found(
    subscribed: tuple[Lake, Subscription], commits: int
) -> None:
    lake, made = subscribed
    for number in range(2, 2 + commits):
        lake.dataset("sales.orders").write([{"id": 10 * number, "n": 2}], "append")
    lake.run_pending()
    assert lake.backend.subscription(made.id).subscription.equality is Equality.DRIFTED
    lake.backend.repair_subscription(made.id)
    lake.backend.verify_subscription(made.id)
    assert lake.backend.subscription(made.id).subscription.equality is Equality.EQUAL
