"""The table, the source of every operation, and what the table has to be after it: made once, kept as files.

The oracle is a DuckDB in memory that applies the operations as SQL statements.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import duckdb

from benchmarks.merge_suite.operations import CHANGES_NOTHING, DAY, ITEM, KEY, OPERATIONS, ORDER, Kind, Operation

FILES = 8
_KEYS_APART = 64
"""Order numbers are multiples of it, so that each operation finds unused ones all over their range."""
_FIRST_DAY = "DATE '1998-01-01' + (wr_returned_date_sk - 2450815)::INTEGER"
_MILLION = 1_000_000


@dataclass(frozen=True)
class Step:
    """An operation as every contender gets it, and the table it has to leave."""

    name: str
    kind: Kind
    source: Path | None
    where: str
    rows: int
    fingerprint: str
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class Suite:
    """The generated data, for one table size."""

    folder: Path
    columns: dict[str, str]
    rows: int
    fingerprint: str
    steps: list[Step]

    @property
    def table(self) -> Path:
        """A folder of Parquet files with the table before the first operation."""
        return self.folder / "table"

    def fingerprint_query(self, relation: str) -> str:
        """Return the query for the number of rows, and a hash of them that does not depend on their order."""
        values = ", ".join(f"{name}::{kind}" for name, kind in self.columns.items())
        return f"SELECT count(*), coalesce(sum(hash({values})::HUGEINT), 0)::VARCHAR FROM {relation}"


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension of DuckDB that was installed as a package."""
    folder = resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
    connection.execute(f"LOAD '{folder / f'{name}.duckdb_extension'}'")


def prepare(folder: Path, rows: int, scale: float = 1) -> Suite:
    """Make the data unless it is there.

    Args:
        folder: Where data of all sizes is kept.
        rows: Of the table.
        scale: Of the TPC-DS generator, whose rows are repeated under other order numbers.
    """
    place = folder / f"merge-suite-{rows}-{scale}"
    if not (place / "suite.json").exists():
        shutil.rmtree(place, ignore_errors=True)
        (place / "table").mkdir(parents=True)
        _Oracle(place, rows, scale).run()
    found = json.loads((place / "suite.json").read_text())
    steps = [
        Step(**{**one, "kind": Kind(one["kind"]), "source": place / one["source"] if one["source"] else None})
        for one in found.pop("steps")
    ]
    return Suite(place, **found, steps=steps)


class _Oracle:
    def __init__(self, folder: Path, rows: int, scale: float) -> None:
        self._folder = folder
        self._db = duckdb.connect()
        load_extension(self._db, "tpcds")
        self._db.execute(f"CALL dsdgen(sf={scale})")
        self._db.execute(f"CREATE TABLE t AS {self._repeated(rows)}")
        columns = {name: str(kind) for name, kind, *_ in self._db.execute("DESCRIBE t").fetchall()}
        self._suite = Suite(folder, columns, *self._state(Suite(folder, columns, 0, "", [])), [])

    def _repeated(self, rows: int) -> str:
        (stored, highest) = self._row("SELECT count(*), max(wr_order_number) FROM web_returns")
        times = -(-rows // stored)
        return f"""
            SELECT {_FIRST_DAY} AS {DAY}, w.* EXCLUDE (wr_returned_date_sk) REPLACE (
                (wr_order_number + n * {highest + 1}) * {_KEYS_APART} AS wr_order_number)
            FROM web_returns w, range({times}) AS times(n) ORDER BY n, w.rowid LIMIT {rows}"""

    def run(self) -> None:
        """Write the table, and all steps."""
        rows = self._suite.rows
        for number in range(FILES):
            first, end = rows * number // FILES, rows * (number + 1) // FILES
            self._copy(f"SELECT * FROM t WHERE rowid >= {first} AND rowid < {end}", f"table/part-{number}.parquet")
        steps = [self._step(operation) for operation in OPERATIONS]
        content = {"columns": self._suite.columns, "rows": rows, "fingerprint": self._suite.fingerprint}
        (self._folder / "suite.json").write_text(json.dumps({**content, "steps": steps}, indent=2, default=str))

    def _step(self, operation: Operation) -> dict[str, object]:
        source, where = None, self._condition(operation.where)
        if operation.kind is not Kind.DELETE_WHERE:
            source = f"{operation.name}.parquet"
            self._db.execute(f"CREATE OR REPLACE TABLE source AS {self._source(operation)}")
            self._copy("SELECT * FROM source", source)
        before = self._row("SELECT count(*) FROM t")[0]
        for statement in statements(operation.kind, "t", "source", self._suite.columns, where):
            changed = self._row(statement)[0]
        rows, fingerprint = self._state(self._suite)
        if (changed == 0) != (operation.name == CHANGES_NOTHING):
            raise AssertionError(f"{operation.name} changes {changed} rows")
        inserted, deleted = max(rows - before, 0), max(before - rows, 0)
        updated = changed - inserted - deleted
        step = Step(operation.name, operation.kind, None, where, rows, fingerprint, inserted, updated, deleted)
        return {**asdict(step), "source": source}

    def _source(self, operation: Operation) -> str:
        """Return the query for the source: rows that are stored, changed, and rows under keys that are not."""
        dice = f"hash({ORDER}, {ITEM}, {operation.number}) % {_MILLION}"
        stored = f"{dice} < {operation.matched * _MILLION}"
        new = f"hash({ORDER}, {ITEM}, -{operation.number}) % {_MILLION} < {operation.new * _MILLION}"
        months = self._db.execute(
            f"SELECT m FROM (SELECT DISTINCT date_trunc('month', {DAY})::DATE AS m FROM t) "
            f"ORDER BY hash(m, {operation.number})"
        ).fetchall()
        picked = [month for (month,) in months[: max(1, round(len(months) * operation.files))]]
        within = " OR ".join(
            f"date_trunc('month', {DAY}) = DATE '{month}'" if month else f"{DAY} IS NULL" for month in picked
        )
        query = f"""
            SELECT * REPLACE (coalesce(wr_return_quantity, 0) + 1 AS wr_return_quantity,
                coalesce(wr_return_amt, 0) + 1 AS wr_return_amt) FROM t WHERE ({within}) AND {stored}
            UNION ALL BY NAME
            SELECT * REPLACE ({ORDER} // {_KEYS_APART} * {_KEYS_APART} + {operation.number} AS {ORDER},
                row_number() OVER (ORDER BY {ORDER}, {ITEM}) AS {ITEM}) FROM t WHERE ({within}) AND {new}"""
        columns = ", ".join(KEY) if operation.kind is Kind.DELETE_KEYS else "*"
        return f"SELECT {columns} FROM ({query}) ORDER BY hash({ORDER}, {ITEM})"

    def _condition(self, where: str) -> str:
        if "{low}" not in where:
            return where
        low, high = self._row(f"SELECT quantile_disc({ORDER}, 0.42), quantile_disc({ORDER}, 0.43) FROM t")
        return where.format(low=low, high=high)

    def _state(self, suite: Suite) -> tuple[int, str]:
        return self._row(suite.fingerprint_query("t"))

    def _copy(self, query: str, path: str) -> None:
        self._db.execute(f"COPY ({query}) TO '{self._folder / path}' (FORMAT parquet, COMPRESSION zstd)")

    def _row(self, query: str) -> tuple[int, str]:
        return self._db.execute(query).fetchall()[0]  # type: ignore[return-value]


def statements(kind: Kind, table: str, source: str, columns: Iterable[str], where: str = "") -> list[str]:
    """Return an operation as SQL."""
    on = " AND ".join(f"t.{name} = s.{name}" for name in KEY)
    merge = f"MERGE INTO {table} AS t USING {source} AS s ON {on}"
    insert = f"INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{name}' for name in columns)})"
    update = f"UPDATE SET {', '.join(f'{name} = s.{name}' for name in columns)}"
    match kind:
        case Kind.INSERT:
            return [f"{merge} WHEN NOT MATCHED THEN {insert}"]
        case Kind.INSERT_BY_CASE:
            cases = [f"WHEN NOT MATCHED AND s.{ITEM} % 2 = {rest} THEN {insert}" for rest in (0, 1)]
            return [f"{merge} {' '.join(cases)}"]
        case Kind.UPSERT:
            return [f"{merge} WHEN MATCHED THEN {update} WHEN NOT MATCHED THEN {insert}"]
        case Kind.DELETE_MATCHED | Kind.DELETE_KEYS:
            return [f"{merge} WHEN MATCHED THEN DELETE"]
        case Kind.DELETE_WHERE:
            return [f"DELETE FROM {table} WHERE {where}"]
