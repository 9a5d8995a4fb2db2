"""Targets that point at the lake's own files, on S3 (SeaweedFS) and an emulator of Glue: readers are never left behind
files that are gone, and never shown what is not theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from pyiceberg.catalog.glue import GlueCatalog

from cordillera.app import Application, create_lake
from cordillera.catalog.requests import CommitRequest
from cordillera.client import Dataset, Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, InvalidNameError, LifecycleError, NotAllowedError, TargetDriftError
from cordillera.spec.commit import RemoveSnapshots, SetProperties
from cordillera.spec.schema_evolution import AddColumn
from cordillera.spec.subscription import Equality, Subscription, SubscriptionStatus
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.worker import Worker
from tests.adapters.synchronizers.snowflake_stand_in import TOKEN, Snowflake, StandIn, start_stand_in
from tests.servers_glue import REGION, GlueEmulator
from tests.servers_s3 import S3Server

SCHEMA = {"id": pa.int64(), "country": pa.string()}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Application]:
    with create_lake(
        tmp_path_factory.mktemp("pointing") / "lake",
        storage_root=f"s3://{s3_server.bucket}/{uuid4().hex}",
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.access_key,
        s3_secret_key=s3_server.secret_key,
        s3_path_style="true",
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


class Pointed:
    """A dataset with three rows, and the database of Glue that a target is to point from."""

    def __init__(self, app: Application, emulator: GlueEmulator, s3: S3Server) -> None:
        self.app, self.emulator, self.s3 = app, emulator, s3
        self.lake = Lake(LocalBackend(app))
        self.database, self.target = emulator.new_database(), f"glue_{uuid4().hex[:8]}"
        self.lake.create_target(self.target, "glue", database=self.database, region=REGION, endpoint=emulator.endpoint)
        self.namespace = f"n{uuid4().hex[:8]}"
        self.lake.create_namespace(self.namespace)
        self.orders: Dataset = self.lake.create_dataset(f"{self.namespace}.orders", SCHEMA, key=["id"])
        self.write(1, 2, 3)

    def write(self, *ids: int) -> None:
        self.orders.write([{"id": number, "country": "PE"} for number in ids], "upsert")

    def subscribe(self, **wishes: Any) -> Subscription:
        made = self.orders.subscribe(self.target, **wishes)
        self.work()
        return made

    def work(self) -> None:
        Worker(self.app).run_until_idle()

    def status(self, one: Subscription) -> SubscriptionStatus:
        return self.lake.backend.subscription(one.id)

    def entry(self) -> dict[str, str]:
        found: dict[str, str] = self.emulator.table(self.database, "orders")["Parameters"]
        return found

    def catalog(self) -> GlueCatalog:
        """PyIceberg's own, which knows nothing of the lake."""
        return GlueCatalog(
            "glue",
            **{
                "glue.endpoint": self.emulator.endpoint,
                "glue.region": REGION,
                "glue.access-key-id": "test",
                "glue.secret-access-key": "test",
                "s3.endpoint": self.s3.endpoint,
                "s3.access-key-id": self.s3.reader_access_key,
                "s3.secret-access-key": self.s3.reader_secret_key,
                "s3.region": REGION,
            },
        )

    def ids(self) -> list[int]:
        """What readers find in Glue and on S3."""
        rows = self.catalog().load_table((self.database, "orders")).scan().to_arrow()
        return sorted(rows["id"].to_pylist())


@pytest.fixture
def pointed(app: Application, glue_emulator: GlueEmulator, s3_server: S3Server) -> Pointed:
    return Pointed(app, glue_emulator, s3_server)


def test_readers_of_glue_find_the_lakes_files_and_every_change_of_them(pointed: Pointed) -> None:
    made = pointed.subscribe()
    assert pointed.ids() == [1, 2, 3]
    assert pointed.entry()["metadata_location"] == pointed.orders.metadata_location
    first = pointed.entry()["metadata_location"]

    pointed.write(4)
    pointed.orders.write([{"id": 1}], "delete")
    pointed.orders.evolve(AddColumn("total", pa.float64()))
    pointed.work()
    assert pointed.ids() == [2, 3, 4]
    table = pointed.catalog().load_table((pointed.database, "orders"))
    assert table.schema().column_names == ["id", "country", "total"]
    assert pointed.entry()["previous_metadata_location"] == first

    status = pointed.status(made)
    assert (status.in_step, status.subscription.state, status.subscription.rows_delivered) == (True, "live", 0)
    assert status.subscription.equality is Equality.EQUAL  # by the verification after the first delivery
    found = pointed.lake.backend.verify_subscription(made.id)
    assert (found.equal, found.rows_lake, found.rows_target, found.differences) == (True, 3, 3, ())


def test_a_delivery_that_is_repeated_changes_nothing(pointed: Pointed) -> None:
    made = pointed.subscribe()
    before = pointed.emulator.table(pointed.database, "orders")
    for _ in range(2):
        pointed.app.deliveries.deliver(made.id)
    assert pointed.emulator.table(pointed.database, "orders") == before


def test_a_part_of_a_dataset_cannot_be_pointed_at(pointed: Pointed) -> None:
    for wishes, told in (
        ({"columns": ["id"]}, "some columns"),
        ({"row_filter": "id > 1"}, "rows that meet a condition"),
        ({"mode": "log"}, "cannot keep a log"),
    ):
        with pytest.raises(NotAllowedError, match=told) as caught:
            pointed.subscribe(**wishes)
        assert "Use a target" in caught.value.hint
    with pytest.raises(InvalidNameError, match="cannot be called 'Orders'"):
        pointed.subscribe(table="Orders")
    assert pointed.emulator.tables(pointed.database) == []


def test_who_is_shown_a_part_by_grants_points_at_nothing(pointed: Pointed) -> None:
    backend = pointed.lake.backend
    name, target = pointed.orders.name, f"target:{pointed.target}"
    backend.grant(WantedGrant("user:ana", "read", name, row_filter="country = 'PE'"))
    backend.grant(WantedGrant("user:ana", "write", target))
    with acting("user:ana"), pytest.raises(NotAllowedError, match="what grants show user:ana of it"):
        pointed.subscribe()
    backend.grant(WantedGrant("user:bo", "read", name))
    backend.grant(WantedGrant("user:bo", "write", target))
    with acting("user:bo"), pytest.raises(AccessDeniedError):
        pointed.orders.subscribe(pointed.target)
    backend.grant(WantedGrant("user:bo", "external_use", name))
    with acting("user:bo"):
        made = pointed.orders.subscribe(pointed.target)
    pointed.work()
    before = pointed.entry()
    backend.revoke("user:bo", "read", name)
    backend.grant(WantedGrant("user:bo", "read", name, masks={"country": "null"}))
    pointed.write(4)
    pointed.work()
    assert pointed.status(made).subscription.state == "failed"
    assert pointed.entry() == before


def test_a_lake_of_local_files_is_refused(lake: Lake) -> None:
    lake.create_namespace("sales")
    orders = lake.create_dataset("sales.orders", SCHEMA, key=["id"])
    lake.backend.create_target("athena", "glue", {"database": "lake", "region": REGION}, check=False)
    with pytest.raises(NotAllowedError, match="on S3 only"):
        orders.subscribe("athena")


def test_what_others_commit_through_glue_is_drift_and_can_be_repaired(pointed: Pointed) -> None:
    made = pointed.subscribe()
    at = pointed.entry()["metadata_location"]
    elsewhere = at.replace("/metadata/", "/metadata/99")
    pointed.emulator.point(pointed.database, "orders", elsewhere)
    found = pointed.lake.backend.verify_subscription(made.id)
    assert not found.equal
    assert found.differences == (f"it names the metadata file {elsewhere}, not {at}",)
    assert "The entry differs: it names" in pointed.status(made).subscription.drift

    pointed.write(4)
    with pytest.raises(TargetDriftError, match="Somebody else pointed"):
        pointed.app.deliveries.deliver(made.id)
    assert pointed.entry()["metadata_location"] == elsewhere
    assert pointed.status(made).subscription.state == "failed"

    done = pointed.lake.backend.repair_subscription(made.id)
    assert done.found is not None
    assert (done.found.equal, done.verified.equal, done.rows_restored) == (False, True, 0)
    assert pointed.ids() == [1, 2, 3]  # as it had been brought to
    pointed.lake.backend.resume_subscription(made.id)
    pointed.work()
    assert pointed.ids() == [1, 2, 3, 4]


def test_an_entry_that_somebody_has_removed_is_drift_and_is_made_anew(pointed: Pointed) -> None:
    made = pointed.subscribe()
    pointed.emulator.client.delete_table(DatabaseName=pointed.database, Name="orders")
    with pytest.raises(TargetDriftError, match="no table 'orders'"):
        pointed.lake.backend.verify_subscription(made.id)
    assert pointed.lake.backend.repair_subscription(made.id).found is None
    assert pointed.ids() == [1, 2, 3]


def test_however_far_a_target_is_behind_what_it_points_at_stays_readable(pointed: Pointed) -> None:
    kept = SetProperties({"write.metadata.previous-versions-max": "1"})
    pointed.app.commits.commit(pointed.app.catalog.dataset(pointed.orders.name), CommitRequest(updates=(kept,)))
    made = pointed.subscribe()
    pointed.lake.backend.pause_subscription(made.id)
    behind = pointed.entry()["metadata_location"]
    for number in range(4, 8):
        pointed.write(number)
    pointed.orders.compact()
    gone = pointed.orders.expire_snapshots(older_than=timedelta(0), keep_last=1)
    assert len(gone.snapshots) == 4
    pointed.lake.backend.remove_orphans(older_than_hours=0, dry_run=False, force=True)
    pointed.work()
    assert pointed.ids() == [1, 2, 3]
    assert pointed.lake.backend.verify_subscription(made.id).equal
    resolved = pointed.app.catalog.dataset(pointed.orders.name)
    old = pointed.app.tables.load(resolved.version).snapshots[0]
    assert old.sequence_number == pointed.status(made).subscription.cursor_sequence
    with pytest.raises(NotAllowedError, match="cannot be forgotten"):  # whatever engine asks for it
        pointed.app.commits.commit(resolved, CommitRequest(updates=(RemoveSnapshots(frozenset({old.snapshot_id})),)))

    pointed.lake.backend.resume_subscription(made.id)
    pointed.work()
    assert pointed.ids() == list(range(1, 8))
    assert not pointed.app.storage.exists(behind)  # nobody points at it any more
    assert pointed.orders.expire_snapshots(older_than=timedelta(0), keep_last=1).snapshots == (old.sequence_number,)
    assert pointed.ids() == list(range(1, 8))


def test_an_entry_goes_with_its_subscription_if_that_is_wished(pointed: Pointed) -> None:
    made = pointed.subscribe(copy_at_end="remove")
    pointed.lake.backend.revoke_subscription(made.id)
    pointed.work()
    assert pointed.emulator.tables(pointed.database) == []


def test_a_frozen_entry_stays_readable_until_it_is_removed(pointed: Pointed) -> None:
    made = pointed.subscribe()
    pointed.lake.backend.revoke_subscription(made.id)
    pointed.work()
    pointed.write(4)
    pointed.orders.compact()
    pointed.orders.expire_snapshots(older_than=timedelta(0), keep_last=1)
    assert pointed.ids() == [1, 2, 3]

    pointed.lake.backend.revoke_subscription(made.id, keep_rows=False)
    pointed.work()
    assert pointed.emulator.tables(pointed.database) == []
    with pytest.raises(LifecycleError, match="revoked"):  # there is nothing left to remove
        pointed.lake.backend.revoke_subscription(made.id, keep_rows=False)


def test_entries_follow_a_dataset_that_is_renamed_described_deleted_and_restored(pointed: Pointed) -> None:
    backend, name = pointed.lake.backend, pointed.orders.name
    for privilege, on in (("read", name), ("external_use", name), ("write", f"target:{pointed.target}")):
        backend.grant(WantedGrant("user:bo", privilege, on))
    with acting("user:bo"):
        pointed.orders.subscribe(pointed.target)
    pointed.work()
    renamed = pointed.lake.backend.rename_dataset(pointed.orders.name, f"{pointed.namespace}.sold")
    pointed.lake.backend.update_dataset(renamed.full_name, description="What was sold.")
    pointed.work()
    assert pointed.entry()["cordillera.dataset"] == renamed.full_name
    assert pointed.emulator.table(pointed.database, "orders")["Description"] == "What was sold."

    pointed.lake.backend.delete_dataset(renamed.full_name)
    pointed.work()
    assert pointed.emulator.tables(pointed.database) == []
    pointed.lake.backend.restore_dataset(renamed.full_name)
    pointed.work()
    assert pointed.ids() == [1, 2, 3]


def test_a_frozen_entry_goes_when_its_dataset_is_deleted(pointed: Pointed) -> None:
    made = pointed.subscribe()
    pointed.lake.backend.revoke_subscription(made.id)
    pointed.work()
    pointed.lake.backend.delete_dataset(pointed.orders.name)
    pointed.work()
    assert pointed.emulator.tables(pointed.database) == []


# --- Snowflake ------------------------------------------------------------------------------------------------------


@pytest.fixture
def snowflake(app: Application, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in whose external volume begins where the lake does, and which looks at the files it is told of."""

    def read(location: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(app.storage.read(location))
        return found

    monkeypatch.setenv("SNOWFLAKE_TOKEN", TOKEN)
    with start_stand_in(Snowflake(app.storage.root, read)) as made:
        yield made


def test_snowflake_reads_the_lakes_files_and_every_change_of_them(pointed: Pointed, snowflake: StandIn) -> None:
    pointed.target = f"snowflake_{uuid4().hex[:8]}"
    pointed.lake.create_target(pointed.target, "snowflake_iceberg", token_env="SNOWFLAKE_TOKEN", **snowflake.settings)
    made = pointed.subscribe()
    tables = snowflake.account.tables
    first = tables["ANALYTICS", "LAKE", "ORDERS"].location
    assert first == pointed.orders.metadata_location

    pointed.write(4)
    pointed.orders.evolve(AddColumn("total", pa.float64()))
    pointed.work()
    assert tables["ANALYTICS", "LAKE", "ORDERS"].location == pointed.orders.metadata_location != first
    assert pointed.status(made).in_step
    assert pointed.lake.backend.verify_subscription(made.id).equal

    pointed.lake.backend.pause_subscription(made.id)
    pointed.orders.write([{"id": 1}], "delete")
    pointed.orders.expire_snapshots(older_than=timedelta(0), keep_last=1)
    assert snowflake.account.read is not None
    assert snowflake.account.read(tables["ANALYTICS", "LAKE", "ORDERS"].location)  # it is held
    pointed.lake.backend.resume_subscription(made.id)
    pointed.work()
    assert tables["ANALYTICS", "LAKE", "ORDERS"].location == pointed.orders.metadata_location

    with pytest.raises(NotAllowedError):
        pointed.orders.subscribe(pointed.target, table="part", columns=["id"])
    pointed.lake.backend.revoke_subscription(made.id, keep_rows=False)
    pointed.work()
    assert not tables
