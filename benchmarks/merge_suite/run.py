"""One contender, run through the suite in a process of its own: tells a record for every step.

python -m benchmarks.merge_suite.run NAME --rows 10000000 --scale 1 --data FOLDER --scratch FOLDER
"""

from __future__ import annotations

import argparse
import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contending import Records, parse_contender
from benchmarks.merge_suite.contenders import NAMES, Contender, making
from benchmarks.merge_suite.data import Step, Suite, prepare
from benchmarks.usage import cpu_seconds, forget_peak, peak_mb, read_bytes

_WARM_UP_ROWS = 1_000


@dataclass(frozen=True)
class _Usage:
    """What a contender's process and its folder have used so far."""

    wall: float
    cpu: float
    read: int
    files: dict[str, int]

    @classmethod
    def now(cls, contender: Contender) -> _Usage:
        files = {str(path): path.stat().st_size for path in contender.scratch.rglob("*") if path.is_file()}
        return cls(time.perf_counter(), cpu_seconds(contender.pid), read_bytes(contender.pid), files)


def measure(contender: Contender, step: Step) -> dict[str, object]:
    """Apply a step and return what it took, and whether the table is what it has to be."""
    forget_peak(contender.pid)
    before = _Usage.now(contender)
    started, cpu = time.perf_counter(), cpu_seconds(contender.pid)
    contender.apply(step)
    seconds, cpu = time.perf_counter() - started, cpu_seconds(contender.pid) - cpu
    peak = peak_mb(contender.pid)
    after = _Usage.now(contender)
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


def run(name: str, suite: Suite, scratch: Path, records: Records) -> None:
    """Warm up on a small table, load the real one, and apply every step to it."""
    warm, place, engine = scratch / "warm-up", scratch / "table", scratch / "engine"
    for folder in (warm, place, engine):
        folder.mkdir(parents=True)
    with making(name, engine) as make:
        _run(make, suite, warm, place, records)


def _run(make: Callable[..., Contender], suite: Suite, warm: Path, place: Path, records: Records) -> None:
    small = make(suite, warm, _WARM_UP_ROWS)
    smallest = {step.kind: step for step in sorted(suite.steps, key=lambda step: -(step.updated + step.inserted))}
    for step in smallest.values():
        small.apply(step)
    gc.collect()
    gc.freeze()  # else Python goes through all that is imported, for 0.15 s, in whichever step has its turn
    started, cpu = time.perf_counter(), cpu_seconds(small.pid)
    contender = make(suite, place)
    cpu = cpu_seconds(contender.pid) - cpu
    load = {"seconds": round(time.perf_counter() - started, 4), "cpu_seconds": round(cpu, 4)}
    equal = contender.fingerprint() == (suite.rows, suite.fingerprint)
    records.add({"step": "load", **load, "equal": equal})
    for step in suite.steps:
        records.add(measure(contender, step))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=NAMES)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--scale", type=float, required=True)
    options = parse_contender(parser)
    shutil.rmtree(options.scratch, ignore_errors=True)
    try:
        suite = prepare(options.data, options.rows, options.scale)
        run(options.contender, suite, options.scratch, Records(options.records))
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
