"""Compare contenders: each case in rounds of alternating order, medians, as a table, JSON and a plot.

python -m benchmarks.engine --rows 10000000 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.contending import run_contender
from benchmarks.engine.contenders import CHECK, CONTENDERS
from benchmarks.engine.data import generate
from benchmarks.reporting import RESULTS, write_report

Figures = dict[str, dict[str, list[dict[str, float]]]]


def measure(rows: int, rounds: int, names: list[str], data: Path) -> tuple[Figures, list[str], list[str]]:
    """Run every contender once a round, in one order and then in the other.

    Returns:
        The figures, whose rows were wrong, and who failed and is left out.
    """
    figures: Figures = defaultdict(lambda: defaultdict(list))
    wrong: set[str] = set()
    failed: set[str] = set()
    generate(data, rows)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            print(f"round {number + 1}: {name} …", file=sys.stderr, flush=True)
            records = run_contender("benchmarks.engine.contenders", name, ["--rows", str(rows)], data)
            if records is None:
                failed.add(name)
            for found in records or ():
                if (case := found.pop("case")) != CHECK:
                    figures[case][name].append(found)
                elif not found["equal"]:
                    wrong.add(name)
    return figures, sorted(wrong), sorted(failed)


def summarise(figures: Figures) -> dict[str, dict[str, dict[str, float]]]:
    """Return medians, by case and contender."""
    return {
        case: {
            name: {key: round(statistics.median(one[key] for one in found), 4) for key in found[0]}
            for name, found in by_name.items()
        }
        for case, by_name in figures.items()
    }


def show(summary: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the medians, with the ratio to the best."""
    for case, by_name in summary.items():
        best = min(found["seconds"] for found in by_name.values())
        print(f"\n{case}")
        for name, found in sorted(by_name.items(), key=lambda item: item[1]["seconds"]):
            seconds, cpu, peak = found["seconds"], found["cpu_seconds"], found["peak_mb"]
            print(f"  {name:26} {seconds:9.3f} s  {cpu:9.3f} CPU-s  {peak:7.0f} MB  {seconds / best:6.2f} ×")


def plot(summary: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draw the medians as bars."""
    from matplotlib.figure import Figure

    cases = [case for case in summary if case != "load"]
    figure = Figure(figsize=(11, 2.2 * ((len(cases) + 1) // 2)), layout="constrained")
    for axes, case in zip(figure.subplots((len(cases) + 1) // 2, 2).flat, cases, strict=False):
        names = sorted(summary[case], key=lambda name: -summary[case][name]["seconds"])
        axes.barh(names, [summary[case][name]["seconds"] for name in names], color="#3a6ea5")
        axes.set_title(f"{case} (seconds)", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "cordillera-bench")
    options = parser.parse_args()
    figures, wrong, failed = measure(options.rows, options.rounds, options.only, options.data)
    summary = summarise(figures)
    show(summary)
    told = {"rows": options.rows, "rounds": options.rounds, "median": summary, "wrong": wrong, "failed": failed}
    write_report(RESULTS / "engine.json", **told)
    plot(summary, RESULTS / "engine.svg")
    if wrong or failed:
        sys.exit(f"Wrong rows: {', '.join(wrong) or 'none'}. Failed: {', '.join(failed) or 'none'}.")


if __name__ == "__main__":
    main()
