"""What the suites of tests share that every lake must pass, embedded or behind a server. Needs pytest.

Subclass the suites (``CatalogSuite`` and its neighbours) in a test module and provide the fixture ``backend``, and
``work`` for those that ask for it. The lake may be shared by all tests: each makes a namespace of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend

ORDERS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False, metadata={"doc": "order number"}),
        pa.field("day", pa.date32()),
        pa.field("amount", pa.decimal128(10, 2)),
        pa.field("note", pa.string()),
    ]
)
KEYED = TableOptions(key=("id",), completion_unit="day")


def orders(*ids: int | None, note: str | None = "", day: date = date(2013, 1, 31)) -> pa.RecordBatchReader:
    """Return one order for each id."""
    columns = [ids, [day] * len(ids), [Decimal("9.99")] * len(ids), [note] * len(ids)]
    schema = pa.schema([field.with_nullable(True) for field in ORDERS])
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema).to_reader()


def make_orders(backend: LakeBackend, namespace: str, options: TableOptions = KEYED, name: str = "orders") -> str:
    """Make a dataset of orders, and return its name."""
    backend.create_dataset(f"{namespace}.{name}", ORDERS, options)
    return f"{namespace}.{name}"


def notes(backend: LakeBackend, name: str, **options: Any) -> dict[int, str]:
    """Return the notes of the stored orders by id."""
    table = backend.scan(name, **options).read_all()
    return dict(zip(table["id"].to_pylist(), table["note"].to_pylist(), strict=True))


class LakeSuite:
    """What the suites of a lake share: the fixtures."""

    @pytest.fixture
    def backend(self) -> LakeBackend:
        """Return the lake to test."""
        raise NotImplementedError("Override the fixture 'backend' in the subclass.")

    @pytest.fixture
    def work(self) -> Callable[[], object]:
        """Return what does all background work that is due."""
        raise NotImplementedError("Override the fixture 'work' in the subclass.")

    @pytest.fixture
    def namespace(self, backend: LakeBackend) -> str:
        """Return a namespace that no other test uses."""
        return backend.create_namespace(f"t{uuid4().hex[:12]}", owner="team:orders").name

    @pytest.fixture
    def dataset(self, backend: LakeBackend, namespace: str) -> str:
        """Return a dataset of orders with a key."""
        return make_orders(backend, namespace)

    @pytest.fixture
    def target(self, backend: LakeBackend, tmp_path: Path) -> str:
        """Return a target: a DuckDB file."""
        return backend.create_target(f"t{uuid4().hex[:12]}", "duckdb", {"path": str(tmp_path / "t.duckdb")}).name
