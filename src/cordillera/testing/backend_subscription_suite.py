"""What every lake must do, embedded or behind a server, as tests: targets and subscriptions. Needs pytest.

Subclass :class:`SubscriptionSuite` in a test module and provide the fixtures ``backend`` and ``work``.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest

from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    AlreadyExistsError,
    InvalidConfigurationError,
    InvalidInputError,
    InvalidNameError,
    LifecycleError,
    NotAllowedError,
    NotEmptyError,
    SubscriptionNotFoundError,
    TargetNotFoundError,
    UnknownColumnError,
)
from cordillera.spec.delivery_cost import CostQuery, CostsBy, month_of
from cordillera.spec.subscription import CopyAtEnd, Equality, SubscriptionMode, SubscriptionState
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.testing.backend_suite import LakeSuite, orders


class SubscriptionSuite(LakeSuite):
    """Targets and subscriptions."""

    # --- targets -------------------------------------------------------------------------------------------------

    def test_a_target_lives_its_life(self, backend: LakeBackend, target: str, tmp_path: Path) -> None:
        found = backend.target(target)
        assert (found.name, found.kind, found.config) == (target, "duckdb", {"path": str(tmp_path / "t.duckdb")})
        assert found in backend.targets(limit=1000)
        assert found not in backend.targets(after=target)
        backend.check_target(target)
        backend.delete_target(target)
        for operation in (backend.target, backend.check_target, backend.delete_target):
            with pytest.raises(TargetNotFoundError, match=target):
                operation(target)

    def test_a_target_that_cannot_work_is_refused(self, backend: LakeBackend, target: str) -> None:
        with pytest.raises(AlreadyExistsError):
            backend.create_target(target, "duckdb", {"path": "/tmp/x"}, check=False)  # noqa: S108 - never opened
        with pytest.raises(InvalidConfigurationError, match="abacus"):
            backend.create_target("other", "abacus", {})
        with pytest.raises(InvalidConfigurationError, match="colour"):
            backend.create_target("other", "duckdb", {"path": "/tmp/x", "colour": "red"})  # noqa: S108 - never opened
        with pytest.raises(InvalidNameError):
            backend.create_target("No Name", "duckdb", {"path": "/tmp/x"})  # noqa: S108 - never opened
        with pytest.raises(TargetNotFoundError):
            backend.target("other")

    # --- subscriptions -------------------------------------------------------------------------------------------

    def test_a_subscription_keeps_a_target_like_the_dataset(
        self, backend: LakeBackend, dataset: str, target: str, work: Callable[[], object], tmp_path: Path
    ) -> None:
        backend.write(dataset, orders(1, 2, note="a"), "append")
        made = backend.subscribe(
            WantedSubscription(
                dataset,
                target,
                table="mine",
                consumer="team:x",
                purpose="tests",
                columns=("note",),
                row_filter="id < 9",
            )
        )
        assert (made.state, made.consumer, made.columns) == (SubscriptionState.APPROVED, "team:x", ("note",))
        work()
        backend.write(dataset, orders(2, 3, 9, note="b"), "upsert")
        behind = backend.subscription(made.id)
        assert (behind.subscription.state, behind.snapshots_behind, behind.in_step) == ("live", 1, False)
        assert behind.behind_since is not None
        work()
        assert backend.subscription(made.id).in_step
        verified = backend.verify_subscription(made.id)
        assert (verified.equal, verified.rows_lake, verified.rows_target) == (True, 3, 3)
        with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
            assert connection.execute("SELECT id, note FROM mine ORDER BY id").fetchall() == [
                (1, "a"),
                (2, "b"),
                (3, "b"),
            ]

    def test_a_target_is_verified_and_repaired(
        self, backend: LakeBackend, dataset: str, target: str, work: Callable[[], object], tmp_path: Path
    ) -> None:
        backend.write(dataset, orders(*range(20), note="a"), "append")
        made = backend.subscribe(WantedSubscription(dataset, target, table="mine", verify_every_seconds=3600))
        assert (made.equality, made.verified_at, made.verify_every_seconds) == (Equality.UNPROVEN, None, 3600)
        work()
        proven = backend.subscription(made.id).subscription
        assert (proven.equality, proven.verified_sequence, proven.drift) == (Equality.EQUAL, 1, "")
        with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
            connection.execute("UPDATE mine SET note = 'theirs' WHERE id = 7; DELETE FROM mine WHERE id = 8")
            connection.execute("INSERT INTO mine (id, note) VALUES (99, 'theirs')")
        found = backend.verify_subscription(made.id)
        assert (found.missing, found.unexpected, found.different) == (("(8)",), ("(99)",), ("(7)",))
        assert (found.rows_missing, found.rows_unexpected, found.rows_different, found.columns) == (1, 1, 1, ("note",))
        drifted = backend.subscription(made.id).subscription
        assert drifted.equality is Equality.DRIFTED
        assert drifted.drift == "Rows that differ: 1 missing, 1 unexpected, 1 different (in note)."
        backend.verify_subscription(made.id)
        repaired = backend.repair_subscription(made.id)
        assert (repaired.rows_restored, repaired.rows_removed) == (2, 1)
        assert repaired.found == found
        assert repaired.verified.equal
        mine = [event.payload for event in backend.events() if event.payload.get("subscription_id") == str(made.id)]
        assert [payload["equality"] for payload in mine if "equality" in payload] == ["equal", "drifted", "equal"]
        assert backend.schedule_verification(made.id, None).verify_every_seconds is None
        assert backend.subscription(made.id).subscription.verify_every_seconds is None
        for seconds in (0, 59, 10**9):
            with pytest.raises(InvalidInputError, match="cannot be verified every"):
                backend.schedule_verification(made.id, seconds)
        backend.revoke_subscription(made.id)
        with pytest.raises(LifecycleError):
            backend.repair_subscription(made.id)

    def test_a_subscription_goes_through_its_states(
        self, backend: LakeBackend, dataset: str, target: str, work: Callable[[], object]
    ) -> None:
        made = backend.subscribe(
            WantedSubscription(
                dataset,
                target,
                purpose="tests",
                cost_owner="team:y",
                days=30,
                copy_at_end="remove",
                trigger="0 6 * * *",
            )
        )
        assert (made.cost_owner, made.copy_at_end, made.trigger) == ("team:y", CopyAtEnd.REMOVE, "0 6 * * *")
        assert made.expires_at == made.created_at + timedelta(days=30)
        work()
        assert backend.pause_subscription(made.id, reason="holidays").state is SubscriptionState.PAUSED
        with pytest.raises(LifecycleError):
            backend.pause_subscription(made.id)
        assert backend.resume_subscription(made.id).state is SubscriptionState.LIVE
        assert backend.renew_subscription(made.id, None).expires_at is None
        renewed = backend.renew_subscription(made.id, 7).expires_at
        assert renewed is not None
        with pytest.raises(InvalidInputError):
            backend.renew_subscription(made.id, 0)
        with pytest.raises(NotEmptyError):
            backend.delete_target(target)
        assert backend.revoke_subscription(made.id, reason="done").state is SubscriptionState.REVOKED
        work()
        for operation in (backend.resume_subscription, partial(backend.renew_subscription, days=3)):
            with pytest.raises(LifecycleError):
                operation(made.id)
        backend.delete_target(target)
        steps = list(reversed(backend.subscription_history(made.id)))
        assert [step.state for step in steps] == [
            "requested", "approved", "provisioning", "first_sync", "live", "paused", "live", "live", "live", "revoked",
            "revoked",
        ]  # fmt: skip
        told = [step.reason for step in steps]
        assert (told[0], told[5], told[9]) == ("for tests", "holidays", "done")
        assert told[10] == f"the table {made.target_table} in {target} was removed"
        assert {step.by for step in steps if step.state in ("requested", "paused", "revoked")} >= {made.created_by}
        assert backend.subscription_history(made.id, limit=2) == [steps[10], steps[9]]
        first = backend.subscription_deliveries(made.id)[-1]
        assert (first.from_sequence, first.whole, first.cost_owner) == (None, True, made.cost_owner or made.consumer)
        assert backend.subscription_deliveries(made.id, before=first.number, limit=1) == []
        singly = CostQuery(by=CostsBy.SUBSCRIPTION, cost_owner=first.cost_owner, subscription_id=made.id)
        (cost,) = backend.delivery_costs(singly)
        assert (cost.month, cost.dataset, cost.target) == (month_of(first.at), dataset, target)
        assert (cost.deliveries, cost.bytes >= first.bytes) == (len(backend.subscription_deliveries(made.id)), True)
        assert backend.delivery_costs(singly, cost.place) == []
        with pytest.raises(InvalidInputError, match="no place"):
            backend.delivery_costs(singly, "nowhere")
        assert backend.subscription_history(made.id, steps[2].number) == [steps[1], steps[0]]
        with pytest.raises(SubscriptionNotFoundError):
            backend.subscription_history(uuid4())

    def test_a_subscription_keeps_a_log(
        self, backend: LakeBackend, dataset: str, target: str, work: Callable[[], object], tmp_path: Path
    ) -> None:
        backend.write(dataset, orders(1, note="a"), "append")
        made = backend.subscribe(WantedSubscription(dataset, target, table="told", columns=("note",), mode="log"))
        assert (made.mode, made.trigger) == (SubscriptionMode.LOG, "commit")
        work()
        backend.write(dataset, orders(1, note="b"), "upsert")
        work()
        with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
            assert connection.execute("SELECT _change_type, note FROM told ORDER BY ALL").fetchall() == [
                ("insert", "a"),
                ("update_after", "b"),
                ("update_before", "a"),
            ]
        with pytest.raises(NotAllowedError, match="equals no snapshot"):
            backend.verify_subscription(made.id)

    def test_subscriptions_are_listed(self, backend: LakeBackend, dataset: str, target: str) -> None:
        made = {backend.subscribe(WantedSubscription(dataset, target, table=f"t{index}")).id for index in range(3)}
        backend.pause_subscription(next(iter(made)))
        first = backend.subscriptions(dataset=dataset, limit=2)
        second = backend.subscriptions(dataset=dataset, after=first[-1].subscription.id)
        assert {status.subscription.id for status in (*first, *second)} == made
        assert len(backend.subscriptions(target=target)) == 3
        assert len(backend.subscriptions(target=target, state="paused")) == 1
        with pytest.raises(InvalidInputError, match="sleepy"):
            backend.subscriptions(state="sleepy")

    def test_a_subscription_that_cannot_be_is_refused(self, backend: LakeBackend, dataset: str, target: str) -> None:
        backend.subscribe(WantedSubscription(dataset, target))
        with pytest.raises(AlreadyExistsError):
            backend.subscribe(WantedSubscription(dataset, target))
        with pytest.raises(TargetNotFoundError):
            backend.subscribe(WantedSubscription(dataset, "nowhere"))
        with pytest.raises(UnknownColumnError):
            backend.subscribe(WantedSubscription(dataset, target, table="other", columns=("nope",)))
        with pytest.raises(InvalidInputError):
            backend.subscribe(WantedSubscription(dataset, target, table="other", row_filter="id >"))
        for wrong in (
            {"days": 0},
            {"days": 99_999},
            {"copy_at_end": "burn"},
            {"mode": "diary"},
            {"trigger": "now and then"},
        ):
            with pytest.raises(InvalidInputError):
                backend.subscribe(WantedSubscription(dataset, target, table="other", **wrong))
        unknown = uuid4()
        for operation in (backend.subscription, backend.pause_subscription, backend.verify_subscription):
            with pytest.raises(SubscriptionNotFoundError, match=str(unknown)):
                operation(unknown)
