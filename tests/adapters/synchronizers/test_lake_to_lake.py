"""A subscription from one lake to another: it follows, what somebody else writes there is found, and put right."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.rest_catalogs import RestCatalog

import cordillera
from cordillera.client import Lake
from cordillera.spec.schema_evolution import AddColumn


def test_a_copy_in_another_lake_is_proven_equal_and_repaired_row_by_row(
    lake: Lake, lake_elsewhere: RestCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in lake_elsewhere.secrets.items():
        monkeypatch.setenv(name, value)
    place = lake_elsewhere.new_namespace()
    lake.create_namespace("sales")
    orders = lake.create_dataset("sales.orders", {"id": pa.int64(), "country": pa.string()}, key=["id"])
    orders.write([{"id": n, "country": "PE"} for n in range(5)], "upsert")
    lake.create_target("elsewhere", "iceberg", **place)
    subscription = orders.subscribe("elsewhere")
    lake.run_pending()
    orders.evolve(AddColumn("note", pa.string()))
    orders.write([{"id": 4, "country": "CL", "note": "moved"}], "upsert")
    lake.run_pending()
    assert lake.backend.verify_subscription(subscription.id).equal
    url = place["uri"].removesuffix("/iceberg")
    with cordillera.connect(url, token=lake_elsewhere.secrets["ELSEWHERE_TOKEN"]) as other:
        copy = other.dataset(f"{place['namespace']}.orders")
        copy.write([{"id": 1, "country": "XX", "note": None}, {"id": 9, "country": "YY", "note": None}], "upsert")
        copy.write([{"id": 2}], "delete")
        found = lake.backend.verify_subscription(subscription.id)
        assert (found.missing, found.unexpected, found.different) == (("(2)",), ("(9)",), ("(1)",))
        done = lake.backend.repair_subscription(subscription.id)
        assert (done.rows_restored, done.rows_removed, done.verified.equal) == (2, 1, True)
        rows = copy.scan().to_arrow().sort_by("id").to_pylist()
        assert rows == orders.scan().to_arrow().sort_by("id").to_pylist()
