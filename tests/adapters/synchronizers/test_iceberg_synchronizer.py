from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from tests.rest_catalogs import RestCatalog

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.iceberg import IcebergSynchronizer
from cordillera.adapters.synchronizers.iceberg_files import FileAccess
from cordillera.errors import (
    CommitConflictError,
    InvalidConfigurationError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, DeliveryResult, Origin, Synchronizer, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, THEIRS, deliver, rows_of, spelled
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite


def target(catalog: RestCatalog, monkeypatch: pytest.MonkeyPatch, **more: str) -> Synchronizer:
    for name, value in catalog.secrets.items():
        monkeypatch.setenv(name, value)
    return build_synchronizer("iceberg", {**catalog.new_namespace(), **more})


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery holds a row group or two: make them small, so that one of 64 MB has many."""
    monkeypatch.setattr("cordillera.table.data_writer.ROW_GROUP_BYTES", 4 * 1024 * 1024)


class TestAnotherLake(HistorySuite, SynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, lake_elsewhere: RestCatalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Synchronizer]:
        found = target(lake_elsewhere, monkeypatch)
        yield found
        found.close()


class TestSeaweedFS(HistorySuite, SynchronizerSuite):
    """With format version 2: its buckets for tables store no deletion vectors."""

    pytestmark = pytest.mark.long

    @pytest.fixture
    def synchronizer(self, weed_catalog: RestCatalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Synchronizer]:
        found = target(weed_catalog, monkeypatch, format_version="2")
        yield found
        found.close()

    def test_every_type_comes_back_exactly(self, synchronizer: Synchronizer) -> None:
        with pytest.raises(TypeMismatchError, match="'timestamp_ns' has nanoseconds"):
            super().test_every_type_comes_back_exactly(synchronizer)

    def test_concurrent_first_deliveries_apply_once(self, synchronizer: Synchronizer) -> None:
        """Its catalog takes several commits that all require that the table is not there yet: each brings all rows."""
        together = threading.Barrier(4)

        def run(_: int) -> DeliveryResult:
            together.wait(30)
            return synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(run, range(4)))
        assert not all(result.already_applied for result in results)
        assert synchronizer.read_cursor(OURS) == Cursor(1, 0)
        assert rows_of(synchronizer, ORDERS) == spelled(ORDER_ROWS)


@pytest.fixture
def place(lake_elsewhere: RestCatalog, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of a target with an empty namespace in another lake."""
    for name, value in lake_elsewhere.secrets.items():
        monkeypatch.setenv(name, value)
    return lake_elsewhere.new_namespace()


def metadata(catalog: RestCatalog, place: dict[str, str], table: str = "orders") -> dict[str, Any]:
    found: dict[str, Any] = catalog.ask("GET", f"/namespaces/{place['namespace']}/tables/{table}").json()["metadata"]
    return found


def test_a_catalog_of_somebody_else_follows_as_well(weed_catalog: RestCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    there = target(weed_catalog, monkeypatch, format_version="2")
    there.check()
    there.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    changed = {"id": 2, "customer": "Bo", "amount": None}
    second = deliver(ORDERS, (1, 2), [changed], [{"id": 1}])
    assert there.apply(second).rows_deleted == 1
    assert there.apply(second).already_applied
    assert rows_of(there, ORDERS) == spelled([changed, ORDER_ROWS[2]])
    nanoseconds = TargetTable("moments", (TargetColumn(1, "at", pa.timestamp("ns")),), ())
    with pytest.raises(TypeMismatchError, match="nanoseconds"):
        there.apply(deliver(nanoseconds, (None, 1), [], subscription_id=THEIRS))
    there.close()


def test_every_snapshot_tells_where_its_rows_are_from(lake_elsewhere: RestCatalog, place: dict[str, str]) -> None:
    there = build_synchronizer("iceberg", place)
    for step in ((None, (4, 1)), ((4, 1), (9, 1))):
        there.apply(replace(deliver(ORDERS, step, ORDER_ROWS[:1]), origin=Origin("lima", "sales.orders")))
    found = metadata(lake_elsewhere, place)
    told = [
        {name: value for name, value in one["summary"].items() if name.startswith("replication.")}
        for one in found["snapshots"]
    ]
    assert told == [
        {
            "replication.lake": "lima",
            "replication.dataset": "sales.orders",
            "replication.snapshot": snapshot,
            "replication.schema": "1",
            "replication.subscription": str(OURS),
        }
        for snapshot in ("4", "9")
    ]
    there.close()


def test_rows_without_a_key_are_known_by_a_column_of_their_own(place: dict[str, str]) -> None:
    lines = TargetTable(
        "lines",
        (TargetColumn(1, "text", pa.string()), TargetColumn(2147483540, "_row_id", pa.int64(), False)),
        ("_row_id",),
    )
    there = build_synchronizer("iceberg", place)
    there.apply(deliver(lines, (None, 1), [{"text": "a", "_row_id": 0}, {"text": "a", "_row_id": 1}]))
    there.apply(deliver(lines, (1, 2), [{"text": "b", "_row_id": 2}], [{"_row_id": 0}]))
    assert rows_of(there, lines) == spelled([{"text": "a", "_row_id": 1}, {"text": "b", "_row_id": 2}])
    there.close()


def test_a_column_that_the_other_side_adds_stays_and_one_that_it_drops_is_drift(
    lake_elsewhere: RestCatalog, place: dict[str, str]
) -> None:
    there = build_synchronizer("iceberg", place)
    there.apply(deliver(ORDERS, (None, 1), ORDER_ROWS[:2]))

    def set_columns(names: list[str]) -> None:
        schema = metadata(lake_elsewhere, place)["schemas"][-1]
        fields = [field for field in schema["fields"] if field["name"] in names]
        if "theirs" in names and all(field["name"] != "theirs" for field in fields):
            fields.append({"id": 77, "name": "theirs", "type": "string", "required": False})
        changed = {**schema, "schema-id": schema["schema-id"] + 1, "fields": fields}
        answer = lake_elsewhere.ask(
            "POST",
            f"/namespaces/{place['namespace']}/tables/orders",
            json={
                "requirements": [],
                "updates": [
                    {"action": "add-schema", "schema": changed},
                    {"action": "set-current-schema", "schema-id": -1},
                ],
            },
        )
        assert answer.status_code == 200, answer.text

    set_columns(["id", "customer", "amount", "theirs"])
    noted = replace(ORDERS, columns=(*ORDERS.columns, TargetColumn(9, "note", pa.string())))
    there.apply(deliver(noted, (1, (2, 1)), [{**ORDER_ROWS[2], "note": "n"}]))
    assert rows_of(there, ORDERS) == spelled(ORDER_ROWS)
    names = [field["name"] for field in metadata(lake_elsewhere, place)["schemas"][-1]["fields"]]
    assert names == ["id", "customer", "amount", "note", "theirs"]
    clash = replace(noted, columns=(*noted.columns, TargetColumn(10, "theirs", pa.string())))
    with pytest.raises(TargetDriftError, match="Somebody else"):
        there.apply(deliver(clash, ((2, 1), (3, 2))))
    set_columns(["id", "customer", "note", "theirs"])
    with pytest.raises(TargetDriftError, match="lost the column 'amount'"):
        there.apply(deliver(noted, ((2, 1), (3, 2))))
    assert there.read_cursor(OURS) == Cursor(2, 1)
    there.close()


def test_what_a_refused_delivery_has_written_is_removed(lake_elsewhere: RestCatalog, place: dict[str, str]) -> None:
    there, other = build_synchronizer("iceberg", place), build_synchronizer("iceberg", place)
    there.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    location = str(metadata(lake_elsewhere, place)["location"])
    storage = FileAccess({}, {}, local=True).storage_for(location, {})
    assert isinstance(there, IcebergSynchronizer)

    def overtaken() -> pa.RecordBatchReader:
        other.apply(deliver(ORDERS, (1, 3), [], [{"id": 1}]))
        return ORDERS.arrow_schema().empty_table().to_reader()

    before = {one.uri for one in storage.list(f"{location}/data")}
    late = replace(deliver(ORDERS, (1, 2), ORDER_ROWS), deletes=lambda: overtaken_keys(overtaken))
    assert there.apply(late).already_applied
    assert rows_of(there, ORDERS) == spelled(ORDER_ROWS[1:])
    left = {one.uri for one in storage.list(f"{location}/data")} - before
    assert all(uri.endswith(".puffin") for uri in left)  # the other's deletion vector
    there.close()
    other.close()


def test_a_conflict_that_the_rows_bring_is_none_of_the_catalogs(place: dict[str, str]) -> None:
    there, opened = build_synchronizer("iceberg", place), []

    def changed() -> pa.RecordBatchReader:
        opened.append(1)
        raise CommitConflictError("What is shown changed during a delivery.")

    with pytest.raises(CommitConflictError, match="What is shown"):
        there.apply(deliver(ORDERS, (None, 1), changed))
    assert opened == [1]
    assert there.read_cursor(OURS) is None
    there.close()


def overtaken_keys(meanwhile: object) -> pa.RecordBatchReader:
    """Let somebody else be faster, and stream no keys."""
    assert callable(meanwhile)
    meanwhile()
    return pa.schema([ORDERS.arrow_schema().field("id")]).empty_table().to_reader()


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"uri": "http://lake.example.com/iceberg"}, "unencrypted"),
        ({"uri": "https://user:secret@lake.example.com"}, "no address"),
        ({"format_version": "1"}, "format version '1'"),
        ({"credential_env": "X"}, "both"),
        ({"token_env": "NOT_SET"}, "'NOT_SET'"),
        ({"namespace": "nowhere"}, "no namespace nowhere"),
    ],
)
def test_settings_that_cannot_work_are_refused(place: dict[str, str], changed: dict[str, str], error: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=error):
        build_synchronizer("iceberg", {**place, **changed}).check()


def test_a_wrong_token_and_a_catalog_that_is_away(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_TOKEN", "cdl_of_nobody")
    with pytest.raises(InvalidConfigurationError, match="401") as refused:
        build_synchronizer("iceberg", place).check()
    assert "cdl_of_nobody" not in str(refused.value)
    with pytest.raises(TargetUnreachableError):
        build_synchronizer("iceberg", {**place, "uri": "http://127.0.0.1:9/iceberg"}).read_cursor(OURS)


def test_a_catalog_elsewhere_leads_to_no_files_of_this_machine() -> None:
    with pytest.raises(InvalidConfigurationError, match="file:///etc"):
        FileAccess({}, {}).storage_for("file:///etc/lake", {})
