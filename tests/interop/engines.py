"""Other engines reading a table by the path of its metadata file."""

from __future__ import annotations

from importlib import resources

import duckdb
import pyarrow as pa
from pyiceberg.table import StaticTable


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


READERS = {"pyiceberg": read_with_pyiceberg, "duckdb": read_with_duckdb}
