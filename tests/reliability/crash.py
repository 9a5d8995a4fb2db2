"""Runs work on a lake in a process of its own, and kills that process (SIGKILL) at a named point.

    python -m tests.reliability.crash LAKE WORK MODULE:CLASS.METHOD:before|after[:NTH]

The method kills its own process before it begins, or when it has ended, at its n-th call.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

import cordillera
from cordillera.client import Lake

ORDERS = "sales.orders"
TOTALS = "sales.totals"
SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("amount", pa.int64()), pa.field("revision", pa.int64())])


def new_lake(path: Path) -> Lake:
    """A lake with a keyed dataset, a subscription to a DuckDB file and a job."""
    lake = cordillera.create(path)
    lake.create_namespace("sales", owner="team")
    lake.create_dataset(ORDERS, SCHEMA, key=("id",), sequence="revision", completion_unit="day")
    totals = pa.schema([pa.field("day", pa.date32(), nullable=False), pa.field("total", pa.int64())])
    lake.create_dataset(TOTALS, totals, key=("day",), completion_unit="day")
    lake.create_job(
        TOTALS,
        "SELECT $partition::DATE AS day, sum(amount)::BIGINT AS total FROM sales.orders",
        output_condition="day = $partition::DATE",
    )
    lake.create_target("copy", "duckdb", path=str(path / "copy.duckdb"))
    lake.dataset(ORDERS).subscribe("copy")
    return lake


def rows(ids: range, amount: int, revision: int) -> pa.Table:
    """Orders with one amount."""
    count = len(ids)
    return pa.table({"id": list(ids), "amount": [amount] * count, "revision": [revision] * count}, schema=SCHEMA)


def upsert(lake: Lake) -> None:
    """The write that is interrupted: changes half of the orders, adds as many."""
    lake.dataset(ORDERS).write(rows(range(50, 150), 7, 2), "upsert", idempotency_key="second", completes="2026-01-02")


def work(lake: Lake) -> None:
    """The background work that is interrupted."""
    lake.run_pending()


WORK: dict[str, Callable[[Lake], None]] = {"upsert": upsert, "work": work}


def kill_at(point: str) -> None:
    """Make a method kill this process."""
    module, path, when, *nth = point.split(":")
    owner: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls, fatal = getattr(owner, name), [0], int(nth[0]) if nth else 1

    def deadly(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if when == "before" and calls[0] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if when == "after" and calls[0] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def run_and_kill(lake: Path, kind: str, point: str) -> None:
    """Run work in another process that is killed at a point; fails if it was not."""
    environment = {**os.environ, "CORDILLERA_LEASE_SECONDS": "0.5"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.crash", str(lake), kind, point],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.returncode}\n{done.stderr[-3000:]}"


def main() -> None:
    """Run the work named on the command line."""
    path, kind, point = sys.argv[1:4]
    kill_at(point)
    with cordillera.open(path) as lake:
        WORK[kind](lake)


if __name__ == "__main__":
    main()
