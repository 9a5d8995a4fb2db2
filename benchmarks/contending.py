"""A contender in a process of its own, and the lines of figures that it tells the benchmark.

They go by a file: what a contender, its server or its libraries print is not theirs to be taken for figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Records:
    """A file of records, to which a contender adds a line each time it has measured something."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: Record) -> None:
        """Add a record, and show it: whoever waits sees how far it is, and nothing is lost if the rest fails."""
        line = json.dumps(record)
        with self._path.open("a") as file:
            file.write(line + "\n")
        print(f"  {line}", file=sys.stderr, flush=True)

    def __iter__(self) -> Iterator[Record]:
        return map(json.loads, self._path.read_text().splitlines())


def parse_contender(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return a contender's options: its own, and those that ``run_contender`` gives all of them."""
    parser.add_argument("--data", type=Path, required=True, help="What all contenders of a run share.")
    parser.add_argument("--scratch", type=Path, required=True, help="A folder for itself, which it makes.")
    parser.add_argument("--records", type=Path, required=True, help="The file that it adds its figures to.")
    return parser.parse_args()


def run_contender(module: str, name: str, arguments: list[str], data: Path) -> list[Record] | None:
    """Run ``python -m MODULE NAME ARGUMENTS``; return what it told, or None if it failed, which is shown."""
    with tempfile.TemporaryDirectory(dir=data) as folder:
        records = Path(folder, "records")
        records.touch()
        command = [sys.executable, "-m", module, name, *arguments]
        command += ["--data", str(data), "--scratch", f"{folder}/scratch", "--records", str(records)]
        exit_code = subprocess.run(command, check=False, stdout=sys.stderr).returncode
        if exit_code:
            print(f"{name} failed with exit code {exit_code}; it is left out.", file=sys.stderr, flush=True)
            return None
        return list(Records(records))
