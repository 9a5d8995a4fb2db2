"""Measure deliveries to PostgreSQL and DuckDB, and of many subscriptions: ``python -m benchmarks.delivery``.

First deliveries are compared with what each target does best by itself with the same rows. Changes are committed while
a worker process lives, and told by how long it takes until the lake has noted that the target has them. Many
subscriptions go to a target that counts, first idle, then with commits to their datasets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.contending import Record, run_contender
from benchmarks.databases import DATABASES
from benchmarks.delivery.one_target import TARGETS
from benchmarks.reporting import RESULTS, write_report

MANY = "many"
_OF_ONE, _OF_MANY = (
    ("commits", "changed", "rounds"),
    ("subscriptions", "datasets", "rate", "seconds", "idle", "workers"),
)


def measure(options: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Run every target with every number of rows, and many subscriptions; return the records, and who failed."""
    records: list[Record] = []
    failed: list[str] = []

    def run(module: str, name: str, mark: Record, arguments: list[str]) -> None:
        label = " ".join(map(str, mark.values()))
        print(f"{label} …", file=sys.stderr, flush=True)
        found = run_contender(f"benchmarks.delivery.{module}", name, arguments, options.data)
        records.extend({**mark, **record} for record in found or ())
        failed.extend([] if found is not None else [label])

    for rows in options.rows:
        for name in [one for one in options.only if one in TARGETS]:
            run("one_target", name, {"target": name, "rows": rows}, ["--rows", str(rows), *_passed(options, _OF_ONE)])
    for name in options.databases if MANY in options.only else ():
        run("many", name, {"target": MANY, "database": name}, _passed(options, _OF_MANY))
    return records, failed


def _passed(options: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    return [part for name in names for part in (f"--{name}", str(getattr(options, name)))]


def show(records: list[Record]) -> None:
    """Print the figures."""
    for record in records:
        print("  ".join(f"{key} {value}" for key, value in record.items()))


def plot(records: list[Record], path: Path) -> None:
    """Draw how long changes take until they are delivered, by the rows of the dataset."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in TARGETS:
        found = [one for one in records if one["target"] == name and one["case"] == "changes"]
        for percentile, style in (("p50_s", "-"), ("p95_s", "--")):
            seconds = [one[percentile] for one in found]
            axes.plot([one["rows"] for one in found], seconds, style, marker="o", label=f"{name}, {percentile[:3]}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows of the dataset")
    axes.set_ylabel("seconds from commit to delivered")
    axes.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--commits", type=int, default=40, help="Changes of each dataset.")
    parser.add_argument("--changed", type=int, default=1_000, help="Rows of each change.")
    parser.add_argument("--rounds", type=int, default=1, help="First deliveries of each dataset.")
    parser.add_argument("--subscriptions", type=int, default=3_000)
    parser.add_argument("--datasets", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=100.0, help="Commits a second to all of them.")
    parser.add_argument("--seconds", type=float, default=60.0, help="For how long.")
    parser.add_argument("--idle", type=float, default=30.0, help="For how many seconds nothing happens.")
    parser.add_argument("--workers", type=int, default=2, help="Threads that deliver to many subscriptions.")
    parser.add_argument(
        "--databases", nargs="*", choices=DATABASES, default=list(DATABASES), help="What keeps the metadata then."
    )
    parser.add_argument("--only", nargs="*", choices=[*TARGETS, MANY], default=[*TARGETS, MANY])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "cordillera-bench")
    parser.add_argument("--json", type=Path, default=RESULTS / "delivery.json")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    records, failed = measure(options)
    show(records)
    write_report(options.json, records=records, failed=failed)
    plot(records, options.json.with_suffix(".svg"))
    if failed:
        sys.exit(f"Failed: {'; '.join(failed)}.")


if __name__ == "__main__":
    main()
