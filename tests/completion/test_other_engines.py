"""Commits of other engines, through the REST catalog, are counted like ours."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog

from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.spec.completion_rule import CompletionRule, PartitionStatus
from cordillera.testing.running_server import running_server
from tests.tokens import administrators_token

SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.date32())])


def rows(day: str, *ids: int) -> pa.Table:
    return pa.table({"id": list(ids), "day": pa.array([day] * len(ids)).cast(pa.date32())}, schema=SCHEMA)


def test_pyiceberg_completes_and_restates(tmp_path: Path) -> None:
    app = create_lake(tmp_path / "lake")
    with Lake(LocalBackend(app)) as lake, running_server(create_server(app)) as url:
        lake.create_namespace("sales")
        orders = lake.create_dataset("sales.orders", SCHEMA, completion_unit="day", format_version=2)
        orders.put_completion_rule(CompletionRule("day", min_rows=2))
        catalog = RestCatalog("lake", uri=f"{url}/iceberg", token=administrators_token(app))
        table = catalog.load_table("sales.orders")
        table.append(rows("2026-01-01", 1, 2))
        table.append(rows("2026-01-02", 3))
        lake.run_pending()
        assert [(one.partition, one.revision) for one in orders.completions()] == [("2026-01-01", 1)]
        table.append(rows("2026-01-01", 4))
        lake.run_pending()
        assert [(one.partition, one.revision) for one in orders.completions()] == [("2026-01-01", 2)]
        table.delete("id < 3")
        lake.run_pending()
        explained = orders.explain_completion("2026-01-01")
        assert (explained.status, explained.rows) == (PartitionStatus.CHANGED, 1)
