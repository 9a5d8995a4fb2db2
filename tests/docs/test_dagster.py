"""The sensor of docs/how-to/start-dagster-runs.md under Dagster's daemon, which is killed, and whose cursor is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cordillera
from tests.docs.markdown import ROOT, blocks
from tests.reliability.processes import eventually

PATIENCE = 240.0  # a run starts three processes, each of which imports everything
PAGE = ROOT / "docs/how-to/start-dagster-runs.md"


@contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let the daemon run for the length of the block, with all that it starts."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "--python-file", "definitions.py"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.long
@pytest.mark.timeout(4 * PATIENCE)
def test_every_completion_starts_one_run_whoever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    (text,) = [block.text for block in blocks(PAGE) if block.file == "definitions.py"]
    (tmp_path / "definitions.py").write_text(text.replace("minimum_interval_seconds=30", "minimum_interval_seconds=1"))
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with cordillera.create(tmp_path / "lake") as lake, dg.DagsterInstance.get() as instance, lake.workers():
        lake.create_namespace("sales")
        columns = {"id": pa.int64(), "day": pa.date32()}
        orders = lake.create_dataset("sales.orders", columns, key=["id"], completion_unit="day")
        columns = {"day": pa.date32(), "orders": pa.int64()}
        report = lake.create_dataset("sales.report", columns, key=["day"], completion_unit="day")

        def runs() -> list[tuple[Any, str]]:
            return sorted((run.tags["dagster/partition"], run.status.value) for run in instance.get_runs())

        def settled(*days: str) -> Callable[[], bool]:
            return lambda: runs() == [(day, "SUCCESS") for day in days]

        def written() -> str:
            return f"{runs()}\n{(tmp_path / 'log').read_text()[-4000:]}"

        orders.write([{"id": 1, "day": date(2026, 1, 30)}], "upsert", completes="2026-01-30")
        with daemon(tmp_path):
            eventually(settled("2026-01-30"), written, PATIENCE)
        orders.write([{"id": 2, "day": date(2026, 1, 31)}], "upsert", completes="2026-01-31")
        with daemon(tmp_path):
            eventually(settled("2026-01-30", "2026-01-31"), written, PATIENCE)
        command = [sys.executable, "-m", "dagster", "sensor", "cursor", "--delete", "orders_are_complete"]
        subprocess.run([*command, "--python-file", "definitions.py"], cwd=tmp_path, check=True, capture_output=True)
        orders.complete("2026-01-30")
        with daemon(tmp_path):
            eventually(settled("2026-01-30", "2026-01-30", "2026-01-31"), written, PATIENCE)
        assert [(one.partition, one.revision) for one in report.completions()] == [("2026-01-31", 1), ("2026-01-30", 2)]
