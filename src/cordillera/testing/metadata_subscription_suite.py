"""What a metadata store must do with targets and subscriptions, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    NotEmptyError,
    TargetNotFoundError,
)
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.ports.metadata.subscriptions import Standing
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.skip import AHEAD, Skip, SkipState
from cordillera.spec.subscription import ENDED, Equality, SubscriptionState
from cordillera.testing.metadata_samples import (
    NOW,
    PRINCIPAL,
    dataset,
    dataset_version,
    later,
    numbered_id,
    stored_dataset,
    subscription,
    target,
)


class SubscriptionSuite:
    """Targets, subscriptions, what verifications found, and skips."""

    @pytest.fixture
    def orders(self, store: MetadataStore) -> tuple[Dataset, DatasetVersion]:
        """Return a dataset that is in the store, beside the target ``warehouse``."""
        with store.write() as tx:
            tx.targets.insert(target())
        return stored_dataset(store)

    def test_targets_are_kept_by_name(self, store: MetadataStore) -> None:
        made = [target(name) for name in ("b", "a", "c")]
        with store.write() as tx:
            for one in made:
                tx.targets.insert(one)
            with pytest.raises(AlreadyExistsError, match="b"):
                tx.targets.insert(target("b"))
        with store.read() as tx:
            assert tx.targets.get("b") == made[0]
            assert tx.targets.get("d") is None
            assert [one.name for one in tx.targets.page("", 2)] == ["a", "b"]
            assert tx.targets.page("b", 9) == [made[2]]

    def test_a_target_in_use_stays(self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]) -> None:
        wish = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            with pytest.raises(NotEmptyError, match="warehouse"):
                tx.targets.delete("warehouse")
            tx.subscriptions.set_state(wish.id, SubscriptionState.REVOKED, "", NOW)
            tx.targets.delete("warehouse")
            assert tx.targets.get("warehouse") is None
            assert tx.subscriptions.get(wish.id) == replace(wish, state=SubscriptionState.REVOKED)

    def test_a_table_belongs_to_one_subscription(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        first, second = subscription(*orders), subscription(*orders, columns=(), row_filter="")
        with store.write() as tx:
            tx.subscriptions.insert(first)
            with pytest.raises(AlreadyExistsError, match=r"'orders'.*warehouse"):
                tx.subscriptions.insert(second)
            tx.subscriptions.set_state(first.id, SubscriptionState.REVOKED, "", NOW)
            tx.subscriptions.insert(second)
            with pytest.raises(AlreadyExistsError):
                tx.subscriptions.insert(subscription(*orders))
        with store.read() as tx:
            assert tx.subscriptions.get(second.id) == second
            assert tx.subscriptions.get(uuid4()) is None

    def test_a_subscription_needs_target_and_dataset(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        with store.write() as tx:
            with pytest.raises(TargetNotFoundError, match="nowhere"):
                tx.subscriptions.insert(subscription(*orders, target="nowhere"))
            missing = dataset("sales.none")
            with pytest.raises(DatasetNotFoundError, match=r"sales\.none"):
                tx.subscriptions.insert(subscription(missing, dataset_version(missing.id)))

    def test_a_subscription_follows_its_dataset_through_renaming(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        wish = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            tx.datasets.update(replace(orders[0], name="bookings"))
            assert tx.subscriptions.get(wish.id) == replace(wish, dataset="sales.bookings")

    def test_subscriptions_are_listed_by_id(self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]) -> None:
        other = stored_dataset(store, "sales.other")
        live, failed = SubscriptionState.LIVE, SubscriptionState.FAILED
        made = [
            subscription(*orders, "t1", id=numbered_id(1), state=live),
            subscription(*other, "t2", id=numbered_id(2), state=failed, last_error="Why"),
            subscription(*orders, "t3", id=numbered_id(3), state=failed, cursor_sequence=3, cursor_schema_id=1),
            subscription(*orders, "t1", id=numbered_id(4), target="lake", delivered_at=later(3), rows_delivered=9),
        ]
        with store.write() as tx:
            tx.targets.insert(target("lake"))
            for wish in reversed(made):
                tx.subscriptions.insert(wish)
        with store.read() as tx:
            page = tx.subscriptions.page
            assert page(limit=9) == made
            assert page(limit=2) == made[:2]
            assert page(after=numbered_id(2), limit=9) == made[2:]
            assert page(dataset_id=orders[0].id, limit=9) == [made[0], made[2], made[3]]
            assert page(target="warehouse", after=numbered_id(1), limit=9) == made[1:3]
            assert page(state=failed, limit=9) == made[1:3]
            assert page(state=failed, dataset_id=orders[0].id, target="warehouse", limit=9) == [made[2]]

    def test_a_delivery_moves_the_cursor_forward_only(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        wish = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            tx.subscriptions.set_state(wish.id, SubscriptionState.FAILED, "Disk full", later(1), error_code="full")
            assert tx.subscriptions.get(wish.id) == replace(
                wish, state=SubscriptionState.FAILED, last_error="Disk full", error_code="full"
            )
            tx.subscriptions.advance(wish.id, sequence_number=3, schema_id=1, rows=10, now=later(2))
            reached = replace(
                wish,
                state=SubscriptionState.FAILED,
                cursor_sequence=3,
                cursor_schema_id=1,
                rows_delivered=10,
                delivered_at=later(2),
            )
            assert tx.subscriptions.get(wish.id) == reached
            tx.subscriptions.note_error(wish.id, "Unreachable", later(2), error_code="gone")
            assert tx.subscriptions.get(wish.id) == replace(reached, last_error="Unreachable", error_code="gone")
            tx.subscriptions.note_error(wish.id, "", later(2))
            assert tx.subscriptions.shown(wish.id) == ""
            tx.subscriptions.advance(wish.id, sequence_number=2, schema_id=0, rows=99, now=later(3), shown="older")
            assert (tx.subscriptions.get(wish.id), tx.subscriptions.shown(wish.id)) == (reached, "")
            tx.subscriptions.advance(wish.id, sequence_number=5, schema_id=2, rows=1, now=later(4), shown="less")
            assert tx.subscriptions.shown(wish.id) == "less"
            assert tx.subscriptions.get(wish.id) == replace(
                reached, cursor_sequence=5, cursor_schema_id=2, rows_delivered=11, delivered_at=later(4)
            )

    @pytest.mark.parametrize("state", sorted(ENDED))
    def test_an_end_is_final_and_frees_the_table(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion], state: SubscriptionState
    ) -> None:
        wish, another = subscription(*orders), subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(wish)
            tx.subscriptions.set_state(wish.id, state, "", NOW)
            tx.subscriptions.set_state(wish.id, SubscriptionState.LIVE, "late", NOW)
            assert tx.subscriptions.get(wish.id) == replace(wish, state=state)
            tx.subscriptions.insert(another)
            tx.subscriptions.set_state(another.id, state, "", NOW)
            tx.targets.delete("warehouse")

    def test_the_steps_of_a_subscription_are_kept_in_order(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        wish, other = subscription(*orders), subscription(*orders, "other")
        with store.write() as tx:
            for one in (wish, other):
                tx.subscriptions.insert(one)
            for count, state in enumerate(SubscriptionState):
                tx.subscriptions.note_change(wish.id, state, f"user:{count}", later(count), f"Why {count}")
            tx.subscriptions.note_change(other.id, SubscriptionState.LIVE, "", NOW, "")
        with store.read() as tx:
            steps = tx.subscriptions.history(wish.id, limit=99)
            assert [step.state for step in reversed(steps)] == list(SubscriptionState)
            assert (steps[-1].by, steps[-1].at, steps[-1].reason) == ("user:0", later(0), "Why 0")
            assert tx.subscriptions.history(wish.id, limit=2) == steps[:2]
            assert tx.subscriptions.history(wish.id, before=steps[1].number, limit=99) == steps[2:]
            assert len(tx.subscriptions.history(other.id, limit=99)) == 1

    def test_subscriptions_are_found_by_what_was_asked_for_them(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        request = uuid4()
        asked = [subscription(*orders, f"t{n}", id=numbered_id(n), request_id=request) for n in (1, 2)]
        with store.write() as tx:
            for one in (*asked, subscription(*orders, "t3"), subscription(*orders, "t4", request_id=uuid4())):
                tx.subscriptions.insert(one)
            assert tx.subscriptions.asked_by(request) == asked
            assert tx.subscriptions.lock(asked[0].id) == asked[0]
            assert tx.subscriptions.lock(uuid4()) is None
            tx.subscriptions.set_expiry(asked[0].id, later(9))
            assert tx.subscriptions.get(asked[0].id) == replace(asked[0], expires_at=later(9))

    def test_what_a_verification_found_is_news_once(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        copied = subscription(*orders)
        with store.write() as tx:
            tx.subscriptions.insert(copied)

        def note(equality: Equality, sequence: int, drift: str = "") -> bool:
            with store.write() as tx:
                return tx.subscriptions.note_verification(
                    copied.id, equality, sequence_number=sequence, drift=drift, now=NOW
                )

        assert [note(Equality.EQUAL, 1), note(Equality.EQUAL, 2), note(Equality.DRIFTED, 2, "1 missing")] == [
            True,
            False,
            True,
        ]
        assert not note(Equality.DRIFTED, 3, "2 missing")
        with store.write() as tx:
            tx.subscriptions.set_verification_interval(copied.id, 3600)
        with store.read() as tx:
            found = tx.subscriptions.get(copied.id)
        assert found is not None
        assert (found.equality, found.verified_sequence, found.verified_at) == (Equality.DRIFTED, 3, NOW)
        assert (found.drift, found.verify_every_seconds) == ("2 missing", 3600)

    def test_skips_are_kept_in_order_and_settled(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        copied, other = subscription(*orders), subscription(*orders, target_table="other")
        with store.write() as tx:
            for one in (copied, other):
                tx.subscriptions.insert(one)
                for first, last in ((4, 5), (8, 9)):
                    tx.subscriptions.add_skip(Skip(0, one.id, first, last, PRINCIPAL, NOW, "late"))
            tx.subscriptions.settle_skips(copied.id, AHEAD, SkipState.SKIPPED, upto=8)
            tx.subscriptions.settle_skips(copied.id, [SkipState.MADE_GOOD], SkipState.WAITING, upto=9)
        with store.read() as tx:
            found = tx.subscriptions.skips(copied.id)
            assert [(one.first_sequence, one.last_sequence, one.state) for one in found] == [
                (4, 5, SkipState.SKIPPED),
                (8, 9, SkipState.WAITING),
            ]
            assert tx.subscriptions.skips(copied.id, SkipState.SKIPPED) == found[:1]
            assert len(tx.subscriptions.skips(other.id, SkipState.WAITING, SkipState.MADE_GOOD)) == 2

    def test_where_a_subscription_stands_is_what_is_stored_of_all_that_it_names(
        self, store: MetadataStore, orders: tuple[Dataset, DatasetVersion]
    ) -> None:
        copied, other = subscription(*orders), subscription(*orders, target_table="other")
        with store.write() as tx:
            tx.lake.put(LakeInfo(uuid4(), "main", "file:///lake", NOW))
            for one in (copied, other):
                tx.subscriptions.insert(one)
            tx.subscriptions.add_skip(Skip(0, other.id, 4, 5, PRINCIPAL, NOW, "late"))
            stored = tx.targets.get(copied.target)
            assert tx.subscriptions.standing(copied.id) == Standing(copied, "", False, *orders, stored, "main")
            assert tx.subscriptions.standing(other.id) == Standing(other, "", True, *orders, stored, "main")
            tx.subscriptions.settle_skips(other.id, AHEAD, SkipState.SKIPPED, upto=9)
            tx.subscriptions.advance(other.id, sequence_number=3, schema_id=1, rows=1, now=NOW, shown="less")
            found = tx.subscriptions.get(other.id)
            assert found is not None
            assert tx.subscriptions.standing(other.id) == Standing(found, "less", False, *orders, stored, "main")
            assert tx.subscriptions.standing(uuid4()) is None
