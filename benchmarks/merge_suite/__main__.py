"""Run the suite: rounds of alternating order, medians, as a table, JSON and a plot.

python -m benchmarks.merge_suite --rows 10000000 --rounds 3
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.contending import run_contender
from benchmarks.merge_suite.contenders import NAMES
from benchmarks.merge_suite.data import prepare
from benchmarks.reporting import RESULTS, write_report

Figures = dict[str, dict[str, dict[str, float]]]
"""Step → contender → what was measured."""
LOAD = "load"


def measure(rows: int, scale: float, rounds: int, names: list[str], data: Path) -> tuple[Figures, list[str]]:
    """Run every contender once a round, in one order and then in the other; return medians, and who failed."""
    failed: set[str] = set()
    found: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    prepare(data, rows, scale)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            print(f"round {number + 1}: {name} …", file=sys.stderr, flush=True)
            size = ["--rows", str(rows), "--scale", str(scale)]
            records = run_contender("benchmarks.merge_suite.run", name, size, data)
            if records is None:
                failed.add(name)
            for one in records or ():
                found[one.pop("step")][name].append(one)
    medians = {
        step: {
            name: {key: round(statistics.median(one[key] for one in several), 4) for key in several[0]}
            for name, several in by_name.items()
        }
        for step, by_name in found.items()
    }
    return medians, sorted(failed)


def summarise(figures: Figures) -> dict[str, dict[str, object]]:
    """Return, by contender, total and geometric mean, and how far behind the best of the others it is at most."""
    steps = [step for step in figures if step != LOAD]
    summary: dict[str, dict[str, object]] = {}
    for name in figures[steps[0]]:
        seconds = {step: figures[step][name]["seconds"] for step in steps}
        ratios = {step: seconds[step] / min(one["seconds"] for one in figures[step].values()) for step in steps}
        worst = max(ratios, key=lambda step: ratios[step])
        summary[name] = {
            "total_seconds": round(sum(seconds.values()), 3),
            "geometric_mean_seconds": round(math.exp(statistics.mean(map(math.log, seconds.values()))), 4),
            "total_cpu_seconds": round(sum(figures[step][name]["cpu_seconds"] for step in steps), 3),
            "peak_mb": max(figures[step][name]["peak_mb"] for step in steps),
            "slowest": max(seconds, key=lambda step: seconds[step]),
            "furthest_behind": f"{worst} ({ratios[worst]:.2f} ×)",
            "fastest_in": sum(ratio == 1 for ratio in ratios.values()),
            "wrong": [step for step in figures if not figures[step][name]["equal"]],
        }
    return summary


def show(figures: Figures, summary: dict[str, dict[str, object]]) -> None:
    """Print seconds by step and contender, and the summary."""
    names = list(summary)
    print("\nseconds" + "".join(f"{name:>26}" for name in names))
    for step, by_name in figures.items():
        best = min(one["seconds"] for one in by_name.values())
        cells = [f"{by_name[name]['seconds']:16.3f} {by_name[name]['seconds'] / best:7.2f} ×" for name in names]
        print(f"{step:7}" + "".join(cells))
    for name, found in summary.items():
        print(f"\n{name}\n  " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items()))


def plot(figures: Figures, names: list[str], path: Path) -> None:
    """Draw the steps as groups of bars."""
    from matplotlib.figure import Figure

    steps = [step for step in figures if step != LOAD]
    figure = Figure(figsize=(16, 5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = [place + number * width for place in range(len(steps))]
        axes.bar(places, [figures[step][name]["seconds"] for step in steps], width, label=name)
    axes.set_yscale("log")
    axes.set_ylabel("seconds")
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(steps))], steps, fontsize=8)
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--scale", type=float, default=1, help="Of the TPC-DS generator.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES))
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "cordillera-bench")
    options = parser.parse_args()
    figures, failed = measure(options.rows, options.scale, options.rounds, options.only, options.data)
    summary = summarise(figures)
    show(figures, summary)
    told = {"rows": options.rows, "rounds": options.rounds, "summary": summary, "failed": failed, "median": figures}
    write_report(RESULTS / "merge_suite.json", **told)
    plot(figures, list(summary), RESULTS / "merge_suite.svg")
    if failed or any(found["wrong"] for found in summary.values()):
        sys.exit(f"Wrong tables: see 'wrong'. Failed: {', '.join(failed) or 'none'}.")


if __name__ == "__main__":
    main()
