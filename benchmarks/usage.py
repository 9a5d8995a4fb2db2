"""What a process has used so far, from /proc: the one that does a contender's work need not be this one."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mb(pid: int) -> int:
    """Return the most memory it has had at once since ``forget_peak``, or since it began."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) // 1024


def forget_peak(pid: int) -> None:
    """Let the peak of memory begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def read_bytes(pid: int) -> int:
    """Return how many bytes it has read, from files and whatever else."""
    counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counters["rchar"])


def family_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of those that it has started, and of those of them that have ended."""
    found = 0.0
    for member in (pid, *_descendants(pid)):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # it ended just now, and is counted with its parent's children the next time
        found += sum(int(field) for field in fields[11:15]) / _TICKS
    return found


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = parents.get(pid, [])
    return [*found, *(one for child in found for one in _descendants(child))]
