"""SQL written by contract authors: what may run runs as DuckDB reads it, everything else is refused with a reason."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.contract.fragments import (
    AGGREGATES,
    FUNCTIONS,
    MAX_LENGTH,
    ROWS,
    fill_placeholders,
    row_predicate,
    scalar_query,
)
from cordillera.spec.contract.literals import RefusedSql
from cordillera.spec.contract.words import words
from tests.spec.contract_support import query

COLUMNS = ("i", "f", "s", "d", "ts", "l", "st", "b", "Mixed Case", "month")
ROW = pa.table(
    {
        "i": pa.array([5], pa.int32()),
        "f": pa.array([2.5]),
        "s": ["abc"],
        "d": [date(2020, 2, 3)],
        "ts": [datetime.fromisoformat("2020-02-03T04:05:06")],
        "l": [[1, 2]],
        "st": [{"a": {"b": 7}}],
        "b": [True],
        "Mixed Case": [9],
        "month": [2],
    }
)

HOLDS = [
    "i > 0 OR i IS NULL",
    "i = 5 AND f = 2.5 -- why",
    "/* why */ i == 5",
    "i BETWEEN 1 AND 9 AND i NOT BETWEEN 6 AND 9",
    "I IN (1, 5) AND s NOT IN ('x', 'it''s')",
    "s LIKE 'a%' AND s NOT ILIKE 'B%' AND s LIKE 'a_c' ESCAPE '!'",
    "s ~ 'a.c'",
    "s !~ 'a'",
    "s SIMILAR TO 'ab.'",
    "regexp_matches(s, '^[a-c]+$')",
    "length(s) = 3 AND upper(s) = 'ABC' AND substring(s, 1, 2) = 'ab' AND s[1:2] = 'ab'",
    "s || 'x' = 'abcx'",
    "position('b' IN s) = 2",
    "i % 2 = 1 AND i // 2 = 2 AND i / 2 = 2.5 AND -i < 0 AND i ** 2 = 25 AND i & 1 = 1",
    "round(f) = 3 AND abs(-i) = 5 AND greatest(i, 9) = 9 AND coalesce(NULL, i) = 5",
    "CASE WHEN i > 3 THEN b ELSE FALSE END",
    "CASE i WHEN 5 THEN TRUE END",
    "CAST(i AS DECIMAL(10, 2)) = 5 AND i::bigint = 5 AND TRY_CAST(s AS INT) IS NULL",
    "d = DATE '2020-02-03' AND d + INTERVAL '1 day' > d AND d + INTERVAL 1 DAY > d",
    "date_trunc('month', ts) = TIMESTAMP '2020-02-01 00:00:00' AND extract(hour FROM ts) = 4 AND year(d) = 2020",
    "date_diff('day', d, DATE '2020-02-05') = 2",
    "(i, month) = (5, 2)",
    "i IS DISTINCT FROM 4 AND i IS NOT DISTINCT FROM 5 AND b IS TRUE AND NOT (b IS FALSE)",
    "len(l) = 2 AND l[1] = 1 AND list_contains(l, 2)",
    "st.a.b = 7 AND struct_extract(st, 'a') IS NOT NULL AND st['a'] IS NOT NULL",
    '"Mixed Case" = 9 AND month = 2',
    "1e1 = 10 AND 1.5 < f AND .5 < f",
    "ts AT TIME ZONE 'UTC' IS NOT NULL",
]


@pytest.mark.parametrize("text", HOLDS)
def test_an_allowed_predicate_runs_as_duckdb_reads_it(text: str) -> None:
    predicate = row_predicate(text, COLUMNS).sql
    with duckdb.connect() as connection:
        connection.register("rows", ROW)
        as_written = connection.execute(f"SELECT ({text.split('--')[0]}) FROM rows").fetchall()
        as_checked = connection.execute(f"SELECT ({predicate}) FROM rows").fetchall()
    assert as_checked == as_written == [(True,)]


def test_a_predicate_knows_the_columns_it_reads() -> None:
    predicate = row_predicate('I > month AND "mixed case" > 1 AND st.a.b > i', COLUMNS)
    assert predicate.columns == ("i", "st", "Mixed Case", "month")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("getenv('HOME') = 'x'", "function 'getenv'"),
        ("\"getenv\"('HOME') = 'x'", "function 'getenv'"),
        ("s.getenv() = 'x'", "function 'getenv'"),
        ("'HOME'.getenv() = 'x'", "function 'getenv'"),
        ("main.getenv('HOME') = 'x'", "function 'getenv'"),
        ("getenv/* */('HOME') = 'x'", "function 'getenv'"),
        ("getenv\n('HOME') = 'x'", "function 'getenv'"),
        ("(SELECT content FROM read_text('/etc/passwd')) = 'x'", "function 'read_text'"),
        ("i IN (SELECT 1)", "Subquery"),
        ("i IN (FROM other)", "not valid|Subquery|Select"),
        ("EXISTS (SELECT 1)", "function 'exists'"),
        ("i > ALL (SELECT 1)", "function 'all'"),
        ("i > now()", "function 'now'"),
        ("d < current_date", "function 'current_date'"),
        ("current_user = 'x'", "current_user"),
        ("random() > 0.5", "function 'random'"),
        ("nextval('x') > 0", "function 'nextval'"),
        ("current_setting('access_mode') = 'x'", "function 'current_setting'"),
        ("repeat(s, 1000000000) = 'x'", "function 'repeat'"),
        ("count(*) > 1", "function 'count'"),
        ("sum(i) OVER () > 1", "function 'sum'"),
        ("unnest(l) > 1", "function 'unnest'"),
        ("columns('i') > 1", "function 'columns'"),
        ("list_transform(l, x -> x + 1) IS NULL", "function 'list_transform'"),
        ("[x FOR x IN l] IS NULL", "Comprehension"),
        ("i > $1", r"\$1|Placeholder"),
        ("i > ?", "Placeholder"),
        ("#1 > 1", "PositionalColumn"),
        ("s = E'x'", "E'x'"),
        ("s = $$x$$", r"\$\$x"),
        ("s = x'41'", "not valid"),
        ("i::json IS NULL", "type"),
        ("i::made_up IS NULL", "type"),
        ("i > 1; DROP TABLE rows", "';'"),
        ("1) FROM rows; --", "not valid|';'"),
        ("1) UNION SELECT (1", "not valid"),
        ("TRUE FROM rows", "not a single expression"),
        ("TRUE WHERE TRUE", "not a single expression"),
        ("DISTINCT i", "not a single expression"),
        ("i AS x", "not a single expression"),
        ("i, f", "not a single expression"),
        ("*", "not a single expression"),
        ("rows.i > 1", "no column 'rows'"),
        ("elsewhere > 1", "no column 'elsewhere'; the columns are i, f"),
        ("rowid > 1", "no column 'rowid'"),
        ("ATTACH 'x'", "not a single|not valid|may not"),
        ("COPY rows TO 'x'", "not a single|not valid|may not"),
        ("PRAGMA database_list", "not a single|not valid|may not"),
        ("", "empty"),
        ("-- nothing", "empty"),
        ("i >", "not valid"),
        ("(" * 2000 + "i" + ")" * 2000, "nested too deeply"),
        ("i > 1 " + " " * MAX_LENGTH, "limit is 10000"),
        ("s = 'a\x00b'", "NUL"),
    ],
)
def test_everything_else_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RefusedSql, match=reason):
        row_predicate(text, COLUMNS)


def checked(text: str) -> str:
    return scalar_query(fill_placeholders(text, '"i"'), ["orders", "t_orders"], COLUMNS).sql


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SELECT count(*) FROM {object} WHERE {property} IS NOT NULL", 3),
        ("SELECT COUNT(*) FROM ${table} WHERE ${column} IS NOT NULL", 3),
        ("select count(*) from orders where orders.i > 1", 2),
        ("select count(*) from T_Orders o where o.i > 1", 2),
        ("select max(i) - min(i) from {object}", 2),
        ("select max(i) < 10 from {object}", True),
        ("select 100.0 * count(*) filter (where i > 2) / count(*) from {object}", 100 / 3),
        (
            "select count(*) from (select s, count(*) as n from orders group by s having count(*) > 1) t where n > 1",
            1,
        ),
        ("select count(*) from (select distinct s from {object})", 2),
        ("select sum(t.n) from (select count(*) n from {object} group by s) t", 3),
        ("select avg(i) filter (where i > 99) from {object}", None),
        ("FROM {object} SELECT count(DISTINCT s)", 2),
    ],
)
def test_an_allowed_query_gives_its_value(text: str, value: object) -> None:
    rows = pa.table({"i": pa.array([1, 2, 3], pa.int32()), "s": ["a", "a", "b"]})
    sql = f"WITH {ROWS} AS (SELECT * FROM rows) SELECT {checked(text)} AS value"
    (found,) = query(sql, rows)
    assert found["value"] == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT count(*) FROM elsewhere", "reads 'elsewhere'"),
        ("SELECT count(*) FROM main.orders", "reads 'main.orders'"),
        ("SELECT count(*) FROM 'people.csv'", "reads"),
        ('SELECT count(*) FROM "people.csv"', "reads"),
        ("SELECT count(*) FROM read_csv('people.csv')", "function 'read_csv'"),
        ("SELECT count(*) FROM range(10)", "function 'range'"),
        ("SELECT count(*) FROM {object}, {object} b", "Join"),
        ("SELECT count(*) FROM {object} JOIN {object} b ON TRUE", "Join"),
        ("WITH x AS (SELECT 1) SELECT count(*) FROM {object}", "With"),
        ("SELECT count(*) FROM {object} UNION SELECT 1", "single SELECT"),
        ("SELECT count(*) FROM {object} WHERE i IN (SELECT i FROM {object})", "only stand in FROM"),
        ("SELECT (SELECT count(*) FROM {object}) FROM {object}", "only stand in FROM"),
        ("SELECT count(*), 1 FROM {object}", "one value"),
        ("SELECT i FROM {object}", "one aggregated value"),
        ("SELECT count(*) FROM {object} GROUP BY i", "one aggregated value"),
        ("SELECT count(*) FROM {object} LIMIT 1", "Limit"),
        ("SELECT count(*) FROM {object} USING SAMPLE 1", "TableSample"),
        ("SELECT count(*) OVER () FROM {object}", "function 'over'"),
        ("SELECT count(*)", "does not read"),
        ("SELECT count(*) FROM {object}; SELECT 1", "';'"),
        ("SELECT count(*) FROM {object} WHERE elsewhere > 1", "no column 'elsewhere'"),
        ("SELECT count(getenv('HOME')) FROM {object}", "function 'getenv'"),
        ("ATTACH 'x.db'", "single SELECT"),
        ("COPY {object} TO 'x'", "single SELECT"),
        ("INSTALL httpfs", "single SELECT|may not|not valid"),
    ],
)
def test_other_queries_are_refused(text: str, reason: str) -> None:
    with pytest.raises(RefusedSql, match=reason):
        checked(text)


def test_a_rule_of_the_object_has_no_property() -> None:
    with pytest.raises(RefusedSql, match="quality rules of a property"):
        fill_placeholders("SELECT count({property}) FROM {object}", None)


def test_a_plain_count_gives_its_condition() -> None:
    def condition(text: str) -> str | None:
        return scalar_query(fill_placeholders(text, '"i"'), ["orders"], COLUMNS).counted_condition

    assert condition("select count(*) from orders where i < 0 or i > 5 -- x") == "i < 0 or i > 5"
    assert condition("select count(*) as n from {object} where {property} is null") == '"i" is null'
    assert condition("select count(i) from {object} where i > 1") is None
    assert condition("select count(*) from {object}") is None
    assert condition("select count(*) + 1 from {object} where i > 1") is None
    assert condition("select count(*) from {object} o where o.i > 1") is None
    assert condition("select count(*) from (select i from {object} where i > 1)") is None


def test_every_listed_function_exists_in_duckdb() -> None:
    special = {"array_contains", "cast", "try_cast", "coalesce", "extract", "position", "nullif", "ifnull", "if"}
    names = {row["name"] for row in query("SELECT function_name AS name FROM duckdb_functions()", pa.table({"x": [1]}))}
    assert (FUNCTIONS | AGGREGATES) - special <= names


def test_listed_functions_depend_on_nothing_but_their_arguments() -> None:
    sql = """SELECT DISTINCT function_name AS name, function_type AS kind, stability FROM duckdb_functions()"""
    for row in query(sql, pa.table({"x": [1]})):
        if row["name"] in FUNCTIONS | AGGREGATES:
            assert row["kind"] in ("scalar", "aggregate", "macro"), row
            assert row["stability"] in ("CONSISTENT", None), row


@pytest.mark.parametrize("name", sorted(AGGREGATES))
def test_every_listed_aggregate_is_accepted_as_the_value_of_a_query(name: str) -> None:
    arguments = {"quantile_cont": "i, 0.5", "quantile_disc": "i, 0.5", "bool_and": "b", "bool_or": "b", "count_if": "b"}
    two = name in ("corr", "covar_pop", "covar_samp")
    text = f"SELECT {name}({arguments.get(name, 'i, f' if two else 'i')}) FROM {{object}}"
    rows = pa.table({"i": [1.0, 2.0, 3.0, 5.0], "f": [1.0, 3.0, 2.0, 4.0], "b": [True, True, False, True]})
    assert query(f"WITH {ROWS} AS (SELECT * FROM rows) SELECT {checked(text)} AS value", rows)[0]["value"] is not None


_PIECES = st.sampled_from(
    words(
        "i f s ( ) , 'x' 1 = > AND OR NOT SELECT FROM rows . getenv * count -- /* */ ; $ \" ' :: int CASE WHEN END IN"
    )
)


@given(
    st.lists(_PIECES, max_size=14).map("\n".join) | st.lists(_PIECES, max_size=14).map(" ".join) | st.text(max_size=40)
)
def test_no_fragment_fails_with_another_error_or_smuggles_in_more_than_an_expression(text: str) -> None:
    with suppress(RefusedSql):
        predicate = row_predicate(text, COLUMNS).sql
        assert "getenv" not in re.sub(r"'[^']*'", "", predicate)
        with duckdb.connect() as connection:
            connection.register("rows", ROW)
            statement = f"SELECT ({predicate}) AS one FROM rows"
            try:
                result = connection.execute(statement).fetchall()
            except duckdb.Error:
                return
        assert len(result) == 1
        assert len(result[0]) == 1


@given(st.lists(_PIECES, max_size=16).map(" ".join))
def test_no_query_fails_with_another_error(text: str) -> None:
    with suppress(RefusedSql):
        scalar_query(f"SELECT {text}", ["orders"], COLUMNS)
