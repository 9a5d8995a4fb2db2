"""A lake, the work on it that is interrupted, and the points at which it is.

A point is written ``MODULE:CLASS.METHOD:before|after[:NTH]``: the method kills its own process before it begins, or
when it has ended, at its n-th call.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

import cordillera
import cordillera.maintenance.service as maintenance
from cordillera.client import Lake
from cordillera.errors import ContractViolationError

ORDERS = "sales.orders"
TOTALS = "sales.totals"
JOURNAL = "sales.journal"
SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("amount", pa.int64()), pa.field("revision", pa.int64())])


def new_lake(path: Path, *, metadata_url: str = "", storage_root: str = "", target: str = "") -> Lake:
    """A lake with a keyed dataset, a subscription and a job.

    Args:
        path: The lake's folder.
        metadata_url, storage_root: Where it keeps its metadata and its data, if not in the folder.
        target: DSN of the PostgreSQL database that the subscription keeps; by default it is a DuckDB file.
    """
    lake = cordillera.create(path, metadata_url=metadata_url, storage_root=storage_root)
    lake.create_namespace("sales", owner="team")
    lake.create_dataset(ORDERS, SCHEMA, key=("id",), sequence="revision", completion_unit="day")
    totals = pa.schema([pa.field("day", pa.date32(), nullable=False), pa.field("total", pa.int64())])
    lake.create_dataset(TOTALS, totals, key=("day",), completion_unit="day")
    lake.create_job(
        TOTALS,
        "SELECT $partition::DATE AS day, sum(amount)::BIGINT AS total FROM sales.orders",
        output_condition="day = $partition::DATE",
    )
    if target:
        lake.create_target("copy", "postgres", dsn=target)
    else:
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


def refused_upsert(lake: Lake) -> None:
    """The same write, where a contract refuses it."""
    with suppress(ContractViolationError):
        upsert(lake)


def transfer(lake: Lake) -> None:
    """The transaction that is interrupted: the upsert above, and an append to another dataset."""
    with lake.transaction("second", idempotency_key="second") as tx:
        tx.write(ORDERS, rows(range(50, 150), 7, 2), "upsert", completes="2026-01-02")
        tx.write(JOURNAL, rows(range(50, 150), 7, 2))


def work(lake: Lake) -> None:
    """The background work that is interrupted."""
    lake.run_pending()


def compact_all(lake: Lake) -> None:
    """The compaction that is interrupted: several groups, each committed by itself."""
    maintenance.CHECKPOINT_BYTES = 1
    lake.dataset(ORDERS).compact(target_file_size=1_500)


def expire_all(lake: Lake) -> None:
    """The expiry that is interrupted: every snapshot but the newest goes."""
    lake.dataset(ORDERS).expire_snapshots(older_than=timedelta(0), keep_last=1)


def repair(lake: Lake) -> None:
    """The repair that is interrupted."""
    (status,) = lake.dataset(ORDERS).subscriptions()
    lake.backend.repair_subscription(status.subscription.id)


WORK: dict[str, Callable[[Lake], None]] = {
    "upsert": upsert,
    "refused upsert": refused_upsert,
    "transfer": transfer,
    "work": work,
    "compact": compact_all,
    "expire": expire_all,
    "repair": repair,
}


def kill_at(point: str, fatal_signal: signal.Signals = signal.SIGKILL) -> None:
    """Make a method kill this process, or stop it for the time being (SIGSTOP)."""
    module, path, when, *nth = point.split(":")
    owner: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls, fatal = getattr(owner, name), [0], int(nth[0]) if nth else 1

    def deadly(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if when == "before" and calls[0] == fatal:
            signal.pthread_kill(threading.get_ident(), fatal_signal)  # this thread gets no further
        result = original(*args, **kwargs)
        if when == "after" and calls[0] == fatal:
            signal.pthread_kill(threading.get_ident(), fatal_signal)  # this thread gets no further
        return result

    setattr(owner, name, deadly)
