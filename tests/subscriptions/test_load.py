"""How much targets are given at once, and how fast: by their settings, or by what their kind takes well."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cordillera.client import Lake
from cordillera.errors import MissingExtraError
from cordillera.spec.subscription import Target
from cordillera.subscriptions.load import TargetLoad
from cordillera.testing.synchronizer_deliveries import ORDERS, deliver
from cordillera.testing.synchronizer_memory import MemorySynchronizer
from tests.conftest import MovableClock

IDS = pa.schema([("id", pa.int64())])


class Seconds:
    """A clock that passes by waiting, and by what the target takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        assert seconds < 1.001, "nobody could stop it meanwhile"
        self.now += seconds


def target(**config: str) -> Target:
    return Target(uuid4(), "copy", "memory", config, "ada", MovableClock().now())


def memory(kind: str, config: Mapping[str, str]) -> MemorySynchronizer:
    return MemorySynchronizer()


@given(
    sizes=st.lists(st.integers(1, 300), max_size=4),
    limit=st.integers(20, 500),
    at_once=st.integers(1, 5),
    slowness=st.floats(0, 2),
)
def test_rows_come_no_faster_than_the_share_of_a_delivery(
    sizes: list[int], limit: int, at_once: int, slowness: float
) -> None:
    clock = Seconds()
    load = TargetLoad(memory, lambda: clock.now, clock.wait)
    keys = [pa.record_batch([pa.array(range(size), pa.int64())], schema=IDS) for size in sizes]
    given_rows = deliver(ORDERS, (1, 2), deletes=lambda: pa.RecordBatchReader.from_batches(IDS, keys))
    paced = load.paced(given_rows, target(rows_per_second=str(limit), deliveries_at_once=str(at_once)))
    arrived: list[tuple[float, int]] = []
    for batch in paced.deletes():
        arrived.append((clock.now, batch.num_rows))
        clock.now += slowness
    assert sum(rows for _, rows in arrived) == sum(sizes)
    for (since, rows), (until, _) in pairwise(arrived):  # each has its time, however slow the target was before
        assert rows * at_once <= limit * (until - since) + 1e-6


def test_a_delivery_to_a_target_without_limits_is_left_as_it_is() -> None:
    delivery = deliver(ORDERS, (1, 2))
    assert TargetLoad(memory).paced(delivery, target(deliveries_at_once="1")) is delivery


def test_settings_go_before_what_a_kind_takes() -> None:
    def missing(kind: str, config: Mapping[str, str]) -> Any:
        raise MissingExtraError("The package is not installed.")

    assert TargetLoad(memory).at_once(target()) == 4
    assert TargetLoad(memory).at_once(target(deliveries_at_once="9")) == 9
    assert TargetLoad(missing).at_once(target()) == 4


def test_a_paced_target_gets_everything(lake: Lake, tmp_path: Any) -> None:
    lake.create_namespace("a")
    orders = lake.create_dataset("a.orders", {"id": pa.int64()}, key=["id"])
    orders.write(pa.table({"id": range(1000)}), "append")
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"), rows_per_second="20000")
    made = orders.subscribe("copy")
    lake.run_pending()
    assert lake.backend.verify_subscription(made.id).rows_target == 1000
