"""Other engines reading a table by the path of its metadata file."""

from __future__ import annotations

import atexit
import importlib
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable

from tests.spark.process import Spark, start_spark


def read_with_pyiceberg(metadata_location: str, snapshot_id: int | None = None) -> pa.Table:
    """Rows as plain PyIceberg sees them."""
    table = StaticTable.from_metadata(metadata_location)
    return table.scan(snapshot_id=snapshot_id).to_arrow()


def read_with_duckdb(metadata_location: str, snapshot_id: int | None = None) -> pa.Table:
    """Rows as DuckDB's iceberg extension sees them."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("avro", "iceberg"):
        folder = resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
        connection.execute(f"LOAD '{folder / f'{name}.duckdb_extension'}'")
    at = f", snapshot_from_id => {snapshot_id}" if snapshot_id is not None else ""
    path = metadata_location.removeprefix("file://")
    return connection.execute(f"SELECT * FROM iceberg_scan('{path}'{at})").to_arrow_table()


@cache
def spark() -> Spark:
    """Spark, for all tests of this process, with which it ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(start_spark())


@cache
def sail() -> Any:
    """A Spark session on a Sail server of this process, which ends with it."""
    return start_sail({})


def start_sail(settings: Mapping[str, str]) -> Any:
    """A Spark session on a new Sail server of this process, set up by environment variables."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    # In a process whose main module has no file, as pytest-xdist's have none, PySpark believes to run its own doctests.
    # Only while it is imported: multiprocessing would take the file for what its children have to begin with.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
        importlib.import_module("pyspark.sql.connect")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.keeps_running = server
    return session


def read_with_sail(metadata_location: str, snapshot_id: int | None = None) -> pa.Table:
    """Rows as Sail, which is Spark without Java, sees them in the folder of the table."""
    reader = sail().read.format("iceberg")
    if snapshot_id is not None:
        reader = reader.option("snapshotId", snapshot_id)
    return reader.load(metadata_location.rpartition("/metadata/")[0]).toArrow()


def read_with_spark(metadata_location: str, snapshot_id: int | None = None) -> pa.Table:
    """Rows as Spark sees them."""
    at = {} if snapshot_id is None else {"snapshot-id": snapshot_id}
    return spark().load(metadata_location, **at)


IN_PROCESS = {"pyiceberg": read_with_pyiceberg, "duckdb": read_with_duckdb, "sail": read_with_sail}
READERS = {**IN_PROCESS, "spark": read_with_spark}
EVERY_READER = pytest.mark.parametrize("engine", [*IN_PROCESS, pytest.param("spark", marks=pytest.mark.spark)])
