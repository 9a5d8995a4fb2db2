"""What a benchmark leaves behind: its figures as JSON, with the day and the machine that they are of."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")


def write_report(path: Path, **figures: Any) -> None:
    """Write figures to a file, and make its folder if need be.

    Args:
        path: The file.
        figures: Whatever was measured, and how, in a form that JSON has.
    """
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    report = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, **figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
