"""Rows of targets and subscriptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Privilege, SecurableKind, Viewer
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.delivery_cost import CostQuery, DeliveryCost
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.skip import Skip, SkipState
from cordillera.spec.subscription import Equality, Subscription, SubscriptionChange, SubscriptionState, Target

ANEW = "anew"
"""In the place of the fingerprint of a view: everything has to be delivered anew. No fingerprint is like it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a subscription stands: all that is stored which a delivery begins with.

    Attributes:
        subscription: The subscription.
        shown: What was shown of the rows that the target holds; see ``SubscriptionRows.shown``.
        leaves_out: Whether there are skips ahead of the target (``spec.skip.AHEAD``).
        dataset: The dataset that it follows, deleted or not.
        version: The dataset version.
        target: The target; None if it is gone.
        lake: The lake's name.
    """

    subscription: Subscription
    shown: str
    leaves_out: bool
    dataset: Dataset
    version: DatasetVersion
    target: Target | None
    lake: str


class TargetRows(Protocol):
    """Targets by name."""

    def insert(self, target: Target) -> None:
        """Add a target; raises ``AlreadyExistsError`` if the name is taken."""

    def get(self, name: str) -> Target | None:
        """Return a target by name."""

    def page(self, after: str, limit: int, *, viewer: Viewer | None = None) -> list[Target]:
        """Return targets by name behind ``after``; a viewer gets those that he may discover."""

    def delete(self, name: str) -> None:
        """Remove a target; raises ``NotEmptyError`` while subscriptions that have not ended use it."""


class SubscriptionRows(Protocol):
    """Subscriptions. A table of a target belongs to at most one subscription that has not ended."""

    def insert(self, subscription: Subscription) -> None:
        """Add a subscription; raises ``AlreadyExistsError`` if the target's table is taken."""

    def get(self, subscription_id: UUID) -> Subscription | None:
        """Return a subscription by id."""

    def lock(self, subscription_id: UUID) -> Subscription | None:
        """Return the same, locked until the transaction ends."""

    def standing(self, subscription_id: UUID) -> Standing | None:
        """Return where a subscription stands; None if it, or the dataset version that it follows, is gone."""

    def held(self, viewer: Viewer | None, subscription_ids: Collection[UUID]) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges that a viewer holds on subscriptions that he may discover.

        He holds every one on his own, and on those of datasets that he administers. Of datasets that he may discover,
        or the dataset version that is followed, also on those whose target he administers; and on others what he was
        granted on them.
        """

    def asked_by(self, request_id: UUID) -> list[Subscription]:
        """Return, locked, the subscriptions that an access request was made for."""

    def page(
        self,
        *,
        dataset_id: UUID | None = None,
        target: str | None = None,
        state: SubscriptionState | None = None,
        after: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[Subscription]:
        """Return subscriptions by id behind ``after``, of one dataset, target or state where given.

        A viewer gets those that he may discover.
        """

    def followed(self, version_ids: Sequence[UUID], trigger: str) -> set[UUID]:
        """Return those of some dataset versions that have subscriptions that ``following`` returns."""

    def following(self, version_id: UUID, trigger: str, *, after: UUID | None = None, limit: int) -> list[Subscription]:
        """Return subscriptions that follow a dataset version, take deliveries, and wait for a trigger.

        Args:
            version_id: The dataset version.
            trigger: See ``cordillera.spec.delivery_trigger``.
            after: The id of the last of the page before; they come by id.
            limit: Most to return.
        """

    def entrusted(
        self,
        *,
        principal: str = "",
        inside: tuple[SecurableKind, UUID] | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> list[Subscription]:
        """Return subscriptions that are delivered on somebody's behalf, by id behind ``after``.

        Args:
            principal: Only those of this principal, or of members, at whatever depth, of this group or role.
            inside: Only those of datasets inside this object.
            after: The id of the last of the page before.
            limit: Most to return.
        """

    def set_state(
        self, subscription_id: UUID, state: SubscriptionState, error: str, now: datetime, *, error_code: str = ""
    ) -> None:
        """Change the state and the last error, with its kind; one that has ended stays so."""

    def change_wishes(self, subscription: Subscription, *, anew: bool) -> None:
        """Store mode, trigger, columns, row filter and cost owner of a subscription.

        With ``anew``, what the target holds counts as shown under other wishes (``ANEW``), and as not compared.
        """

    def set_expiry(self, subscription_id: UUID, expires_at: datetime | None) -> None:
        """Change when it ends by itself."""

    def note_change(self, subscription_id: UUID, state: SubscriptionState, by: str, at: datetime, reason: str) -> None:
        """Add a step to its history."""

    def history(self, subscription_id: UUID, *, before: int | None = None, limit: int) -> list[SubscriptionChange]:
        """Return its steps, newest first, behind ``before``."""

    def note_delivery(self, record: DeliveryRecord) -> None:
        """Add a delivery's figures under the next number, and to the costs of its month.

        Of each subscription the figures of the last ``MOST_KEPT`` deliveries are kept; costs are kept all.
        """

    def deliveries(self, subscription_id: UUID, *, before: int | None = None, limit: int) -> list[DeliveryRecord]:
        """Return the figures of its deliveries, newest first, behind ``before``."""

    def costs(
        self, asked: CostQuery, *, after: str = "", limit: int, viewer: Viewer | None = None
    ) -> list[DeliveryCost]:
        """Return costs by month, cost owner and subscription, behind the place ``after``.

        A viewer gets those of subscriptions that he may read; what others cost is in no sum that he gets.
        """

    def add_skip(self, skip: Skip) -> None:
        """Add snapshots that deliveries leave out, under the next number."""

    def skips(self, subscription_id: UUID, *states: SkipState) -> list[Skip]:
        """Return what deliveries leave out, oldest first; of some states where any are given."""

    def settle_skips(
        self, subscription_id: UUID, before: Collection[SkipState], after: SkipState, *, upto: int
    ) -> None:
        """Change the state of skips that stand in one of some others and end no later than a snapshot."""

    def remove_skip(self, number: int) -> bool:
        """Remove a skip that is waiting; return whether it was."""

    def entrust(self, subscription_id: UUID, on_behalf_of: str) -> None:
        """Change whose privileges deliveries need."""

    def note_error(self, subscription_id: UUID, error: str, now: datetime, *, error_code: str = "") -> None:
        """Change the last error only: why a delivery failed that will be tried again."""

    def shown(self, subscription_id: UUID) -> str:
        """Return what was shown of the rows that a target holds: the fingerprint of a view; empty for all.

        It is ``ANEW`` if other rows or columns were wished for then.
        """

    def advance(
        self, subscription_id: UUID, *, sequence_number: int, schema_id: int, rows: int, now: datetime, shown: str = ""
    ) -> None:
        """Note a delivery: the cursor, rows added to ``rows_delivered``, no error, what was shown.

        A cursor never goes back: an older sequence number changes nothing.
        """

    def set_verification_interval(self, subscription_id: UUID, seconds: int | None) -> None:
        """Change how often a target is verified."""

    def note_verification(
        self, subscription_id: UUID, equality: Equality, *, sequence_number: int, drift: str, now: datetime
    ) -> bool:
        """Note what a comparison found; True if another one had found something else before."""
