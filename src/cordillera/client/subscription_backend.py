"""What can be asked of a lake about targets and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from cordillera.spec.delivery_cost import CostQuery, DeliveryCost
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.external_schema import ExternalSchema
from cordillera.spec.skip import Skip
from cordillera.spec.subscription import (
    CopyAtEnd,
    Repair,
    Subscription,
    SubscriptionChange,
    SubscriptionMode,
    SubscriptionStatus,
    Target,
    Verification,
)
from cordillera.spec.wish_change import WishChange


class SubscriptionBackend(Protocol):
    """The part of ``LakeBackend`` that is about targets and subscriptions."""

    def create_target(self, name: str, kind: str, config: Mapping[str, str], *, check: bool = True) -> Target: ...
    def target(self, name: str) -> Target: ...
    def targets(self, after: str = "", limit: int = 100) -> list[Target]: ...
    def check_target(self, name: str) -> None: ...
    def external_schema(self, target: str, wanted: ExternalSchema) -> list[str]: ...
    def delete_target(self, name: str) -> None: ...
    def subscribe(
        self,
        dataset: str,
        target: str,
        *,
        table: str = "",
        consumer: str = "",
        purpose: str = "",
        columns: Sequence[str] = (),
        row_filter: str = "",
        verify_every_seconds: int | None = None,
        cost_owner: str = "",
        days: int | None = None,
        copy_at_end: str = CopyAtEnd.FREEZE,
        mode: str = SubscriptionMode.MIRROR,
        trigger: str = ON_COMMIT,
    ) -> Subscription: ...
    def subscription(self, subscription_id: UUID) -> SubscriptionStatus: ...
    def subscriptions(
        self,
        *,
        dataset: str | None = None,
        target: str | None = None,
        state: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[SubscriptionStatus]: ...
    def subscription_history(
        self, subscription_id: UUID, before: int | None = None, limit: int = 100
    ) -> list[SubscriptionChange]: ...
    def subscription_deliveries(
        self, subscription_id: UUID, before: int | None = None, limit: int = 100
    ) -> list[DeliveryRecord]: ...
    def delivery_costs(self, asked: CostQuery, after: str = "", limit: int = 100) -> list[DeliveryCost]: ...
    def pause_subscription(self, subscription_id: UUID, *, reason: str = "") -> Subscription: ...
    def resume_subscription(self, subscription_id: UUID, *, reason: str = "") -> Subscription: ...
    def renew_subscription(self, subscription_id: UUID, days: int | None) -> Subscription: ...
    def change_subscription(self, subscription_id: UUID, wanted: WishChange, *, reason: str = "") -> Subscription: ...
    def revoke_subscription(
        self, subscription_id: UUID, *, keep_rows: bool = True, reason: str = ""
    ) -> Subscription: ...
    def skip_snapshots(self, subscription_id: UUID, last: int, *, first: int | None = None, reason: str) -> Skip: ...
    def withdraw_skip(self, subscription_id: UUID, number: int, *, reason: str = "") -> Skip: ...
    def verify_subscription(self, subscription_id: UUID) -> Verification: ...
    def repair_subscription(self, subscription_id: UUID) -> Repair: ...
    def schedule_verification(self, subscription_id: UUID, every_seconds: int | None) -> Subscription: ...
