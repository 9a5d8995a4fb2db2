"""Measure a committed upsert of ten rows at 1 to 10,000 snapshots: ``python -m benchmarks.commits``.

A table with many snapshots is made from one with two commits: the second is multiplied, in the table's metadata and in
the database, which is what as many commits would leave. Turns alternate between the tables, so that whatever else
the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

import cordillera
from cordillera.app import Application
from cordillera.client import Dataset, Lake

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("amount", pa.int64()), pa.field("note", pa.string())])
ROWS, CHANGED = 100_000, 10


@dataclass
class Measured:
    """What commits to one table took.

    Attributes:
        seconds, cpu_seconds: Of each commit.
        opening: Seconds of the first commit of a process that has not seen the table.
        bytes: Size of the table's metadata file.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    opening: float = 0.0
    bytes: int = 0

    def summary(self) -> dict[str, Any]:
        """Return medians in milliseconds."""
        return {
            "p50_ms": round(1000 * statistics.median(self.seconds), 2),
            "cpu_p50_ms": round(1000 * statistics.median(self.cpu_seconds), 2),
            "opening_ms": round(1000 * self.opening, 1),
            "metadata_mb": round(self.bytes / 1e6, 2),
        }


def grown(lake: Lake, snapshots: int) -> Dataset:
    """Return a dataset that looks as after so many commits."""
    name = f"bench.after_{snapshots}"
    dataset = lake.create_dataset(name, SCHEMA, key=["id"])
    ids = pa.array(range(ROWS), pa.int64())
    dataset.write(pa.table({"id": ids, "amount": ids, "note": pa.array(["x"] * ROWS)}), "append")
    dataset.write(change(0), "upsert")
    if snapshots > 2:
        _multiply(lake.backend.app, name, snapshots)  # type: ignore[attr-defined]
    return dataset


def _multiply(app: Application, name: str, wanted: int) -> None:
    target = app.catalog.dataset(name)
    metadata = app.tables.load(target.version)
    first, last = metadata.snapshots
    made, log = [first], [dict(metadata.snapshot_log[0])]
    for number in range(2, wanted + 1):
        snapshot_id = last.snapshot_id if number == wanted else uuid4().int >> 65
        size = int(last.summary["total-files-size"]) + number * 997  # no two summaries are the same
        snapshot = replace(
            last,
            snapshot_id=snapshot_id,
            manifest_list=last.manifest_list.replace(str(last.snapshot_id), str(snapshot_id)),
            summary={**last.summary, "total-files-size": str(size), "added-files-size": str(1000 + number % 331)},
            parent_snapshot_id=made[-1].snapshot_id,
            sequence_number=number,
        )
        made.append(snapshot)
        log.append({"snapshot-id": snapshot.snapshot_id, "timestamp-ms": snapshot.timestamp_ms})
    changed = metadata.with_changes(snapshots=tuple(made), snapshot_log=tuple(log), last_sequence_number=wanted)
    location = app.tables.write_metadata(changed, wanted)
    with app.store.write() as tx:
        stored, manifest = tx.snapshots.get(target.version.id, 2), tx.snapshots.manifest(target.version.id, 2)
        assert stored is not None
        assert manifest is not None
        for snapshot in made[2:]:
            numbered = replace(stored, sequence_number=snapshot.sequence_number, snapshot_id=snapshot.snapshot_id)
            tx.snapshots.insert(numbered, manifest)
        version = replace(target.version, metadata_location=location, sequence_number=wanted)
        assert tx.dataset_versions.swap(version, None, expected_location=target.version.metadata_location)


def change(turn: int) -> pa.Table:
    """Return ten rows to upsert, spread over the keys."""
    ids = [(turn * 7919 + number * (ROWS // CHANGED)) % ROWS for number in range(CHANGED)]
    return pa.table({"id": ids, "amount": [turn] * CHANGED, "note": ["changed"] * CHANGED}, schema=SCHEMA)


def measure(folder: Path, sizes: list[int], turns: int) -> dict[int, Measured]:
    """Commit in turn to a table of each size."""
    with cordillera.create(folder / "lake") as lake:
        lake.create_namespace("bench", owner="bench")
        names = {size: grown(lake, size).name for size in sizes}
    found = {size: Measured() for size in sizes}
    for size in sizes:
        with cordillera.open(folder / "lake") as lake:
            lake.dataset(names[sizes[0]]).write(change(1), "upsert")
            begun = time.perf_counter()
            lake.dataset(names[size]).write(change(2), "upsert")
            found[size].opening = time.perf_counter() - begun
    with cordillera.open(folder / "lake") as lake:
        datasets = {size: lake.dataset(name) for size, name in names.items()}
        for turn in range(3, turns + 6):
            for size in sizes:
                begun, cpu = time.perf_counter(), time.process_time()
                datasets[size].write(change(turn), "upsert")
                if turn >= 6:
                    found[size].seconds.append(time.perf_counter() - begun)
                    found[size].cpu_seconds.append(time.process_time() - cpu)
        for size, dataset in datasets.items():
            found[size].bytes = Path(dataset.metadata_location.removeprefix("file://")).stat().st_size
    return found


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snapshots", type=int, nargs="+", default=[2, 1_000, 5_000, 10_000])
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="Where to put the lake; by default a temporary folder.")
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="cordillera-bench-") as folder:
        found = measure(Path(folder), options.snapshots, options.turns)
    figures = {size: measured.summary() for size, measured in found.items()}
    least = figures[min(figures)]["p50_ms"]
    for size, row in figures.items():
        row["ratio"] = round(row["p50_ms"] / least, 2)
        print(f"{size:>6} snapshots: {row}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
