"""Snapshots that are left out: exactly those, told everywhere, and made good by a repair."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import (
    CommitConflictError,
    InvalidInputError,
    LifecycleError,
    NotAllowedError,
    SkipNotFoundError,
    SubscriptionNotFoundError,
)
from cordillera.spec.schema_evolution import AddColumn
from cordillera.spec.subscription import Equality, Subscription, SubscriptionState
from cordillera.subscriptions.delivery import DeliveryService

NAME = "sales.orders"


@pytest.fixture
def sales(lake: Lake, tmp_path: Path) -> Lake:
    lake.create_namespace("sales", owner="user:owner")
    lake.create_dataset(NAME, {"id": pa.int64(), "amount": pa.int64()}, key=["id"])
    lake.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    put(lake, 1, 1)
    return lake


def put(lake: Lake, *ids_of_commits: int) -> None:
    """Commit once for each id, with the commit's place as the amount."""
    for one in ids_of_commits:
        lake.dataset(NAME).write([{"id": one, "amount": one * 10}], "upsert")


def held(tmp_path: Path, sql: str = "SELECT id FROM orders ORDER BY id") -> list[Any]:
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as connection:
        return [row[0] if len(row) == 1 else row for row in connection.execute(sql).fetchall()]


def paused(lake: Lake, **wishes: Any) -> Subscription:
    made = lake.dataset(NAME).subscribe("copy", **wishes)
    lake.run_pending()
    return lake.backend.pause_subscription(made.id)


def resumed(lake: Lake, made: Subscription) -> None:
    lake.backend.resume_subscription(made.id)
    lake.run_pending()


def test_a_range_in_the_middle_is_left_out_and_told_until_it_is_repaired(sales: Lake, tmp_path: Path) -> None:
    made = paused(sales)  # at snapshot 2
    put(sales, 3, 4, 5, 6)
    skip = sales.backend.skip_snapshots(made.id, 5, first=4, reason="withdrawn by the publisher")
    assert (skip.first_sequence, skip.last_sequence, skip.state) == (4, 5, "waiting")
    assert sales.backend.subscription(made.id).skips == (skip,)
    resumed(sales, made)
    assert held(tmp_path) == [1, 3, 6]
    status = sales.backend.subscription(made.id)
    assert status.in_step
    assert [(one.snapshots, one.state) for one in status.skips] == [("snapshots 4 to 5", "skipped")]
    assert status.subscription.equality is Equality.DRIFTED, "it is compared at once"
    assert "Skipped: snapshots 4 to 5, by " in status.subscription.drift
    found = sales.backend.verify_subscription(made.id)
    assert (found.equal, found.rows_missing, [one.reason for one in found.skips]) == (False, 2, [skip.reason])
    told = [step.reason for step in sales.backend.subscription_history(made.id)]
    assert any(one.startswith("snapshots 4 to 5 to be skipped: withdrawn") for one in told)
    assert any(one.startswith("snapshots 4 to 5 skipped, as ") for one in told)
    audited = [entry for entry in sales.backend.audit(object_name=str(made.id)) if entry.action == "subscription.skip"]
    assert "withdrawn by the publisher" in audited[0].details["reason"]
    assert [(one.from_sequence, one.to_sequence) for one in sales.backend.subscription_deliveries(made.id)] == [
        (5, 6),
        (2, 3),
        (None, 2),
    ]
    assert sales.backend.repair_subscription(made.id).verified.equal
    assert held(tmp_path) == [1, 3, 4, 5, 6]
    assert sales.backend.subscription(made.id).skips == ()


def test_a_log_that_missed_what_has_expired_goes_on(sales: Lake, tmp_path: Path) -> None:
    made = paused(sales, mode="log")
    put(sales, 3, 4)
    sales.dataset(NAME).expire_snapshots(older_than=timedelta(0), keep_last=1)
    resumed(sales, made)
    assert sales.backend.subscription(made.id).subscription.state is SubscriptionState.FAILED
    with pytest.raises(InvalidInputError, match="no snapshot 3 that the target could be brought to"):
        sales.backend.skip_snapshots(made.id, 3, reason="expired")
    sales.backend.skip_snapshots(made.id, 4, reason="expired")
    put(sales, 5)
    resumed(sales, made)
    assert held(tmp_path, "SELECT _commit_sequence_number, id FROM orders ORDER BY 1, 2") == [(2, 1), (5, 5)]
    (told,) = sales.backend.subscription(made.id).skips
    assert (told.snapshots, told.state) == ("snapshots 3 to 4", "skipped"), "it says so for good"


@pytest.mark.parametrize("dies_after", [1, 2, 3])
def test_a_worker_that_dies_between_its_steps_skips_the_same(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_after: int
) -> None:
    made = paused(sales)
    put(sales, 3, 4, 5)
    sales.backend.skip_snapshots(made.id, 4, first=4, reason="poisoned")
    sales.backend.resume_subscription(made.id)
    noted = DeliveryService._advance
    steps = iter(range(1, 9))

    def dies(self: DeliveryService, *what: Any, **how: Any) -> None:
        if next(steps) == dies_after:
            raise ZeroDivisionError  # the target has it, the lake does not know
        noted(self, *what, **how)

    with monkeypatch.context() as broken:
        broken.setattr(DeliveryService, "_advance", dies)
        with pytest.raises(ZeroDivisionError):
            sales.backend.app.deliveries.deliver(made.id)
    sales.run_pending()
    assert held(tmp_path) == [1, 3, 5]
    assert [one.state for one in sales.backend.subscription(made.id).skips] == ["skipped"]
    told = [step.reason for step in sales.backend.subscription_history(made.id)]
    assert sum(one.startswith("snapshot 4 skipped, as ") for one in told) == 1


def test_what_is_said_while_it_is_delivered_still_counts(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = paused(sales)
    put(sales, 3)
    sales.backend.resume_subscription(made.id)
    checked, said = DeliveryService._check_wanted, []

    def check(self: DeliveryService, *details: Any) -> None:
        if not said:
            said.append(sales.backend.skip_snapshots(made.id, 3, reason="stop"))
        checked(self, *details)

    monkeypatch.setattr(DeliveryService, "_check_wanted", check)
    sales.run_pending()
    sales.backend.app.deliveries.deliver(made.id)
    assert held(tmp_path) == [1]


def test_a_skip_is_withdrawn_until_deliveries_have_come_to_it(sales: Lake, tmp_path: Path) -> None:
    made = paused(sales)
    put(sales, 3, 4)
    skip, other = (sales.backend.skip_snapshots(made.id, one, first=one, reason="late") for one in (3, 4))
    with pytest.raises(SkipNotFoundError, match="no skip 99"):
        sales.backend.withdraw_skip(made.id, 99)
    with acting("user:stranger"), pytest.raises(SubscriptionNotFoundError):
        sales.backend.withdraw_skip(made.id, skip.number)
    assert sales.backend.withdraw_skip(made.id, skip.number, reason="it was right").snapshots == "snapshot 3"
    assert sales.backend.subscription(made.id).skips == (other,)
    resumed(sales, made)
    assert held(tmp_path) == [1, 3]
    with pytest.raises(LifecycleError, match="It is too late"):
        sales.backend.withdraw_skip(made.id, other.number)
    told = [step.reason for step in sales.backend.subscription_history(made.id)]
    assert "snapshot 3 not to be skipped any more: it was right" in told
    audited = {entry.action: entry for entry in sales.backend.audit(object_name=str(made.id))}
    assert audited["subscription.withdraw_skip"].details["reason"].endswith("it was right")


def test_a_skip_that_is_withdrawn_just_before_the_target_passes_it_is_delivered(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = paused(sales)
    put(sales, 3)
    skip = sales.backend.skip_snapshots(made.id, 3, reason="late")
    sales.backend.resume_subscription(made.id)
    checked, withdrawn = DeliveryService._check_wanted, []

    def check(self: DeliveryService, *details: Any) -> None:
        if not withdrawn:
            withdrawn.append(sales.backend.withdraw_skip(made.id, skip.number))
        checked(self, *details)

    monkeypatch.setattr(DeliveryService, "_check_wanted", check)
    with pytest.raises(CommitConflictError, match="not to be skipped any more"):
        sales.backend.app.deliveries.deliver(made.id)
    sales.backend.app.deliveries.deliver(made.id)
    assert held(tmp_path) == [1, 3]


def test_a_skip_that_a_worker_died_in_is_not_withdrawn(
    sales: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = paused(sales)
    put(sales, 3)
    skip = sales.backend.skip_snapshots(made.id, 3, reason="late")
    sales.backend.resume_subscription(made.id)

    def dies(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError  # the target has passed it, the lake does not know

    with monkeypatch.context() as broken:
        broken.setattr(DeliveryService, "_advance", dies)
        with pytest.raises(ZeroDivisionError):
            sales.backend.app.deliveries.deliver(made.id)
    with pytest.raises(LifecycleError, match="It is too late"):
        sales.backend.withdraw_skip(made.id, skip.number)
    sales.run_pending()
    assert held(tmp_path) == [1]
    assert [one.state for one in sales.backend.subscription(made.id).skips] == ["skipped"]


def test_everything_anew_leaves_nothing_out(sales: Lake, tmp_path: Path) -> None:
    made = paused(sales)
    put(sales, 3)
    sales.dataset(NAME).evolve(AddColumn("note", pa.string(), default="none"))  # old rows come anew, with it
    sales.backend.skip_snapshots(made.id, 3, reason="late")
    resumed(sales, made)
    assert held(tmp_path, "SELECT id, note FROM orders ORDER BY id") == [(1, "none"), (3, "none")]
    status = sales.backend.subscription(made.id)
    assert (status.skips, status.subscription.equality) == ((), Equality.EQUAL)


def test_what_cannot_be_skipped_is_refused(sales: Lake, tmp_path: Path) -> None:
    made = sales.dataset(NAME).subscribe("copy")
    with pytest.raises(LifecycleError, match="delivered nothing yet"):
        sales.backend.skip_snapshots(made.id, 2, reason="no")
    sales.run_pending()
    with pytest.raises(InvalidInputError, match="the latest is 2"):
        sales.backend.skip_snapshots(made.id, 3, reason="no")
    with pytest.raises(InvalidInputError, match="without a reason"):
        sales.backend.skip_snapshots(made.id, 3, reason=" ")
    with acting("user:stranger"), pytest.raises(SubscriptionNotFoundError):
        sales.backend.skip_snapshots(made.id, 3, reason="mine")
    sales.create_target("files", "parquet", root=str(tmp_path / "files"))
    whole = sales.dataset(NAME).subscribe("files")
    sales.run_pending()
    put(sales, 3)
    with pytest.raises(NotAllowedError, match="the whole of"):
        sales.backend.skip_snapshots(whole.id, 3, reason="no")
    sales.backend.revoke_subscription(made.id)
    with pytest.raises(LifecycleError, match="has ended"):
        sales.backend.skip_snapshots(made.id, 3, reason="no")
