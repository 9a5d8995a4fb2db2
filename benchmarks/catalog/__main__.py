"""Compare Iceberg REST catalogs: commits, loads and lists: ``python -m benchmarks.catalog``.

All servers run beside each other on this machine, as do the client processes; the cases alternate between them. A
client sends requests made beforehand over one connection, the same to every catalog.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.catalog.client import Request
from benchmarks.catalog.servers import CATALOGS, Catalog
from benchmarks.catalog.tables import NAMESPACE, Table, creation, path_of, property_commits, send
from benchmarks.reporting import RESULTS, write_report

Figures = dict[str, float | str]
Case = Callable[[Catalog, str], Figures]
_PAGE = 1000


def drive(catalog: Catalog, clients: Sequence[list[Request]]) -> Figures:
    """Let client processes send their requests at once.

    Returns:
        Requests a second, and percentiles of how long they took in milliseconds; or what was refused.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = []
        for number, requests in enumerate(clients):
            (folder / str(number)).write_bytes(pickle.dumps((catalog.url, catalog.token, requests)))
            command = [sys.executable, "-m", "benchmarks.catalog.client", str(folder / str(number))]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate()[0] for process in processes]
    found = [json.loads(output) for output in outputs]
    if refused := next((one["refused"] for one in found if one["refused"]), ""):
        return {"refused": refused}
    took = sorted(1000 * seconds for one in found for seconds in one["took"])
    seconds = max(one["ended"] for one in found) - min(one["begun"] for one in found)
    return {
        "per_second": round(len(took) / seconds, 1),
        "p50_ms": round(statistics.median(took), 2),
        "p99_ms": round(took[min(len(took) - 1, int(0.99 * len(took)))], 2),
        "conflicts": sum(one["conflicts"] for one in found),
    }


def dealt(requests: Sequence[list[Request]], clients: int) -> list[list[Request]]:
    """Give each client its tables, and let it go round them."""
    mine = [requests[number::clients] for number in range(clients)]
    return [[one for turn in zip(*tables, strict=True) for one in turn] for tables in mine if tables]


class Bench:
    """The cases.

    Args:
        options: How much of each.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def cases(self) -> dict[str, Case]:
        """Return the cases by name; each is called once a round for every catalog."""
        options = self._options
        return {
            "set-properties, one table": self._properties_of_one,
            f"set-properties, {options.tables} tables": self._properties_of_many,
            "append, one table": self._appends_to_one,
            f"append, {options.tables} tables": self._appends_to_many,
            **{f"load, {number:,} snapshots": self._loads(number) for number in options.snapshots},
            f"list of {options.listed:,} tables, in pages of {_PAGE:,}": self._list,
        }

    def _properties_of_one(self, catalog: Catalog, mark: str) -> Figures:
        name = f"one_{mark}"
        send(catalog, creation(name))
        clients = self._options.clients
        return drive(
            catalog,
            [property_commits(name, self._options.commits // clients, f"{one}") for one in range(clients)],
        )

    def _properties_of_many(self, catalog: Catalog, mark: str) -> Figures:
        names = [f"many_{mark}_{number}" for number in range(self._options.tables)]
        for name in names:
            send(catalog, creation(name))
        requests = [property_commits(name, self._each, mark) for name in names]
        return drive(catalog, dealt(requests, self._options.clients))

    def _appends_to_one(self, catalog: Catalog, mark: str) -> Figures:
        table = Table(catalog, f"appended_{mark}")
        return drive(catalog, [list(table.append_commits(self._each * 10))])

    def _appends_to_many(self, catalog: Catalog, mark: str) -> Figures:
        tables = [Table(catalog, f"all_appended_{mark}_{number}") for number in range(self._options.tables)]
        requests = [list(table.append_commits(self._each)) for table in tables]
        return drive(catalog, dealt(requests, self._options.clients))

    @property
    def _each(self) -> int:
        return max(1, self._options.commits // self._options.tables)

    def _loads(self, snapshots: int) -> Case:
        name = f"with_{snapshots}"

        def measured(catalog: Catalog, _mark: str) -> Figures:
            request = Request("GET", path_of(name))
            try:
                loaded = send(catalog, request)
            except RuntimeError:  # it is not there yet
                for commit in Table(catalog, name).many_snapshots(snapshots):
                    send(catalog, commit)
                loaded = send(catalog, request)
            assert len(loaded["metadata"]["snapshots"]) == snapshots
            drive(catalog, [[request] * 5])
            return drive(catalog, [[request] * self._options.loads])

        return measured

    def _list(self, catalog: Catalog, _mark: str) -> Figures:
        begun = time.perf_counter()
        found = self._listed(catalog)
        if len(found) < self._options.listed:
            missing = [creation(f"z_{number:06d}") for number in range(self._options.listed - len(found))]
            clients = self._options.clients
            made = drive(catalog, [missing[number::clients] for number in range(clients)])
            if "refused" in made:
                return made
            begun = time.perf_counter()
            found = self._listed(catalog)
        assert len(set(found)) == len(found) >= self._options.listed
        return {"seconds": round(time.perf_counter() - begun, 3)}

    def _listed(self, catalog: Catalog) -> list[str]:
        names: list[str] = []
        token: str | None = ""
        while token is not None:
            path = f"/namespaces/{NAMESPACE}/tables?pageSize={_PAGE}&pageToken={token}"
            page = send(catalog, Request("GET", path))
            names += [one["name"] for one in page["identifiers"]]
            token = page.get("next-page-token") or None
        return names


def measure(options: argparse.Namespace) -> dict[str, dict[str, list[Figures]]]:
    """Run every case on every catalog, once a round, in one order and then in the other."""
    figures: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="cordillera-bench-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)  # PostgreSQL's account goes through it
        running = {}
        for number, name in enumerate(options.only):
            (home := Path(folder) / str(number)).mkdir()
            running[name] = stack.enter_context(CATALOGS[name](home))
        for case, run in Bench(options).cases().items():
            if options.cases and not any(part in case for part in options.cases):
                continue
            for number in range(options.rounds):
                for name in options.only if number % 2 == 0 else reversed(options.only):
                    found = run(running[name], str(number))
                    print(f"round {number + 1}: {case}: {name}: {found}", file=sys.stderr, flush=True)
                    figures[case][name].append(found)
    return figures


def summarise(figures: dict[str, dict[str, list[Figures]]]) -> dict[str, dict[str, Figures]]:
    """Return medians, by case and catalog; what a catalog cannot do is told instead."""
    return {case: {name: _median(found) for name, found in by_name.items()} for case, by_name in figures.items()}


def _median(found: list[Figures]) -> Figures:
    if refused := next((one for one in found if "refused" in one), None):
        return refused
    return {key: round(statistics.median(float(one[key]) for one in found), 3) for key in found[0]}


def show(summary: dict[str, dict[str, Figures]]) -> None:
    """Print the medians."""
    for case, by_name in summary.items():
        print(f"\n{case}")
        for name, found in by_name.items():
            print(f"  {name:26} " + "  ".join(f"{key} {value}" for key, value in found.items()))


def plot(summary: dict[str, dict[str, Figures]], path: Path) -> None:
    """Draw the medians as bars: commits a second, 99th percentiles of loads, seconds of the list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.6 * ((len(summary) + 1) // 2)), layout="constrained")
    axes_of = figure.subplots((len(summary) + 1) // 2, 2).flat
    for axes, (case, by_name) in zip(axes_of, summary.items(), strict=False):
        unit = "seconds" if case.startswith("list") else "p99_ms" if case.startswith("load") else "per_second"
        names = list(reversed(by_name))
        axes.barh(names, [float(by_name[name].get(unit, 0)) for name in names], color="#3a6ea5")
        label = {"seconds": "seconds", "p99_ms": "p99, ms", "per_second": "commits/s"}[unit]
        axes.set_title(f"{case} ({label})", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.savefig(path)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=CATALOGS, default=list(CATALOGS))
    parser.add_argument("--cases", nargs="*", help="Those whose names have one of these in them, such as load; or all.")
    parser.add_argument("--clients", type=int, default=4, help="Client processes.")
    parser.add_argument("--commits", type=int, default=1000, help="Commits of each case; a tenth of it to one table.")
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--snapshots", type=int, nargs="*", default=[1, 100, 1_000, 10_000])
    parser.add_argument("--loads", type=int, default=300)
    parser.add_argument("--listed", type=int, default=38_000)
    parser.add_argument("--folder", type=Path, help="Where the servers keep their data; by default a temporary folder.")
    parser.add_argument("--json", type=Path, default=RESULTS / "catalog.json")
    options = parser.parse_args()
    summary = summarise(measure(options))
    show(summary)
    write_report(options.json, clients=options.clients, rounds=options.rounds, median=summary)
    plot(summary, options.json.with_suffix(".svg"))


if __name__ == "__main__":
    main()
