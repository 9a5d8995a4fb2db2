"""What statistics tell about filters: never that a row fails which satisfies them, nor that all do when one fails."""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.spec.expression import parse_row_filter
from cordillera.spec.merge import Operation, WriteMode
from cordillera.table.pruning import FilterCover, FilterPruner
from cordillera.table.reader import FileReader
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64()),
        pa.field("s", pa.string()),
        pa.field("b", pa.bool_()),
        pa.field("d", pa.date32()),
        pa.field("f", pa.float64()),
    ]
)
DAYS = [date(2026, 1, 30) + timedelta(days=n) for n in range(4)]
ROWS = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-2, 2),
        "s": st.none() | st.sampled_from(["", "a", "b" * 20, "b" * 21]),
        "b": st.none() | st.booleans(),
        "d": st.none() | st.sampled_from(DAYS),
        "f": st.sampled_from([None, float("nan"), 0.0, 1.0]),
    }
)
ATOMS = st.one_of(
    st.builds("n {} {}".format, st.sampled_from(["=", "<", "<=", ">", ">=", "<>"]), st.integers(-2, 2)),
    st.builds("{} < n".format, st.integers(-2, 2)),
    st.builds("s {} '{}'".format, st.sampled_from(["=", "<", ">="]), st.sampled_from(["", "a", "b" * 20, "b" * 17])),
    st.builds("d {} DATE '{}'".format, st.sampled_from(["=", "<", ">="]), st.sampled_from(DAYS)),
    st.builds("d BETWEEN DATE '{}' AND DATE '{}'".format, st.sampled_from(DAYS), st.sampled_from(DAYS)),
    st.builds("n IN ({}, {})".format, st.integers(-2, 2), st.integers(-2, 2)),
    st.builds("{} IS {}".format, st.sampled_from("nsbd"), st.sampled_from(["NULL", "NOT NULL"])),
    st.builds("f {} {}".format, st.sampled_from(["=", "<", ">="]), st.sampled_from(["0", "1"])),
    st.sampled_from(["b", "NOT b", "b = true", "length(s) = 1", "n + 1 > 0", "TRUE"]),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4), st.lists(CONDITIONS, min_size=4, max_size=8))
def test_statistics_never_claim_too_much(rows: list[dict[str, Any]], conditions: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="cordillera-test-") as folder:
        table = LooseTable(Path(folder), SCHEMA)
        table.write(Operation.APPEND, rows)
        (live,) = table.io.files.live(table.metadata.current_snapshot)
        for text in conditions:
            where = parse_row_filter(text, table.metadata.schema)
            satisfied = table.io.engine.table(f"SELECT * FROM t WHERE {where.sql}", {"t": table.rows()}).num_rows
            covers = FilterCover(table.metadata.schema, where.columns, where.certain)(live.file)
            prunes = not FilterPruner(table.metadata, table.metadata.schema, where.pruning)(live.file)
            assert not covers or satisfied == len(rows), text
            assert not prunes or satisfied == 0, text


@pytest.mark.parametrize("mode", WriteMode)
@pytest.mark.parametrize("partitioning", [("month(d)",), ("d",), ()])
def test_deletes_of_whole_files_read_and_write_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: WriteMode, partitioning: tuple[str, ...]
) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("n",), mode=mode, partitioning=partitioning)
    for first in (0, 10):
        days = [date(2026, 1, 1 + i) if first else date(2026, 2, 1 + i) for i in range(10)]
        numbers = range(first, first + 10)
        table.write(
            Operation.APPEND,
            [{"n": n, "s": "x", "b": True, "d": d, "f": 1.0} for n, d in zip(numbers, days, strict=True)],
        )
    for n in (3, 13):  # one by one: what is left of small files that one write touches goes to one file
        table.write(Operation.DELETE, pa.table({"n": pa.array([n], pa.int64())}))
    before = set(tmp_path.rglob("*.parquet"))
    monkeypatch.setattr(FileReader, "read", lambda *_: pytest.fail("a data file is read"))
    removed = table.delete_where("d >= DATE '2026-02-01' AND d < DATE '2026-03-01'")
    assert removed.manifest.rows_deleted == 9
    assert set(tmp_path.rglob("*.parquet")) == before
    monkeypatch.undo()
    assert pc.sum(table.rows().column("n")).as_py() == sum(range(10, 20)) - 13
