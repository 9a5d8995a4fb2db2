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
from cordillera.catalog.trail import Trail
from cordillera.client import Dataset, Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, BreakingChangeError
from cordillera.spec.consumer import Migration, consumers
from cordillera.testing import metadata_samples as samples
from tests.conftest import MovableClock

SCHEMA = {"id": pa.int64(), "total": pa.int64()}
NAMES = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.just(("job:x.y",)))


@pytest.fixture
def app(timed_lake: Lake) -> Application:
    assert isinstance(timed_lake.backend, LocalBackend)
    return timed_lake.backend.app


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


@given(NAMES, NAMES, st.dictionaries(st.sampled_from(["a", "e"]), st.just(samples.NOW)))
def test_everybody_is_told_of_once_by_what_he_uses(
    old: dict[str, tuple[str]], new: dict[str, tuple[str]], reads: dict[str, object]
) -> None:
    found = {one.consumer: one.migration for one in consumers(old, new, reads)}  # type: ignore[arg-type]  # one moment
    assert found.keys() == old.keys() | new.keys() | reads.keys()
    for name, state in found.items():
        uses, moved = name in old or name in reads, name in new
        assert state is (Migration.MOVED if not uses else Migration.BOTH if moved else Migration.NOT_STARTED)
    assert {one.migration for one in consumers(old, None, {})} <= {None}


def test_consumers_are_told_with_how_far_they_have_moved(
    timed_lake: Lake, orders: Dataset, app: Application, clock: MovableClock
) -> None:
    for person, write in (("user:eve", False), ("user:pub", True)):
        with app.store.write() as tx, acting(person):
            Trail(tx, clock.now()).audit("credentials.vend", "dataset", "sales.orders_v1", {"write": write})
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
