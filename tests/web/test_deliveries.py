"""A subscription's page tells what its deliveries brought, and why they brought more than what changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pyarrow as pa

import cordillera
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.web.conftest import read

DAY = datetime(2013, 1, 1, tzinfo=UTC)


def test_deliveries_say_why_they_brought_everything_anew(tmp_path: Path) -> None:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        schema = {"id": pa.int64(), "at": pa.timestamp("us", "UTC")}
        orders = lake.create_dataset("sales.orders", schema, key=["id"], partitioning=["day(at)"])
        lake.create_target("files", "parquet", root=str(tmp_path / "files"), layout="partitions")
        made = orders.subscribe("files")

        def put(days: dict[int, int]) -> None:
            orders.write([{"id": number, "at": DAY + timedelta(day)} for number, day in days.items()], "upsert")
            lake.run_pending()

        put({1: 0, 2: 1, 3: 2})
        put({3: 3})
        orders.partition_by("month(at)")
        put({4: 3})
        with running_server(create_server(lake.backend.app, insecure_local=True)) as url:
            answer = httpx2.get(
                f"{url}/subscriptions/{made.id}", headers={"Accept": "text/html"}, trust_env=False, timeout=60
            )
    told = read(answer.text).text
    newest, second, first = (
        told.index(words)
        for words in ("everything anew: files of an earlier partitioning are left", "2 partitions anew", "first, to 1")
    )
    assert newest < second < first
