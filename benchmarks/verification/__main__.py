"""Measure what proving a target equal takes, pinpointing ten changed rows and repairing them.

``python -m benchmarks.verification --rows 10000000 --target postgres``. Prints JSON: seconds by the clock, and CPU
seconds of this process, without the server's.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
from tests.servers import start_postgres

import cordillera
from cordillera.client import Lake
from cordillera.spec.subscription import Verification

CHANGED, BATCH = 10, 250_000


def rows(count: int) -> Iterator[pa.Table]:
    """Orders with a key, a text, a float, a date, an instant and a flag."""
    random = np.random.default_rng(1)
    for start in range(0, count, BATCH):
        ids = np.arange(start, min(start + BATCH, count))
        yield pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "customer": pa.array([f"customer {number % 9973}" for number in ids]),
                "amount": pa.array(random.random(len(ids))),
                "day": pa.array((ids % 365 + 19_000).astype("int32"), pa.int32()).cast(pa.date32()),
                "at": pa.array(ids * 1_000_001 + 1_700_000_000_000_000, pa.timestamp("us", "UTC")),
                "ok": pa.array(ids % 3 == 0),
            }
        )


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Do something, and return what it gave and what it took."""
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def filled(lake: Lake, count: int) -> None:
    """Make the dataset ``bench.orders``."""
    lake.create_namespace("bench")
    batches = rows(count)
    first = next(batches)
    orders = lake.create_dataset("bench.orders", first.schema, key=["id"])
    for batch in [first, *batches]:
        orders.write(batch, "append")


def measured(lake: Lake, count: int, change: Callable[[str], object]) -> dict[str, Any]:
    """Deliver, verify twice, change rows behind the lake's back, verify, repair."""
    subscription = lake.dataset("bench.orders").subscribe("copy")
    _, delivered = timed(lake.run_pending)  # proves the first delivery as well
    times = [timed(lambda: lake.backend.verify_subscription(subscription.id))[1] for _ in range(2)]
    change(f"UPDATE orders SET amount = amount + 1 WHERE id % {count // CHANGED} = 7")
    found, pinpointed = timed(lambda: lake.backend.verify_subscription(subscription.id))
    assert isinstance(found, Verification)
    assert found.rows_different == CHANGED
    outcome, repaired = timed(lambda: lake.backend.repair_subscription(subscription.id))
    assert outcome.verified.equal
    return {"first delivery, proven": delivered, "equal": times, "pinpointed": pinpointed, "repaired": repaired}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--target", choices=["postgres", "duckdb"], default="postgres")
    wanted = parser.parse_args()
    with ExitStack() as stack:
        # The server runs under another account, which may not enter the folders that only their owner may.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cordillera-bench-", dir="/tmp")))
        folder.chmod(0o755)
        lake = stack.enter_context(cordillera.create(folder / "lake"))
        filled(lake, wanted.rows)
        if wanted.target == "postgres":
            dsn = stack.enter_context(start_postgres(folder / "server"))
            lake.create_target("copy", "postgres", dsn=dsn)
            connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            figures = measured(lake, wanted.rows, lambda sql: connection.execute(sql.encode()))
        else:
            path = str(folder / "copy.duckdb")
            lake.create_target("copy", "duckdb", path=path)

            def change(sql: str) -> None:
                with duckdb.connect(path) as database:
                    database.execute(sql)

            figures = measured(lake, wanted.rows, change)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    report = {"rows": wanted.rows, "target": wanted.target, **figures, "peak_memory_mb": peak}
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
