"""Files of tables with a sort order: each holds its rows sorted, and says so, or says that it does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cordillera.spec.maintenance import Strategy
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.schema_evolution import RenameColumn
from cordillera.spec.sort_order import describe_sort_order
from cordillera.table.live_files import LiveFile
from tests.table.harness import LooseTable

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("place", pa.string()),
        ("amount", pa.float64()),
        ("note", pa.string()),
    ]
)
NAN = float("nan")


def rows(ids: list[int], **columns: Any) -> pa.Table:
    """Return rows in a scattered order, with NULL, NaN and infinities among the amounts."""
    special = [None, NAN, float("-inf"), float("inf"), -0.0, 0.0]
    scattered = sorted(ids, key=lambda i: i * 7919 % 1009)
    given = [
        {
            "id": i,
            "place": "abc"[i % 3] if i % 5 else None,
            "amount": special[i] if i < len(special) else float(i * 31 % 17),
            "note": f"n{i % 4}",
            **columns,
        }
        for i in scattered
    ]
    return pa.Table.from_pylist(given, SCHEMA)


def live(table: LooseTable) -> tuple[LiveFile, ...]:
    return table.io.files.live(table.metadata.current_snapshot)


def stored(file: LiveFile, *columns: str) -> list[Any]:
    read = pq.read_table(file.path.removeprefix("file://"), columns=list(columns))
    values = [column.to_pylist() for column in read.columns]
    return list(zip(*values, strict=True)) if len(values) > 1 else values[0]


def by_amount(value: float | None) -> tuple[int, float]:
    """Return where an amount stands in ascending order: NaN is the largest, NULL comes behind it."""
    if value is None:
        return 2, 0.0
    return (1, 0.0) if value != value else (0, value)


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("version", [2, 3])
def test_rows_of_every_write_are_sorted_within_each_file(tmp_path: Path, mode: WriteMode, version: int) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode, format_version=version, partitioning=("place",))
    table.sort_by("amount nulls last", "id desc")
    assert describe_sort_order(table.metadata) == ("amount nulls last", "id desc")
    table.write(Operation.APPEND, rows(list(range(500))))
    table.write(Operation.UPSERT, rows(list(range(400, 600)), note="new"))
    table.write(Operation.REPLACE_PARTITIONS, rows(list(range(700, 730)), place="z"))
    table.write(Operation.DELETE, [{"id": i} for i in range(50, 90)])
    files = live(table)
    assert len({file.file.partition for file in files}) == 5
    for file in files:
        assert file.file.sort_order_id == 1
        values = [(by_amount(amount), -number) for amount, number in stored(file, "amount", "id")]
        assert values == sorted(values)
    assert table.rows().num_rows == 600 + 30 - 40


def test_terms_may_descend_and_transform(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    for terms in (("place desc",), ("truncate(1, note)", "id"), ("bucket(4, id)", "id desc"), ("place", "id")):
        table.sort_by(*terms)
        table.write(Operation.REPLACE, rows(list(range(200))))
        (file,) = live(table)
        assert file.file.sort_order_id == table.metadata.default_sort_order_id
    assert [order["order-id"] for order in table.metadata.sort_orders] == [0, 1, 2, 3, 4]
    places = stored(file, "place")
    assert places == sorted(places, key=lambda place: (place is not None, place))
    table.sort_by("place desc")
    assert table.metadata.default_sort_order_id == 1  # the same as before
    table.write(Operation.REPLACE, rows(list(range(200))))
    places = stored(live(table)[0], "place")
    assert places == sorted(places, key=lambda place: (place is not None, place), reverse=True)


def test_no_order_leaves_rows_as_they_come(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA)
    table.sort_by("id")
    table.sort_by()
    given = rows(list(range(100)))
    table.write(Operation.APPEND, given)
    (file,) = live(table)
    assert (stored(file, "id"), file.file.sort_order_id) == (given.column("id").to_pylist(), 0)


def test_a_file_written_anew_says_sorted_only_while_it_is(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=WriteMode.COPY_ON_WRITE)
    table.sort_by("amount", "id")
    table.write(Operation.APPEND, rows(list(range(10, 100))))
    before = table.rows().to_pylist()
    changed = [{**row, "note": "other"} for row in before if row["id"] in (20, 21)]
    table.write(Operation.UPSERT, changed)  # amounts stay
    table.write(Operation.DELETE, [{"id": 30}])
    (file,) = live(table)
    assert file.file.sort_order_id == 1
    values = stored(file, "amount", "id")
    assert values == sorted(values)
    table.evolve(RenameColumn("amount", "sum"))
    table.write(Operation.PARTIAL_UPDATE, pa.table({"id": [20], "sum": [1e9]}))
    (file,) = live(table)
    assert file.file.sort_order_id == 0
    assert {row["id"]: row["sum"] for row in table.rows().to_pylist()}[20] == 1e9


@pytest.mark.parametrize("strategy", [Strategy.BIN_PACK, Strategy.SORT])
def test_compaction_sorts_as_the_table_says(tmp_path: Path, strategy: Strategy) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    for first in (0, 100, 200):
        table.write(Operation.APPEND, rows(list(range(first, first + 100))))
    table.sort_by("note", "id desc")
    assert {file.file.sort_order_id for file in live(table)} == {0}
    table.compact(strategy=strategy)
    (file,) = live(table)
    values = [(note, -number) for note, number in stored(file, "note", "id")]
    assert (file.file.sort_order_id, values) == (1, sorted(values))


def test_a_compaction_in_another_order_does_not_claim_the_tables(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.sort_by("note")
    for options in (
        {"strategy": Strategy.SORT, "columns": ("id",)},
        {"strategy": Strategy.Z_ORDER, "columns": ("id", "amount")},
    ):
        table.write(Operation.UPSERT, rows(list(range(100))))
        table.compact(**options)
        (file,) = live(table)
        assert file.file.sort_order_id == 0
        if options["strategy"] is Strategy.SORT:
            assert stored(file, "id") == list(range(100))


def test_sorted_compaction_by_the_order_keeps_ranges_apart(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), properties={"write.target-file-size-bytes": "4000"})
    table.sort_by("note desc", "id")
    for first in range(0, 900, 300):
        table.write(Operation.APPEND, rows(list(range(first, first + 300))))
    assert table.compact(strategy=Strategy.SORT, rewrite_all=False) == 1
    assert table.compact(strategy=Strategy.SORT, rewrite_all=False) == 0
    assert {file.file.sort_order_id for file in live(table)} == {1}


def test_a_write_staged_under_another_order_says_what_it_is(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",))
    table.sort_by("id")
    staged = table.writer.stage(Operation.APPEND, rows(list(range(50))).to_reader(), table.metadata)
    table.sort_by("amount")
    table.commit(table.writer.resolve(staged, table.metadata))
    (file,) = live(table)
    assert (file.file.sort_order_id, stored(file, "id")) == (1, list(range(50)))


def test_a_write_larger_than_the_engines_memory_spills(tmp_path: Path) -> None:
    from cordillera.adapters.engines.duckdb_engine import DuckDBEngine
    from cordillera.table.io import TableIO

    table = LooseTable(tmp_path, SCHEMA)
    table.io = TableIO(table.io.storage, DuckDBEngine("32MB", threads=1), table.io.clock)
    table.writer = type(table.writer)(table.io, "test.table")
    table.sort_by("note", "id")
    schema = table.arrow_schema()
    count = 8

    def batches() -> Any:
        for index in range(count):
            numbers = pa.array(range(index * 50_000, (index + 1) * 50_000), pa.int64())
            note = pa.array([os.urandom(40).hex() for _ in range(50_000)])
            yield pa.RecordBatch.from_arrays(
                [numbers, pa.nulls(50_000, pa.string()), pa.nulls(50_000, pa.float64()), note], schema=schema
            )

    staged = table.writer.stage(Operation.APPEND, pa.RecordBatchReader.from_batches(schema, batches()), table.metadata)
    assert sum(file.record_count for file in staged.files) == count * 50_000
    previous = ""
    for file in staged.files:
        notes = pq.read_table(file.file_path.removeprefix("file://"), columns=["note"]).column("note")
        assert notes[0].as_py() >= previous
        previous = notes[-1].as_py()
