"""Scans: what statistics rule out must never have mattered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordillera.errors import CorruptDataError, InvalidExpressionError, UnknownColumnError
from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation
from cordillera.table.pruning import FilterPruner
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("ratio", pa.float64()),
        pa.field("day", pa.date32()),
        pa.field("seen", pa.timestamp("us", "UTC")),
        pa.field("flag", pa.bool_()),
    ]
)
DAY = 86_400_000_000


def value_rows() -> pa.Table:
    ids = list(range(40))
    ratios = [None if i % 7 == 0 else math.nan if i % 5 == 0 else -0.0 if i % 3 == 0 else i / 4 for i in ids]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([None if i % 9 == 0 else "xyz"[i % 3] * (i % 4) for i in ids], pa.string()),
            "ratio": pa.array(ratios, pa.float64()),
            "day": pa.array([15_000 + i // 4 for i in ids], pa.int32()).cast(pa.date32()),
            "seen": pa.array([15_000 * DAY + i * DAY // 3 for i in ids], pa.timestamp("us", "UTC")),
            "flag": pa.array([None if i % 11 == 0 else i % 2 == 0 for i in ids], pa.bool_()),
        }
    )


@pytest.fixture(scope="module", params=[(), ("day(seen)",), ("bucket(4, id)",), ("truncate(2, name)", "flag")])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LooseTable:
    made = LooseTable(tmp_path_factory.mktemp("scan"), SCHEMA, key=("id",), partitioning=request.param)
    rows = value_rows()
    for start in range(0, 40, 8):
        made.write(Operation.APPEND, rows.slice(start, 8))
    return made


INSTANTS = st.integers(-1, 15).map(lambda i: f"'{__import__('datetime').date.fromordinal(719_163 + 15_000 + i)}'")
ATOMS = st.one_of(
    st.builds("id {} {}".format, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), st.integers(-2, 42)),
    st.builds("{} > id".format, st.integers(-2, 42)),
    st.builds("id IN ({}, {})".format, st.integers(-2, 42), st.integers(-2, 42)),
    st.builds("id BETWEEN {} AND {}".format, st.integers(-2, 42), st.integers(-2, 42)),
    st.builds("name {} '{}'".format, st.sampled_from(["=", "<", ">=", "<>"]), st.sampled_from(["", "x", "yy", "a"])),
    st.builds("ratio {} {}".format, st.sampled_from(["=", "<", ">", "<>"]), st.sampled_from(["0.0", "2.5", "'nan'"])),
    st.builds("day {} {}".format, st.sampled_from(["=", "<", ">"]), INSTANTS),
    st.builds("day = DATE {}".format, INSTANTS),
    st.builds("seen {} {}".format, st.sampled_from(["<", ">=", "="]), INSTANTS),
    st.builds("seen < TIMESTAMPTZ {}".format, INSTANTS),
    st.builds("{} IS {}NULL".format, st.sampled_from(["name", "ratio", "flag", "id"]), st.sampled_from(["", "NOT "])),
    st.sampled_from(["flag", "NOT flag", "flag = true", "flag IS NOT TRUE", "name LIKE 'x%'", "length(name) > 1"]),
)  # fmt: skip
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({}) AND ({})".format, inner, inner),
        st.builds("({}) OR ({})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(condition=CONDITIONS)
def test_filters_agree_with_plain_duckdb(table: LooseTable, condition: str) -> None:
    plain = duckdb.connect()
    plain.execute("SET TimeZone = 'UTC'")
    plain.register("arrow", value_rows())
    plain.execute("CREATE TABLE everything AS FROM arrow")  # away from Arrow, whose NaN compares differently
    expected = plain.execute(f"SELECT id FROM everything WHERE {condition} ORDER BY id").fetchall()
    found = table.rows(where=condition, columns=["id"]).column("id").to_pylist()
    assert sorted(found) == [row[0] for row in expected]


def test_pruning_passes_over_files(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), partitioning=("day(seen)",))
    table.write(Operation.APPEND, value_rows())
    schema = table.metadata.schema
    live = table.io.files.live(table.metadata.current_snapshot)
    one = FilterPruner(table.metadata, schema, parse_row_filter("seen = '2011-01-27T00:00:00Z'", schema).pruning)
    assert 0 < sum(one(file.file) for file in live) < len(live)
    none = FilterPruner(table.metadata, schema, parse_row_filter("id > 1000", schema).pruning)
    assert not any(none(file.file) for file in live)


def test_row_groups_are_passed_over(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.int64())]), key=("id",))
    ids = pa.array(range(400_000), pa.int64())
    table.write(Operation.APPEND, pa.table({"id": ids, "v": ids}))
    assert table.rows(where="id = 399999").to_pylist() == [{"id": 399_999, "v": 399_999}]
    table.write(Operation.DELETE, pa.table({"id": pa.array([5, 200_000, 399_999], pa.int64())}))
    assert table.rows(where="id IN (4, 5, 200000, 200001, 399999)", columns=["id"]).to_pylist() == [
        {"id": 4},
        {"id": 200_001},
    ]
    assert table.rows().num_rows == 399_997


@pytest.mark.parametrize(
    "where", ["id = (SELECT 1)", "count(*) > 1", "id =", "id = 1; SELECT 2", "id = $1", "1 = 1) OR (1 = 1"]
)
def test_filters_that_are_no_condition_are_refused(table: LooseTable, where: str) -> None:
    with pytest.raises(InvalidExpressionError, match="filter"):
        table.rows(where=where)


def test_unknown_columns_are_named(table: LooseTable) -> None:
    with pytest.raises(UnknownColumnError, match="'nope'"):
        table.rows(columns=["id", "nope"])
    with pytest.raises(UnknownColumnError, match="'nope'"):
        table.rows(where="nope = 1")


def damaged(path: Path, change: Any) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        (".parquet", lambda data: data[: len(data) // 2]),
        (".parquet", lambda data: data[:100] + bytes(300) + data[400:]),
        (".puffin", lambda data: data[:20] + b"\xff\xff" + data[22:]),
        (".puffin", lambda data: data[:10]),
    ],
    ids=["truncated", "zeroed", "flipped-vector", "truncated-vector"],
)
def test_damaged_files_give_an_error_and_no_rows(tmp_path: Path, suffix: str, change: Any) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, value_rows())
    table.write(Operation.DELETE, pa.table({"id": pa.array([1, 2], pa.int64())}))
    (victim,) = tmp_path.rglob(f"*{suffix}")
    damaged(victim, change)
    reopened = LooseTable(tmp_path, SCHEMA, key=("id",))
    reopened.metadata = table.metadata
    with pytest.raises(CorruptDataError, match=victim.name):
        reopened.rows()


def test_missing_files_give_an_error(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.write(Operation.APPEND, value_rows())
    (victim,) = tmp_path.rglob("*.parquet")
    victim.unlink()
    with pytest.raises(CorruptDataError, match=victim.name):
        table.rows()
