"""Rows held for a while: the same ones come back, in memory or in a file, and nothing remains of either."""

from __future__ import annotations

import gc
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import StorageFullError
from cordillera.row_spool import RowSpool, held

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), ("note", pa.string()), ("who", pa.uuid())])


def rows(ids: list[int]) -> pa.RecordBatch:
    who = pa.array([UUID(int=one).bytes for one in ids], pa.binary(16))
    arrays = [pa.array(ids), pa.array([None if one % 3 else f"note {one}" for one in ids], pa.string())]
    return pa.RecordBatch.from_arrays([*arrays, pa.ExtensionArray.from_storage(pa.uuid(), who)], schema=SCHEMA)


BATCHES = st.lists(st.lists(st.integers(0, 1000), max_size=5), max_size=6)


@given(BATCHES, st.sampled_from([0, 100, 10_000]))
def test_the_rows_come_back_as_they_were(batches: list[list[int]], in_memory: int) -> None:
    with RowSpool(in_memory) as spool:
        for ids in batches:
            spool.add(rows(ids))
        table = spool.table()
    if not batches:
        assert table is None
        return
    assert table is not None
    assert table.schema == SCHEMA
    assert table.equals(pa.Table.from_batches([rows(ids) for ids in batches]))


def test_many_rows_take_no_memory_of_arrow() -> None:
    before = pa.total_allocated_bytes()
    with RowSpool(in_memory=100_000) as spool:
        for first in range(0, 100_000, 1000):
            spool.add(rows(list(range(first, first + 1000))))
        table = spool.table()
    gc.collect()
    assert table is not None
    assert table.nbytes > 2_000_000
    assert pa.total_allocated_bytes() - before < 200_000
    assert table.column("id").to_pylist() == list(range(100_000))


def test_the_file_has_no_name_and_goes_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with RowSpool(in_memory=0) as spool:
        spool.add(rows([1, 2]))
        table = spool.table()
        assert list(tmp_path.iterdir()) == []
    assert table is not None
    assert table.column("id").to_pylist() == [1, 2]


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full, RowSpool(in_memory=0) as spool:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        with pytest.raises(StorageFullError, match="No space left on device"):
            spool.add(rows([1]))


def test_no_rows_are_an_empty_table() -> None:
    assert held([], SCHEMA).equals(SCHEMA.empty_table())
