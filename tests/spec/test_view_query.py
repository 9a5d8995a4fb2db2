"""Views in the place of their names: in every dialect that can be converted, and no further than makes sense."""

from __future__ import annotations

import duckdb
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from cordillera.errors import InvalidNameError, InvalidSqlError, NotAllowedError
from cordillera.spec.names import DatasetRef
from cordillera.spec.query import dataset_names
from cordillera.spec.view_metadata import ViewMetadata, ViewVersion
from cordillera.spec.view_query import expand_views


def view(columns: str, namespace: tuple[str, ...] = ("s",), catalog: str | None = None, **sql: str) -> ViewMetadata:
    """Return a view of number columns, by its SQL in dialects."""
    fields = [NestedField(i, name, LongType()) for i, name in enumerate(columns.split(), 1)]
    version = ViewVersion(1, 0, 0, sql, namespace, catalog)
    return ViewMetadata("u", "l", (Schema(*fields, schema_id=0),), 1, (version,))


def run(sql: str, **views: ViewMetadata) -> list[tuple[object, ...]]:
    """Run a query over the table ``s.t`` of two rows, and views in the namespace s."""
    text = expand_views(sql, lambda ref: views.get(ref.name) if ref.namespace == "s" else None, "own")
    assert set(dataset_names(text)) <= {DatasetRef("s", "t")}
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT * FROM (VALUES (1, 10), (2, 20)) v(a, b)")
        return connection.execute(text).fetchall()


@pytest.mark.parametrize(
    "found",
    [
        view("a b", duckdb="SELECT a, b FROM s.t"),
        view("a b", duckdb="SELECT a, b FROM t"),
        view("a b", duckdb="SELECT * FROM t"),
        view("a b", duckdb="SELECT t.* FROM t"),
        view("a b", spark="SELECT `a`, `b` FROM `s`.`t`"),
        view("a b", trino='SELECT "a", CAST(b AS bigint) AS b FROM t'),
        view("a b", ("x",), "lake", spark="SELECT a, b FROM lake.s.t"),
        view("a b", spark="SELECT a, own.s.t.b FROM own.s.t"),
        view("a b", duckdb="WITH t AS (SELECT a, b FROM s.t) SELECT a, b FROM t"),
        view("a b", duckdb="SELECT a AS x, b + 0 FROM t"),
        view("a b", spark="SELECT nonsense FROM", duckdb="SELECT a, b FROM t"),
        view("a b", flinkish="SELECT a, b FROM u", mysql="SELECT a, b FROM t"),
        view("a b", DuckDB="SELECT a, b FROM t", spark="SELECT 1, 2"),
        view("A B", duckdb="SELECT a, b FROM t"),
        view("a b", duckdb="SELECT a, b FROM t UNION ALL SELECT a, b FROM t WHERE false"),
        view("a b", duckdb="SELECT a, b FROM t ORDER BY a LIMIT 2"),
    ],
)
def test_a_view_stands_for_its_query(found: ViewMetadata) -> None:
    assert sorted(run("SELECT a, b FROM s.v", v=found)) == [(1, 10), (2, 20)]
    assert run("SELECT max(v.b) FROM s.v JOIN s.t USING (a) WHERE v.a > 1", v=found) == [(20,)]
    assert run("SELECT s.v.a FROM s.v ORDER BY s.v.a DESC LIMIT 1", v=found) == [(2,)]
    assert run("SELECT y FROM s.v AS w(x, y) WHERE x = 1", v=found) == [(10,)]


def test_what_a_table_has_got_since_is_no_part_of_a_view() -> None:
    assert run("SELECT * FROM s.v ORDER BY 1", v=view("b", duckdb="SELECT * FROM t")) == [(10,), (20,)]


def test_names_are_those_of_the_view_wherever_it_is_read() -> None:
    found = view("a", duckdb="SELECT a FROM t")
    around = "WITH t AS (SELECT 7 AS a) SELECT v.a + t.a FROM s.v, t ORDER BY 1"
    assert run(around, v=found) == [(8,), (9,)]


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (view("a b", flinkish="SELECT a, b FROM t"), "cannot be read here: its SQL is for flinkish"),
        (view("a b", spark="SELECT nonsense FROM"), "cannot be read here"),
        (view("a b", spark="DROP TABLE s.t"), "cannot be read here"),
        (view("a b", duckdb="SELECT a FROM t"), "has 2 columns, and its SQL 1"),
    ],
)
def test_a_view_that_cannot_be_read_says_why(found: ViewMetadata, what: str) -> None:
    with pytest.raises(InvalidSqlError, match=what):
        run("SELECT * FROM s.v", v=found)


def test_what_a_view_reads_is_as_restricted_as_any_query() -> None:
    for sql in ("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM 'a.parquet'"):
        text = expand_views("SELECT * FROM s.v", lambda _, sql=sql: view("a", duckdb=sql), "own")
        with pytest.raises((InvalidSqlError, InvalidNameError)):
            dataset_names(text)


def test_views_that_read_each_other_are_refused() -> None:
    circle = {"a": view("x", duckdb="SELECT x FROM b"), "b": view("x", duckdb="SELECT x FROM c, t")}
    with pytest.raises(NotAllowedError, match=r"s\.a reads itself: s\.a → s\.b → s\.c → s\.a"):
        run("SELECT * FROM s.a", **circle, c=view("x", duckdb="SELECT x FROM a"))


def test_views_that_grow_by_themselves_are_refused() -> None:
    doubled = {f"v{i}": view("a", duckdb=f"SELECT x.a FROM v{i - 1} x, v{i - 1} y") for i in range(1, 12)}
    with pytest.raises(NotAllowedError, match="too many"):
        run("SELECT * FROM s.v11", v0=view("a", duckdb="SELECT a FROM t"), **doubled)
