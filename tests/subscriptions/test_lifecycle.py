"""The life of a subscription: asked for, approved or refused, expired, revoked; what stops a delivery under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cordillera.adapters.synchronizers.files import FilesSynchronizer
from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, AlreadyExistsError, InvalidInputError, LifecycleError
from cordillera.ports.synchronizer import Delivery, DeliveryResult
from cordillera.spec.subscription import Subscription, SubscriptionState
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.subscriptions import following
from cordillera.worker import Worker
from tests.conftest import MovableClock

OWNER, GUEST = "user:owner", "user:guest"
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
customProperties:
- property: copiesAtEnd
  value: {fate}
schema:
- name: source
  properties:
  - name: id
    logicalType: integer
    required: true
    primaryKey: true
    primaryKeyPosition: 1
"""


@pytest.fixture
def working(tmp_path: Path, clock: MovableClock) -> Iterator[Lake]:
    """A dataset that a guest may discover but not read, and a target that he may write to."""
    with create_lake(tmp_path / "lake", clock=clock) as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("a", owner=OWNER)
        lake.create_dataset("a.source", {"id": pa.int64(), "day": pa.string()}, key=["id"])
        lake.create_target("files", "duckdb", path=str(tmp_path / "target.db"))
        put(lake, 1)
        lake.grant(GUEST, "discover", "a.source")
        lake.grant(GUEST, "write", "target:files")
        yield lake


def put(lake: Lake, *ids: int) -> None:
    lake.dataset("a.source").write([{"id": one, "day": "all"} for one in ids], "upsert")


def as_guest(lake: Lake, **how: Any) -> Subscription:
    with acting(GUEST):
        return lake.backend.subscribe(WantedSubscription("a.source", "files", purpose="reports", **how))


def found(lake: Lake, one: Subscription) -> Subscription:
    return lake.backend.subscription(one.id).subscription


def steps(lake: Lake, one: Subscription) -> list[tuple[str, str, str]]:
    return [(step.state.value, step.by, step.reason) for step in reversed(lake.backend.subscription_history(one.id))]


def tables(tmp_path: Path) -> list[str]:
    if not (tmp_path / "target.db").exists():
        return []
    with duckdb.connect(str(tmp_path / "target.db"), read_only=True) as connection:
        rows = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT starts_with(table_name, '_')")
        return [name for (name,) in rows.fetchall()]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_an_approval_of_access_approves_the_subscription(working: Lake, tmp_path: Path) -> None:
    made = as_guest(working)
    assert made.state is SubscriptionState.REQUESTED
    working.run_pending()
    assert found(working, made).state is SubscriptionState.REQUESTED
    assert tables(tmp_path) == [], "nothing is delivered before it is approved"
    (request,) = working.access_requests()
    assert (request.id, request.requester, request.purpose, request.days) == (made.request_id, GUEST, "reports", 90)
    with acting(OWNER):
        working.approve_access(request.id, days=30, reason="they need it")
    working.run_pending()
    live = found(working, made)
    assert (live.state, live.rows_delivered, live.on_behalf_of) == (SubscriptionState.LIVE, 1, GUEST)
    assert live.expires_at == working.access_request(request.id).expires_at, "it ends with the access"
    told = steps(working, made)
    assert told[:2] == [("requested", GUEST, "for reports"), ("approved", OWNER, "they need it")]
    assert [state for state, _, _ in told[2:]] == ["provisioning", "first_sync", "live"]
    assert all(by.startswith("worker:") for _, by, _ in told[2:])


@pytest.mark.parametrize("decision", ["refuse", "withdraw"])
def test_a_refusal_of_access_refuses_the_subscription(working: Lake, tmp_path: Path, decision: str) -> None:
    made = as_guest(working)
    (request,) = working.access_requests()
    if decision == "refuse":
        with acting(OWNER):
            working.refuse_access(request.id, reason="use b.other")
    else:
        with acting(GUEST):
            working.withdraw_access_request(request.id)
    working.run_pending()
    assert found(working, made).state is SubscriptionState.REFUSED
    expected = ("access refused: use b.other", OWNER) if decision == "refuse" else ("access withdrawn", GUEST)
    assert steps(working, made)[-1] == ("refused", expected[1], expected[0])
    assert tables(tmp_path) == []
    again = as_guest(working)  # the table is free for another
    assert again.request_id not in (None, request.id)


def test_subscriptions_that_wait_for_the_same_access_share_its_request(working: Lake) -> None:
    first, second = as_guest(working), as_guest(working, table="other", days=7)
    assert first.request_id == second.request_id
    with pytest.raises(AlreadyExistsError):
        as_guest(working)
    with acting(OWNER):
        working.approve_access(working.access_requests().__next__().id)
    working.run_pending()
    assert {found(working, one).state for one in (first, second)} == {SubscriptionState.LIVE}
    assert found(working, second).expires_at == second.expires_at, "what ends first counts"


def test_who_says_no_purpose_asks_for_nothing(working: Lake) -> None:
    with acting(GUEST), pytest.raises(AccessDeniedError) as caught:
        working.backend.subscribe(WantedSubscription("a.source", "files"))
    assert "with a purpose" in caught.value.hint
    assert list(working.access_requests()) == []
    with pytest.raises(InvalidInputError):
        as_guest(working, row_filter="id >")
    assert list(working.access_requests()) == []


def test_an_event_that_comes_twice_or_late_decides_nothing_anew(working: Lake) -> None:
    made = as_guest(working)
    (request,) = working.access_requests()
    with acting(OWNER):
        working.approve_access(request.id)
    working.run_pending()
    working.backend.pause_subscription(made.id)
    with acting(OWNER):
        working.revoke(GUEST, "read", "a.source")  # tells of the request again
    working.run_pending()
    assert found(working, made).state is SubscriptionState.PAUSED
    with acting(GUEST), pytest.raises(AccessDeniedError):
        working.backend.resume_subscription(made.id)
    with acting(GUEST), pytest.raises(AccessDeniedError):
        working.backend.renew_subscription(made.id, 5)


def test_who_administers_the_dataset_may_begin_it_himself(working: Lake) -> None:
    made = as_guest(working)
    assert working.backend.resume_subscription(made.id, reason="mine").state is SubscriptionState.APPROVED
    working.run_pending()
    assert found(working, made).state is SubscriptionState.LIVE


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_subscription_ends_at_its_time(working: Lake, clock: MovableClock, tmp_path: Path) -> None:
    made = working.backend.subscribe(WantedSubscription("a.source", "files", days=2))
    working.run_pending()
    put(working, 2)
    clock.advance(days=2)  # no worker has looked since
    assert working.backend.app.deliveries.deliver(made.id) is None, "what is over delivers nothing, whoever looks first"
    assert found(working, made).rows_delivered == 1
    working.run_pending()
    assert [state for state, _, _ in steps(working, made)][-2:] == ["expired", "expired"]
    assert steps(working, made)[-1][2] == "the table source in files stays as it is"
    assert tables(tmp_path) == ["source"]
    with pytest.raises(LifecycleError):
        working.backend.resume_subscription(made.id)
    with pytest.raises(LifecycleError):
        working.backend.repair_subscription(made.id)


def test_more_time_is_given_while_there_is_some(working: Lake, clock: MovableClock) -> None:
    made = working.backend.subscribe(WantedSubscription("a.source", "files", days=2))
    working.backend.renew_subscription(made.id, 9)
    clock.advance(days=3)
    working.run_pending()
    assert found(working, made).state is SubscriptionState.LIVE
    working.backend.renew_subscription(made.id, 1)
    clock.advance(days=1)
    working.run_pending()
    assert found(working, made).state is SubscriptionState.EXPIRED


@pytest.mark.parametrize(
    ("contract", "wish", "told", "left"),
    [
        ("", "freeze", "stays as it is", ["source"]),
        ("", "remove", "was removed", []),
        ("remove", "freeze", "was removed", []),
        ("freeze", "remove", "was removed", []),
        ("freeze", "freeze", "stays as it is", ["source"]),
    ],
)
def test_the_copy_is_frozen_or_removed_as_contract_and_subscription_say(
    working: Lake, tmp_path: Path, contract: str, wish: str, told: str, left: list[str]
) -> None:
    if contract:
        working.dataset("a.source").put_contract(CONTRACT.format(fate=contract))
    made = working.backend.subscribe(WantedSubscription("a.source", "files", copy_at_end=wish))
    working.run_pending()
    working.backend.revoke_subscription(made.id, reason="moved away")
    put(working, 2)
    working.run_pending()
    assert tables(tmp_path) == left
    assert steps(working, made)[-1][2].endswith(told)
    actions = [entry.action for entry in working.backend.audit(object_name=str(made.id))]
    assert actions[:2] == [f"subscription.{'freeze' if left else 'remove'}_copy", "subscription.revoke"]


# --- under way --------------------------------------------------------------------------------------------------------


def interrupt(working: Lake, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Have something happen while a delivery streams its rows."""
    original = following.typed

    def typed(rows: Any, table: Any) -> Any:
        def opened() -> Any:
            act()
            return original(rows, table)()

        return opened

    monkeypatch.setattr("cordillera.subscriptions.planning.typed", typed)


def test_a_grant_that_is_revoked_stops_the_delivery_under_way(
    working: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working.grant(GUEST, "read", "a.source")
    made = as_guest(working)
    assert made.state is SubscriptionState.APPROVED
    interrupt(working, monkeypatch, lambda: working.revoke(GUEST, "read", "a.source"))
    working.run_pending()
    failed = found(working, made)
    assert (failed.state, failed.rows_delivered) == (SubscriptionState.FAILED, 0)
    assert "user:guest may not" in failed.last_error
    assert tables(tmp_path) == []


def test_rows_that_are_shown_otherwise_meanwhile_are_delivered_as_they_are_shown_by_now(
    working: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(working, 2, 3)
    working.grant(GUEST, "read", "a.source")
    made = as_guest(working)
    narrowed: list[int] = []

    def narrow() -> None:
        if not narrowed:
            narrowed.append(1)
            working.grant(GUEST, "read", "a.source", row_filter="id = 2")

    interrupt(working, monkeypatch, narrow)
    working.run_pending()
    working.backend.app.deliveries.deliver(made.id)
    with duckdb.connect(str(tmp_path / "target.db"), read_only=True) as connection:
        assert connection.execute("SELECT id FROM source").fetchall() == [(2,)]


@pytest.mark.parametrize("end", ["pause", "revoke", "expire"])
def test_what_is_stopped_meanwhile_delivers_nothing_and_stays_stopped(
    working: Lake, tmp_path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    made = working.backend.subscribe(WantedSubscription("a.source", "files", days=1))
    acts = {
        "pause": lambda: working.backend.pause_subscription(made.id),
        "revoke": lambda: working.backend.revoke_subscription(made.id),
        "expire": lambda: clock.advance(days=1),
    }
    with monkeypatch.context() as patched:
        interrupt(working, patched, acts[end])
        assert working.backend.app.deliveries.deliver(made.id) is None
    assert tables(tmp_path) == []
    working.run_pending()
    states = {"pause": "paused", "revoke": "revoked", "expire": "expired"}
    assert found(working, made).state.value == states[end]
    assert found(working, made).last_error == ""


def test_a_copy_that_a_delivery_makes_too_late_is_removed_when_that_is_over(
    working: Lake, tmp_path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    working.create_target("exports", "parquet", root=str(tmp_path / "exports"))
    made = working.dataset("a.source").subscribe("exports")
    apply = FilesSynchronizer.apply

    def late(self: FilesSynchronizer, delivery: Delivery) -> DeliveryResult:
        rows = delivery.upserts().read_all()  # the delivery has looked for the last time whether it is wanted
        working.backend.revoke_subscription(made.id, keep_rows=False)
        Worker(working.backend.app, "another").run_until_idle()
        return apply(self, replace(delivery, upserts=rows.to_reader))

    with monkeypatch.context() as patched:
        patched.setattr(FilesSynchronizer, "apply", late)
        working.run_pending()
    assert "removed" not in steps(working, made)[-1][2]
    assert list((tmp_path / "exports").rglob("*.parquet"))
    clock.advance(minutes=1)
    working.run_pending()
    assert steps(working, made)[-1][2] == "the table source in exports was removed"
    assert not [one for one in (tmp_path / "exports").rglob("*") if one.is_file()]
