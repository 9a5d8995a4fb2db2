"""A lake that may send to this machine, and a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from tests.conftest import MovableClock
from tests.destinations.receiver import Receiver, receiving

SCHEMA = pa.schema([("id", pa.int64())])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def lake(tmp_path: Path, clock: MovableClock) -> Iterator[Lake]:
    """A lake with two datasets, whose clock is the test's."""
    with Lake(LocalBackend(create_lake(tmp_path / "lake", clock=clock, destination_loopback="true"))) as made:
        made.create_namespace("sales", owner="user:owner")
        for name in ("orders", "returns"):
            made.create_dataset(f"sales.{name}", SCHEMA, completion_unit="day")
        made.run_pending()
        yield made


def write(lake: Lake, dataset: str = "sales.orders", *ids: int, completes: str | None = None) -> None:
    for one in ids:
        lake.dataset(dataset).write(pa.table({"id": [one]}, schema=SCHEMA), completes=completes)
