"""Bloom filters: hashes and bits by the specification, kept by every rewrite, and of use to lookups and scans."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.catalog.new_table import TableOptions
from cordillera.client.local import LocalBackend
from cordillera.errors import CorruptDataError, InvalidSchemaError
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.schema_evolution import RenameColumn, WidenColumn
from cordillera.table.bloom_filter import ENABLED, BloomFilter, filter_locations, hashes_of
from tests.table.foreign_deletes import live
from tests.table.harness import LooseTable

SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int32()), ("note", pa.string())])
PROPERTIES = {f"{ENABLED}id": "true", "write.parquet.bloom-filter-fpp.column.id": "0.001", f"{ENABLED}n": "true"}
ROWS = 400_000


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_hashes_are_those_of_xxh64(data: bytes, expected: int) -> None:
    assert hashes_of(pa.array([b"x", data, b"yy"], pa.binary()))[1] == expected
    assert hashes_of(pa.array([b"x", data], pa.binary()).slice(1))[0] == expected


VALUES = st.one_of(
    st.tuples(st.just(pa.int32()), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50)),
    st.tuples(st.just(pa.int64()), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50)),
    st.tuples(st.just(pa.date32()), st.lists(st.dates(), min_size=1, max_size=50)),
    st.tuples(st.just(pa.string()), st.lists(st.text(max_size=90), min_size=1, max_size=50)),
    st.tuples(st.just(pa.binary()), st.lists(st.binary(max_size=90), min_size=1, max_size=50)),
    st.tuples(st.just(pa.binary(16)), st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=50)),
)


@given(VALUES, st.booleans())
def test_what_another_writer_put_in_is_found(values: tuple[pa.DataType, list[Any]], dictionary: bool) -> None:
    column = pa.array(values[1], values[0])
    file = BytesIO()
    with pq.ParquetWriter(
        file, pa.schema([("c", values[0])]), use_dictionary=dictionary, bloom_filter_options={"c": {"ndv": 100}}
    ) as writer:
        writer.write_table(pa.table({"c": column}))
    place = filter_locations(pq.read_metadata(BytesIO(file.getvalue())), 0, {7: "c"})[7]
    bloom = BloomFilter(file.getvalue()[place.offset : place.offset + place.length])
    assert bloom.may_contain(hashes_of(column)).all()


def identifier(number: int) -> str:
    return str(UUID(int=random.Random(number).getrandbits(128)))


def table_of_identifiers(tmp_path: Path, mode: WriteMode = WriteMode.MERGE_ON_READ) -> LooseTable:
    """Several row groups whose key ranges all overlap."""
    table = LooseTable(tmp_path, SCHEMA, key=("id",), mode=mode, properties=PROPERTIES)
    hexes = np.random.default_rng(1).bytes(16 * ROWS).hex()
    identifiers = pa.array([hexes[32 * i : 32 * i + 32] for i in range(ROWS - 2)] + [identifier(1), identifier(2)])
    numbers = pa.array(np.random.default_rng(2).integers(0, 2**31 - 1, ROWS), pa.int32())
    table.write(Operation.APPEND, pa.table([identifiers, numbers, pa.repeat("n", ROWS)], schema=SCHEMA))
    return table


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the rows of the row groups that are read."""
    read: list[int] = []
    batches, group = pq.ParquetFile.iter_batches, pq.ParquetFile.read_row_group

    def iterated(self: Any, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches(self, *args, **options):
            read.append(batch.num_rows)
            yield batch

    def whole(self: Any, *args: Any, **options: Any) -> pa.Table:
        rows = group(self, *args, **options)
        read.append(rows.num_rows)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetFile, "iter_batches", iterated)
        patch.setattr(pq.ParquetFile, "read_row_group", whole)
        yield read


def filtered(table: LooseTable) -> set[str]:
    """The columns that have a filter in every row group of every live file."""
    found: list[set[str]] = []
    for one in live(table):
        footer = pq.read_metadata(pa.BufferReader(table.io.storage.read(one.path)))
        for group in range(footer.num_row_groups):
            chunks = [footer.row_group(group).column(index) for index in range(footer.num_columns)]
            found.append({chunk.path_in_schema for chunk in chunks if chunk.bloom_filter_offset})
    return set.intersection(*found)


def test_lookups_and_scans_read_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of_identifiers(tmp_path)
    assert filtered(table) == {"id", "n"}
    group = 122_880
    with counted(monkeypatch) as read:
        assert table.rows(where=f"id = '{identifier(1)}'").num_rows == 1
        assert table.rows(where=f"id IN ('{identifier(2)}', 'nobody')", columns=["note"]).num_rows == 1
    assert sum(read) <= 2 * group
    with counted(monkeypatch) as read:
        assert table.rows(where="id = 'nobody' AND note = 'n'").num_rows == 0
        assert table.rows(where="n = 5 AND id > ''").num_rows == 0
    assert sum(read) <= group
    table.forget()
    with counted(monkeypatch) as read:
        table.write(Operation.UPSERT, [{"id": identifier(1), "n": 1, "note": "changed"}])
    assert sum(read) <= group
    assert table.rows(where=f"id = '{identifier(1)}'", columns=["note"]).to_pylist() == [{"note": "changed"}]


@pytest.mark.parametrize("mode", list(WriteMode))
def test_filters_stay_true(tmp_path: Path, mode: WriteMode) -> None:
    """Rewrites that pass bytes through keep filters, compactions write them anew; DuckDB finds by them, too."""
    table = table_of_identifiers(tmp_path, mode)
    for number in (3, 4):
        table.write(Operation.UPSERT, [{"id": identifier(n), "n": n, "note": "new"} for n in (1, number)])
        assert filtered(table) == {"id", "n"}
    table.compact(rewrite_all=True)
    assert filtered(table) == {"id", "n"}
    for number in (1, 2, 3, 4):
        assert table.rows(where=f"id = '{identifier(number)}'").num_rows == 1
        (one,) = live(table)
        path = one.path.removeprefix("file://")
        assert duckdb.sql(f"SELECT 1 FROM '{path}' WHERE id = '{identifier(number)}'").fetchall() == [(1,)]
    excluded = duckdb.sql(f"FROM parquet_bloom_probe('{path}', 'id', 'nobody')").fetchall()
    assert all(row[-1] for row in excluded)


def test_columns_that_evolve(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, properties=PROPERTIES)
    many = pa.table([["x"] * 200_000, list(range(200_000)), ["n"] * 200_000], schema=SCHEMA)
    table.write(Operation.APPEND, many)
    table.evolve(WidenColumn("n", pa.int64()))
    assert table.rows(where="n = 199999").num_rows == 1
    assert table.rows(where="n = 5000000000").num_rows == 0
    table.evolve(RenameColumn("n", "m"), RenameColumn("note", "n"), WidenColumn("m", pa.int64()))
    assert table.rows(where="m = 7").num_rows == 1
    assert table.rows(where="n = 'n' AND m < 3").num_rows == 3
    table.write(Operation.APPEND, pa.table([["y"], [2**40], ["z"]], schema=table.arrow_schema()))
    assert table.rows(where="m = 1099511627776 AND n = 'z'").num_rows == 1


def test_a_damaged_filter_is_named(tmp_path: Path) -> None:
    table = LooseTable(tmp_path, SCHEMA, key=("id",), properties=PROPERTIES)
    table.write(Operation.APPEND, [{"id": "a", "n": 1, "note": "x"}])
    (one,) = live(table)
    data = bytearray(table.io.storage.read(one.path))
    place = filter_locations(pq.read_metadata(pa.BufferReader(bytes(data))), 0, {1: "id"})[1]
    data[place.offset : place.offset + 8] = b"\xff" * 8
    table.io.storage.delete([one.path])
    table.io.storage.write(one.path, bytes(data))
    table.forget()
    with pytest.raises(CorruptDataError, match=one.path.rsplit("/", 1)[1]):
        table.rows(where="id = 'a'")
    with pytest.raises(CorruptDataError, match=one.path.rsplit("/", 1)[1]):
        table.write(Operation.UPSERT, [{"id": "a", "n": 1, "note": "x"}])


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({f"{ENABLED}nothing": "true"}, "column that does not exist"),
        ({f"{ENABLED}id": "true", "write.parquet.bloom-filter-fpp.column.id": "7"}, "not between 0 and 1"),
        ({f"{ENABLED}id": "true", "write.parquet.bloom-filter-fpp.column.id": "few"}, "few"),
    ],
)
def test_properties_that_make_no_sense_are_refused(tmp_path: Path, properties: dict[str, str], said: str) -> None:
    import cordillera

    lake = cordillera.create(tmp_path / "lake")
    lake.create_namespace("sales")
    assert isinstance(lake.backend, LocalBackend)
    with pytest.raises(InvalidSchemaError, match=said):
        lake.backend.create_dataset("sales.orders", SCHEMA, TableOptions(properties=properties))
    made = lake.backend.create_dataset("sales.orders", SCHEMA, TableOptions(properties=PROPERTIES))
    assert made.dataset.name == "orders"
    lake.close()
