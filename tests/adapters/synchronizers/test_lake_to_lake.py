"""A subscription from one lake to another: it follows, what somebody else writes there is found, and put right."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.adapters.synchronizers.through_a_lake import assert_history_kept_and_repaired
from tests.rest_catalogs import RestCatalog

import cordillera
from cordillera.client import Lake
from cordillera.spec.row_changes import COMMIT_SEQUENCE
from cordillera.spec.row_history import IS_CURRENT
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


def test_a_history_is_kept_in_another_lake(
    lake: Lake, lake_elsewhere: RestCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in lake_elsewhere.secrets.items():
        monkeypatch.setenv(name, value)
    place = lake_elsewhere.new_namespace()
    url = place["uri"].removesuffix("/iceberg")
    with cordillera.connect(url, token=lake_elsewhere.secrets["ELSEWHERE_TOKEN"]) as other:
        copy = other.dataset(f"{place['namespace']}.orders")
        order = [("id", "ascending"), (COMMIT_SEQUENCE, "ascending")]

        def states() -> list[Any]:
            rows = copy.scan().to_arrow().sort_by(order).select(["id", "amount", COMMIT_SEQUENCE, IS_CURRENT])
            return list(zip(*rows.to_pydict().values(), strict=True))

        def spoil() -> None:
            held = copy.scan().to_arrow().filter((pc.field("id") == 1) & pc.field(IS_CURRENT))
            copy.write(held.set_column(1, held.schema.field("amount"), [[98]]), "upsert")

        assert_history_kept_and_repaired(lake, "iceberg", place, states, spoil)
