"""One contender, run through the suite in a process of its own: prints a JSON line for every step.

python -m benchmarks.merge_suite.run NAME --rows 10000000 --scale 1 --data FOLDER --scratch FOLDER
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.merge_suite.contenders import CONTENDERS, Contender
from benchmarks.merge_suite.data import Step, Suite, prepare

_WARM_UP_ROWS = 1_000


@dataclass(frozen=True)
class _Usage:
    """What the process and its folder have used so far."""

    wall: float
    cpu: float
    read: int
    files: dict[str, int]

    @classmethod
    def now(cls, folder: Path) -> _Usage:
        files = {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return cls(time.perf_counter(), time.process_time(), int(counters["rchar"]), files)


def measure(contender: Contender, step: Step) -> dict[str, object]:
    """Apply a step and return what it took, and whether the table is what it has to be."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    before = _Usage.now(contender.scratch)
    started, cpu = time.perf_counter(), time.process_time()
    contender.apply(step)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = _peak_mb()
    after = _Usage.now(contender.scratch)
    new = {path: size for path, size in after.files.items() if path not in before.files}
    found = contender.fingerprint()
    return {
        "step": step.name,
        "seconds": round(seconds, 4),
        "cpu_seconds": round(cpu, 4),
        "read_bytes": after.read - before.read,
        "written_bytes": sum(new.values()),
        "data_files": sum(path.endswith(".parquet") for path in new),
        "peak_mb": peak,
        "equal": list(found) == [step.rows, step.fingerprint],
    }


def _peak_mb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(name: str, suite: Suite, scratch: Path) -> None:
    """Warm up on a small table, load the real one, and apply every step to it."""
    make = CONTENDERS[name]
    warm, place = scratch / "warm-up", scratch / "table"
    warm.mkdir(parents=True)
    place.mkdir()
    small = make(suite, warm, _WARM_UP_ROWS)
    smallest = {step.kind: step for step in sorted(suite.steps, key=lambda step: -(step.updated + step.inserted))}
    for step in smallest.values():
        small.apply(step)
    started, cpu = time.perf_counter(), time.process_time()
    contender = make(suite, place)
    load = {"seconds": round(time.perf_counter() - started, 4), "cpu_seconds": round(time.process_time() - cpu, 4)}
    equal = contender.fingerprint() == (suite.rows, suite.fingerprint)
    print(json.dumps({"step": "load", **load, "equal": equal}), flush=True)
    for step in suite.steps:
        print(json.dumps(measure(contender, step)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    options = parser.parse_args()
    shutil.rmtree(options.scratch, ignore_errors=True)
    try:
        run(options.contender, prepare(options.data, options.rows, options.scale), options.scratch)
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
