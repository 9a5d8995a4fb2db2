"""Renaming beside writers and the removal of orphans: nobody works on another dataset that took the name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cordillera
from cordillera.client import Lake
from tests.conftest import app_of

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("note", pa.string())])


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales", owner="team")
        lake.create_dataset("sales.orders", SCHEMA, key=["id"])
        lake.dataset("sales.orders").write(rows(1), "append")
        yield lake


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": list(ids), "note": ["x"] * len(ids)}, schema=SCHEMA)


def during(action: Callable[[], object], *ids: int) -> pa.RecordBatchReader:
    """Rows during whose reading something else happens."""

    def batches() -> Iterator[pa.RecordBatch]:
        action()
        yield from rows(*ids).to_batches()

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def replaced_by_another(lake: Lake) -> None:
    """Rename the dataset, write to it, and let another one take its name."""
    renamed = lake.dataset("sales.orders").rename("sales.older")
    renamed.write(rows(2), "append")
    lake.create_dataset("sales.orders", SCHEMA, key=["id"])
    lake.dataset("sales.orders").write(rows(50), "append")


def ids(lake: Lake, name: str) -> list[int]:
    return sorted(lake.dataset(name).scan().to_arrow()["id"].to_pylist())


def test_a_write_under_way_follows(lake: Lake) -> None:
    lake.dataset("sales.orders").write(during(lambda: replaced_by_another(lake), 3), "upsert")
    assert (ids(lake, "sales.older"), ids(lake, "sales.orders")) == ([1, 2, 3], [50])
    newest = lake.backend.events(dataset="sales.older", limit=1)
    assert newest[0].payload["sequence_number"] == 3


def test_files_of_a_dataset_renamed_meanwhile_are_no_orphans(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, once = app_of(lake).storage, [lambda: replaced_by_another(lake)]
    list_files = storage.list

    def meanwhile(prefix: str) -> Iterator[Any]:
        yield from list_files(prefix)
        if once:
            once.pop()()

    monkeypatch.setattr(storage, "list", meanwhile)
    lake.backend.app.orphans.remove(timedelta(0), dry_run=False, force=True)
    assert not once
    assert (ids(lake, "sales.older"), ids(lake, "sales.orders")) == ([1, 2], [50])
