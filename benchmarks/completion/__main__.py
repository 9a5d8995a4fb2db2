"""Measure completions and the jobs that wait for them, on SQLite and PostgreSQL: ``python -m benchmarks.completion``.

For each database and number of jobs: first live, where a publisher calls partitions complete at a rate while worker
processes handle that and execute the runs that follow; then a backlog, which several record while nobody works, one at
a time and then many in a call, and which is handled in ten parts, of which the last shows what the history costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.contending import Record, run_contender
from benchmarks.databases import DATABASES
from benchmarks.reporting import RESULTS, write_report

_PASSED_ON = ("events", "live", "rate", "workers", "publishers", "singly", "together", "datasets")


def measure(options: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Run every database with every number of jobs; return the records, and who failed."""
    records: list[Record] = []
    failed: list[str] = []
    arguments = [part for name in _PASSED_ON for part in (f"--{name}", str(getattr(options, name)))]
    options.data.mkdir(parents=True, exist_ok=True)
    for jobs in options.jobs:
        for name in options.only:
            print(f"{name}, {jobs:,} jobs …", file=sys.stderr, flush=True)
            module = "benchmarks.completion.contender"
            found = run_contender(module, name, ["--jobs", str(jobs), *arguments], options.data)
            records += [{"database": name, **record} for record in found or ()]
            failed += [] if found is not None else [f"{name}, {jobs:,} jobs"]
    return records, failed


def show(records: list[Record]) -> None:
    """Print the figures."""
    for record in records:
        head = [f"{record[name]:>8}" for name in ("database", "jobs")] + [f"{record['case']:22}"]
        rest = [f"{key} {value}" for key, value in record.items() if key not in ("database", "jobs", "case")]
        print(*head, "  ".join(rest))


def plot(records: list[Record], path: Path) -> None:
    """Draw the CPU time of an event by the number of jobs, for the first and the last part of the backlog; events that
    are recorded are dotted.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in {record["database"]: None for record in records}:
        for part, style in (("handled, part 1 ", "-"), ("handled, part 10 ", "--"), ("recorded one", ":")):
            found = [one for one in records if one["database"] == name and one["case"].startswith(part)]
            used = [one["cpu_ms"] + one["server_cpu_ms"] for one in found]
            axes.plot([one["jobs"] for one in found], used, style, marker="o", label=f"{name}, {part.strip()}")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("waiting jobs")
    axes.set_ylabel("CPU ms for each event")
    axes.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="Completions of the backlog.")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--datasets", type=int, default=100, help="A multiple of ten, at least twenty.")
    parser.add_argument("--live", type=int, default=2_000, help="Completions while workers live; a tenth start runs.")
    parser.add_argument("--rate", type=float, default=50.0, help="So many a second.")
    parser.add_argument("--workers", type=int, default=1, help="Worker processes.")
    parser.add_argument("--publishers", type=int, default=4, help="Threads that record the backlog.")
    parser.add_argument("--singly", type=int, default=5_000, help="So many are recorded one at a time.")
    parser.add_argument("--together", type=int, default=100, help="So many of a dataset at once are the others.")
    parser.add_argument("--only", nargs="*", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "cordillera-bench")
    parser.add_argument("--json", type=Path, default=RESULTS / "completion.json")
    options = parser.parse_args()
    if options.datasets < 20 or options.datasets % 10:
        parser.error(f"--datasets {options.datasets}: name a multiple of ten, at least twenty.")
    if not 0 <= options.singly <= options.events:
        parser.error(f"--singly {options.singly}: name 0 to {options.events}, the events that there are.")
    records, failed = measure(options)
    show(records)
    write_report(
        options.json, parameters={name: getattr(options, name) for name in _PASSED_ON}, records=records, failed=failed
    )
    plot(records, options.json.with_suffix(".svg"))
    if failed:
        sys.exit(f"Failed: {'; '.join(failed)}.")


if __name__ == "__main__":
    main()
