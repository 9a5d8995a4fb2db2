"""Who relies on a dataset version is known, with how far each has moved on; its end comes when it was promised."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.app import Application
from cordillera.catalog.new_table import TableOptions
from cordillera.client import Dataset, Lake
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, BreakingChangeError
from cordillera.ports.credentials import StorageCredentials
from cordillera.server import create_server
from cordillera.spec.consumer import Consumer, Migration, Reads, consumers
from cordillera.testing import metadata_samples as samples
from tests.access.reading import client_of
from tests.conftest import MovableClock, app_of

SCHEMA = {"id": pa.int64(), "total": pa.int64()}
NAMES = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.just(("job:x.y",)))
READS = st.dictionaries(st.sampled_from(["a", "e"]), st.just(Reads("", 2, 9, samples.NOW)))


@pytest.fixture
def app(timed_lake: Lake) -> Application:
    return app_of(timed_lake)


@pytest.fixture
def orders(timed_lake: Lake, app: Application) -> Dataset:
    """A dataset of two dataset versions, and consumers of the first, of both, and of the second."""
    timed_lake.create_namespace("sales")
    timed_lake.create_dataset("sales.orders", SCHEMA, key=["id"])
    timed_lake.backend.create_dataset_version("sales.orders", pa.schema(SCHEMA), TableOptions(key=("id",)), active=True)
    with app.store.write() as tx:
        tx.targets.insert(samples.target())
    for person, numbers in (("user:ana", (1,)), ("user:bob", (1, 2)), ("user:cid", (2,))):
        for number in numbers:
            subscribe(timed_lake, app, person, number)
    return timed_lake.dataset("sales.orders_v1")


def subscribe(lake: Lake, app: Application, person: str, number: int) -> None:
    found = lake.backend.dataset(f"sales.orders_v{number}")
    made = samples.subscription(found.dataset, found.version, target_table=f"{person[5:]}_{number}")
    with app.store.write() as tx:
        tx.subscriptions.insert(replace(made, created_by=person, on_behalf_of=person))


def end(orders: Dataset, lake: Lake, day: str) -> None:
    draft = lake.backend.draft_contract(orders.name)
    orders.put_contract(draft)
    ends = f"{draft}slaProperties: [{{property: endOfLife, value: '{day}'}}]\n"
    orders.override_proposal(orders.propose_contract(ends, reason="it is old").id, "everybody knows")


@given(NAMES, NAMES, READS, READS)
def test_everybody_is_told_of_once_by_what_he_uses_and_reads(
    old: dict[str, tuple[str]], new: dict[str, tuple[str]], reads: dict[str, Reads], later: dict[str, Reads]
) -> None:
    found = {one.consumer: one for one in consumers(old, new, reads, later)}
    assert found.keys() == old.keys() | new.keys() | reads.keys() | later.keys()
    for name, one in found.items():
        uses, moved = name in old or name in reads, name in new or name in later
        assert one.migration is (Migration.MOVED if not uses else Migration.BOTH if moved else Migration.NOT_STARTED)
        assert (one.reads, one.last_read) == ((2, samples.NOW) if name in reads else (0, None))
    assert {one.migration for one in consumers(old, None, reads, {})} <= {None}


def test_consumers_are_told_with_how_far_they_have_moved(
    timed_lake: Lake, orders: Dataset, app: Application, clock: MovableClock
) -> None:
    timed_lake.grant("user:eve", "read", "sales.orders")
    with acting("user:eve"):
        orders.scan().to_arrow()
    app.scans.flush()
    found = orders.consumers()
    assert (found.dataset, found.successor) == ("sales.orders_v1", "sales.orders_v2")
    assert {one.consumer: str(one.migration) for one in found.consumers} == {
        "user:ana": "not started", "user:bob": "both", "user:cid": "moved", "user:eve": "not started",
    }  # fmt: skip
    assert found.consumers[3].last_read is not None
    clock.advance(days=31)
    assert [one.consumer for one in orders.consumers().consumers] == ["user:ana", "user:bob", "user:cid"]
    timed_lake.grant("user:bob", "discover", "sales.orders")
    with acting("user:bob"):
        assert [one.consumer for one in orders.consumers().consumers] == ["user:bob"]
    newest = timed_lake.dataset("sales.orders_v2").consumers()
    assert newest.successor == ""
    assert [(one.consumer, one.migration) for one in newest.consumers] == [("user:bob", None), ("user:cid", None)]


def test_a_promised_end_is_kept_unless_a_reason_overrides_it(
    timed_lake: Lake, orders: Dataset, app: Application, clock: MovableClock
) -> None:
    end(orders, timed_lake, "2026-03-01")
    told = [one.payload.get("end_of_life") for one in timed_lake.backend.events(dataset="sales.orders")]
    assert "2026-03-01" in told
    assert orders.consumers().retired_on == "2026-03-01"
    with pytest.raises(BreakingChangeError, match="until 2026-03-01"):
        timed_lake.backend.set_lifecycle(orders.name, "retired")
    timed_lake.grant("user:ana", "alter", "sales.orders")
    with acting("user:ana"), pytest.raises(AccessDeniedError):
        timed_lake.backend.set_lifecycle(orders.name, "retired", reason="in a hurry")
    timed_lake.backend.set_lifecycle(orders.name, "retired", reason="a legal order")
    entry = next(one for one in timed_lake.backend.audit(object_name=orders.name) if one.action == "dataset.lifecycle")
    assert entry.details == {"lifecycle": "retired", "reason": "a legal order", "promised_until": "2026-03-01"}


def test_behind_its_end_nothing_holds_a_dataset_version(timed_lake: Lake, orders: Dataset, clock: MovableClock) -> None:
    end(orders, timed_lake, "2026-03-01")
    clock.moment = clock.moment.replace(month=3, day=1) + timedelta(hours=23)
    with pytest.raises(BreakingChangeError):
        timed_lake.backend.set_lifecycle(orders.name, "retired")
    clock.advance(hours=2)
    assert timed_lake.backend.set_lifecycle(orders.name, "retired").version.lifecycle == "retired"


def test_an_end_of_life_takes_back_what_was_promised_for_longer(timed_lake: Lake, orders: Dataset) -> None:
    draft = timed_lake.backend.draft_contract(orders.name)
    orders.put_contract(draft)
    [change] = orders.diff_contract(f"{draft}slaProperties: [{{property: endOfLife, value: '2026-03-01'}}]\n")
    assert (change.element, change.breaks_consumers) == ("service_level.end_of_life", True)


class Vendor:
    """Stands in for STS."""

    def vend(self, prefix: str, holder: str, *, write: bool) -> StorageCredentials:
        return StorageCredentials(prefix, "key", "secret", "token", samples.NOW + timedelta(hours=1))


def test_reads_by_every_way_through_the_server_are_counted_by_who_reads(
    timed_lake: Lake, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_lake.create_namespace("sales")
    people = timed_lake.create_dataset("sales.people", SCHEMA)
    people.write(pa.table({"id": [1, 2], "total": [3, 4]}))
    for person, privilege in (("ana", "read"), ("ana", "external_use"), ("bob", "discover"), ("pub", "write")):
        timed_lake.grant(f"user:{person}", privilege, "sales.people")
    timed_lake.grant("user:pub", "read", "sales.people")
    timed_lake.grant("user:pub", "external_use", "sales.people")
    monkeypatch.setattr(app.credentials, "_vendor", Vendor())
    server, table = create_server(app), "/iceberg/v1/namespaces/sales/tables/people"
    ana, pub = (client_of(server, app, f"user:{name}") for name in ("ana", "pub"))
    vended = {"X-Iceberg-Access-Delegation": "vended-credentials"}
    for answer in (
        ana.get("/api/v1/datasets/sales.people/rows"),
        ana.get("/api/v1/datasets/sales.people/changes"),
        ana.post("/api/v1/query", json={"sql": "SELECT count(total) FROM sales.people"}),
        ana.post(f"{table}/plan", json={}),
        ana.get(table, headers=vended),
        ana.get(table),  # which shows no row
        pub.get(table, headers=vended),  # who may be about to write
    ):
        assert answer.status_code == 200, answer.text
    people.scan().to_arrow()  # by whoever runs the lake
    app.scans.flush()
    size = timed_lake.backend.dataset("sales.people").version.bytes
    (told,) = people.consumers().consumers
    assert told == Consumer("user:ana", (), (), 5, 3 * size, told.last_read, None, None)
    for person, seen in (("user:ana", ["user:ana"]), ("user:bob", [])):
        with acting(person):
            assert [one.consumer for one in people.consumers().consumers] == seen


def test_what_a_worker_reads_for_a_job_is_told_by_the_job(timed_lake: Lake, app: Application) -> None:
    timed_lake.create_namespace("sales", owner="user:ana")
    timed_lake.grant("user:ana", "create", "namespace:sales")
    with acting("user:ana"):
        for name in ("people", "summary"):
            timed_lake.create_dataset(f"sales.{name}", SCHEMA, completion_unit="day")
        timed_lake.create_job("sales.summary", "SELECT * FROM sales.people", output_condition="id > 0")
        timed_lake.dataset("sales.people").write(pa.table({"id": [1], "total": [3]}), completes="2026-01-01")
    timed_lake.run_pending()
    app.scans.flush()
    assert timed_lake.dataset("sales.summary").scan().to_arrow().num_rows == 1
    (told,) = timed_lake.dataset("sales.people").consumers().consumers
    assert (told.consumer, told.uses, told.reads) == ("user:ana", ("job:sales.summary",), 0)
