"""The table and the changes that every contender gets, seeded and kept as Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

FILES = 10
KEY = "id"


@dataclass(frozen=True)
class Work:
    """Paths of the generated data, for one table size."""

    folder: Path
    rows: int

    @property
    def table(self) -> Path:
        """A folder of ten Parquet files, each a range of the key."""
        return self.folder / f"table-{self.rows}"

    def changes(self, kind: str) -> Path:
        """Parquet file of changed rows with ``op`` ('upsert' or 'delete') behind the columns."""
        return self.folder / f"changes-{self.rows}-{kind}.parquet"


_COLUMNS = """
    {id}::BIGINT AS id,
    (hash({id}, {salt}, 1) % 1000000)::INTEGER AS customer,
    ['books', 'games', 'garden', 'music', 'tools', 'toys', 'food', 'shoes'][1 + (hash({id}, {salt}, 2) % 8)::INT]
        AS category,
    ['new', 'paid', 'sent', 'done', 'back'][1 + (hash({id}, {salt}, 3) % 5)::INT] AS status,
    'R' || lpad((hash({id}, {salt}, 4) % 200)::VARCHAR, 3, '0') AS region,
    ((hash({id}, {salt}, 5) % 1000000) / 100)::DECIMAL(12, 2) AS amount,
    (hash({id}, {salt}, 6) % 100000) / 7.0 AS score,
    (1 + hash({id}, {salt}, 7) % 20)::INTEGER AS quantity,
    TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_seconds(({id} * 3 + hash({id}, {salt}, 8) % 600)::BIGINT) AS created_at,
    TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds((hash({id}, {salt}, 9) % 8640000)::BIGINT) AS updated_at,
    hash({id}, {salt}, 10) % 3 = 0 AS active,
    'item ' || (hash({id}, {salt}, 11) % 50000)::VARCHAR AS description,
    (hash({id}, {salt}, 12) % 500)::SMALLINT::INTEGER AS store
"""


def changed_rows(rows: int, turn: int, count: int) -> pa.Table:
    """Return new values for about so many stored rows, picked anew each turn."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    picked = f"SELECT DISTINCT hash(n, {turn}) % {rows} AS i FROM range({count}) t(n)"
    return connection.execute(f"SELECT {_COLUMNS.format(id='(2 * i)', salt=turn + 2)} FROM ({picked})").to_arrow_table()


def generate(folder: Path, rows: int) -> Work:
    """Make the data unless it is there. Stored keys are even numbers, so inserts fall between them."""
    work = Work(folder, rows)
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    if not work.table.exists():
        partial = work.table.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        each = rows // FILES
        for number in range(FILES):
            first = number * each
            select = f"SELECT {_COLUMNS.format(id='(2 * i)', salt=0)} FROM range({first}, {first + each}) t(i)"
            _write(connection, select, partial / f"part-{number:02}.parquet")
        partial.rename(work.table)
    # hashed twice: the lowest bits of hashes of one number with two seeds hang together
    uniform = f"SELECT i, hash(hash(i, 77)) % 20 AS dice FROM range({rows}) t(i) WHERE hash(i, 5) % 10 = 0"
    _changes(connection, work, "uniform", uniform)
    skewed = f"SELECT i, 0 AS dice FROM range({rows // 2}, {rows // 2 + rows // 20}) t(i) WHERE hash(i, 6) % 5 = 0"
    _changes(connection, work, "skewed", skewed)
    return work


def _changes(connection: duckdb.DuckDBPyConnection, work: Work, kind: str, picked: str) -> None:
    """Of the rows picked, dice 1 becomes an insert (odd key), dice 2 a delete, all others updates."""
    path = work.changes(kind)
    if path.exists():
        return
    key = "(2 * i + CASE WHEN dice = 1 THEN 1 ELSE 0 END)"
    select = (
        f"SELECT {_COLUMNS.format(id=key, salt=1)}, CASE WHEN dice = 2 THEN 'delete' ELSE 'upsert' END AS op "
        f"FROM ({picked}) ORDER BY hash(i)"
    )
    _write(connection, select, path)


def _write(connection: duckdb.DuckDBPyConnection, select: str, path: Path) -> None:
    connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)")
