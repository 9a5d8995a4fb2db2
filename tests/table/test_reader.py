"""Rows of files of several row groups: the same in the same order, however many are decoded at the same time."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cordillera.spec.merge import Operation
from cordillera.table import data_writer, reader
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID
from cordillera.table.reader import ReadOptions
from tests.table.harness import LooseTable

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("kind", pa.string()), pa.field("text", pa.string())])
ROWS, GROUP = 100, 7
KINDS = ["even", None, "odd"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LooseTable:
    """One file of fifteen row groups, one of which has no row any more, and one of two."""
    table = LooseTable(tmp_path_factory.mktemp("reader"), SCHEMA, key=("id",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_writer, "ROW_GROUP_ROWS", GROUP)
        for ids in (range(ROWS), range(ROWS, ROWS + 10)):
            rows = {"id": ids, "kind": [KINDS[i % 3] for i in ids], "text": [f"number {i}" for i in ids]}
            table.write(Operation.APPEND, pa.table(rows, SCHEMA))
    table.delete_where("id BETWEEN 21 AND 29 OR id % 10 = 3")
    return table


@pytest.mark.parametrize(
    ("batch_rows", "small_bytes"), [(GROUP, 1_000_000), (GROUP, 0), (5, 1_000_000)], ids=["groups", "bytes", "rows"]
)
def test_row_groups_give_their_rows_in_order(
    table: LooseTable, monkeypatch: pytest.MonkeyPatch, batch_rows: int, small_bytes: int
) -> None:
    monkeypatch.setattr(reader, "_BATCH_ROWS", batch_rows)
    monkeypatch.setattr(reader, "_SMALL_BYTES", small_bytes)
    live = table.io.files.live(table.metadata.current_snapshot)
    options = ReadOptions(table.metadata.schema, (FILE_INDEX, POSITION, ROW_ID))
    expected = [
        {"id": i, "kind": KINDS[i % 3], "text": f"number {i}", FILE_INDEX: i // ROWS, POSITION: i % ROWS, ROW_ID: i}
        for i in range(ROWS + 10)
        if not (21 <= i <= 29 or i % 10 == 3)
    ]
    found = table.io.reader.stream(sorted(live, key=lambda one: one.file.first_row_id or 0), options).read_all()
    assert found.to_pylist() == expected
