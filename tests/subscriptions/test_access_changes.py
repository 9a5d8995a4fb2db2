"""Deliveries stop and go on with the access of whoever they are made on behalf of, though nothing is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

from cordillera.app import create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.spec.subscription import SubscriptionState
from cordillera.spec.wanted_subscription import WantedSubscription
from tests.conftest import app_of

FAILED, LIVE, PAUSED = SubscriptionState.FAILED, SubscriptionState.LIVE, SubscriptionState.PAUSED
OTHER = "user:other"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("access_changes")
    with create_lake(folder / "lake") as app:
        lake = Lake(LocalBackend(app))
        lake.create_target("files", "duckdb", path=str(folder / "files.duckdb"))
        yield lake


class Followed:
    """A dataset, followed on behalf of a reader who owns it, or its namespace, or was granted it."""

    def __init__(self, lake: Lake, reader_has: str) -> None:
        mark = uuid4().hex[:8]
        self.lake, self.reader, self.space = lake, f"user:reader{mark}", f"a{mark}"
        self.name = f"{self.space}.orders"
        lake.create_namespace(self.space, owner=self.reader if reader_has == "namespace" else OTHER)
        owner = self.reader if reader_has == "dataset" else OTHER
        lake.create_dataset(self.name, {"id": pa.int64()}, key=["id"], owner=owner)
        lake.grant(self.reader, "write", "target:files")
        if reader_has == "grant":
            lake.grant(self.reader, "read", self.name)
        with acting(self.reader):
            self.id: UUID = lake.backend.subscribe(WantedSubscription(self.name, "files", table=f"orders_{mark}")).id
        assert self.state() is LIVE

    def state(self) -> SubscriptionState:
        """Return where the subscription is when nothing is left to do."""
        self.lake.run_pending()
        return self.lake.backend.subscription(self.id).subscription.state


CHANGES: dict[str, tuple[str, Callable[[Followed], object], Callable[[Followed], object]]] = {
    "another owner of the dataset": (
        "dataset",
        lambda one: one.lake.backend.update_dataset(one.name, owner=OTHER),
        lambda one: one.lake.backend.update_dataset(one.name, owner=one.reader),
    ),
    "another owner of the namespace": (
        "namespace",
        lambda one: one.lake.backend.update_namespace(one.space, owner=OTHER),
        lambda one: one.lake.backend.update_namespace(one.space, owner=one.reader),
    ),
    "another namespace": (
        "namespace",
        lambda one: (
            one.lake.create_namespace(f"{one.space}b", owner=OTHER),
            one.lake.backend.rename_dataset(one.name, f"{one.space}b.orders"),
        ),
        lambda one: one.lake.backend.rename_dataset(f"{one.space}b.orders", one.name),
    ),
    "a grant on the dataset": (
        "grant",
        lambda one: one.lake.revoke(one.reader, "read", one.name),
        lambda one: one.lake.grant(one.reader, "read", one.name),
    ),
    "a grant on the target": (
        "grant",
        lambda one: one.lake.revoke(one.reader, "write", "target:files"),
        lambda one: one.lake.grant(one.reader, "write", "target:files"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_delivery_stops_and_goes_on_at_once_with(lake: Lake, change: str) -> None:
    reader_has, take, give = CHANGES[change]
    one = Followed(lake, reader_has)
    take(one)
    assert one.state() is FAILED
    give(one)
    assert one.state() is LIVE
    steps = lake.backend.subscription_history(one.id)
    assert (steps[0].state, steps[0].reason) == (LIVE, "what it needs is allowed again")


def test_what_somebody_stopped_or_another_error_ended_does_not_go_on(lake: Lake) -> None:
    one = Followed(lake, "grant")
    lake.backend.pause_subscription(one.id)
    lake.grant(one.reader, "alter", one.name)
    assert one.state() is PAUSED
    app = app_of(lake)
    with app.store.write() as tx:
        tx.subscriptions.set_state(one.id, FAILED, "gone", app.clock.now(), error_code="target_drift")
    lake.revoke(one.reader, "alter", one.name)
    assert one.state() is FAILED


def test_what_is_allowed_in_part_stays_stopped(lake: Lake) -> None:
    one = Followed(lake, "grant")
    lake.revoke(one.reader, "read", one.name)
    assert one.state() is FAILED
    steps = len(lake.backend.subscription_history(one.id))
    lake.grant(one.reader, "discover", one.name)
    assert one.state() is FAILED
    assert len(lake.backend.subscription_history(one.id)) == steps
