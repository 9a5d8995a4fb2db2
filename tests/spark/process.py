"""Spark 3.5 with Iceberg and a JVM, all from packages, in an environment and a process of its own.

``make setup-spark`` makes the environment: PySpark and the client that Sail is spoken to with are one module, and so
cannot be installed side by side.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PYTHON = Path(sys.prefix) / "spark" / "bin" / "python"
SETTINGS = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
}


class SparkError(Exception):
    """What Spark says went wrong."""


class Spark:
    """A running session; see ``start_spark``.

    Attributes:
        jvm: Its process id.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder, self._results = process, folder, 0
        self.jvm = int(self._ask({})["jvm"])

    def run(self, statement: str) -> None:
        """Run a SQL statement."""
        self._ask({"statement": statement})

    def rows(self, statement: str) -> pa.Table:
        """Return the rows of a query."""
        return self._rows({"statement": statement})

    def pass_over(self, statement: str) -> None:
        """Let Spark compute all rows of a query, and keep none."""
        self._ask({"statement": statement, "pass_over": "true"})

    def load(self, path: str, **options: object) -> pa.Table:
        """Return the rows of the table with this metadata file."""
        return self._rows({"load": path, **{name: str(value) for name, value in options.items()}})

    def attach(self, catalog: str, properties: Mapping[str, str]) -> None:
        """Make a catalog known by a name."""
        name = f"spark.sql.catalog.{catalog}"
        self.run(f"SET {name}=org.apache.iceberg.spark.SparkCatalog")
        for key, value in properties.items():
            self.run(f"SET `{name}.{key}`=`{value}`")

    def _rows(self, request: dict[str, str]) -> pa.Table:
        self._results += 1
        place = self._folder / f"rows-{self._results}"
        self._ask({**request, "rows": place.as_uri()})
        return pq.read_table(place)

    def _ask(self, request: Mapping[str, str]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if request:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SparkError(f"Spark ended: {(self._folder / 'log').read_text(errors='replace')[-4_000:]}")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise SparkError(found["error"])
        return found


@contextmanager
def start_spark(settings: Mapping[str, str] | None = None) -> Iterator[Spark]:
    """Run Spark for the length of the block. It takes about ten seconds to start.

    Args:
        settings: Of the session, besides or instead of those that it has here.

    Raises:
        SparkError: If it is not installed, or does not start.
    """
    if not PYTHON.exists():
        raise SparkError(f"There is no Spark in {PYTHON.parent.parent}: run `make setup-spark`.")
    with tempfile.TemporaryDirectory(prefix="cordillera-spark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        places = {"spark.local.dir": str(folder / "local"), "spark.sql.warehouse.dir": str(folder / "warehouse")}
        command = [PYTHON, "-I", Path(__file__).with_name("session.py")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            assert process.stdin is not None
            print(json.dumps({**SETTINGS, **places, **(settings or {})}), file=process.stdin, flush=True)
            yield Spark(process, folder)
        finally:
            process.communicate()  # at the end of its input it ends, and the JVM with it
