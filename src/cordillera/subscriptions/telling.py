"""What may be told of subscriptions: what they ran into is for those who may read them, and can quote rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from cordillera.catalog.lookup import Lookup
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.subscription import Subscription
from cordillera.spec.told_errors import told_error


class Told:
    """Subscriptions as whoever acts may be told of them: errors and differences only if he may read the subscription,
    and errors that can quote rows only if he may read those all.
    """

    def __init__(self, tx: Transaction, lookup: Lookup) -> None:
        self._tx, self._lookup = tx, lookup
        self._whole: dict[UUID, bool] = {}

    def of(self, subscription: Subscription) -> Subscription:
        """Return a subscription with what may be told of it."""
        return self.each([subscription])[0]

    def each(self, subscriptions: Sequence[Subscription]) -> list[Subscription]:
        """Return subscriptions with what may be told of them."""
        kept = [one.id for one in subscriptions if one.last_error or one.drift]
        held = self._lookup.authorizer.on_subscriptions(self._tx, kept)
        return [self._told(one) if Privilege.READ in held.get(one.id, ()) else _hidden(one) for one in subscriptions]

    def _told(self, subscription: Subscription) -> Subscription:
        if not subscription.last_error:
            return subscription
        whole = self._reads_all(subscription.dataset_id)
        told = told_error(subscription.last_error, subscription.error_code, reads_all=whole, what=subscription.dataset)
        return replace(subscription, last_error=told)

    def _reads_all(self, dataset_id: UUID) -> bool:
        if dataset_id not in self._whole:
            dataset = self._tx.datasets.get_by_id(dataset_id)
            self._whole[dataset_id] = self._lookup.reads_all(self._tx, dataset)
        return self._whole[dataset_id]


def _hidden(subscription: Subscription) -> Subscription:
    """Return a subscription with a word on what is not told in the place of what it ran into."""
    words = f"It is told to those who may read the subscription: ask for read on subscription:{subscription.id}."
    error, drift = (words if text else "" for text in (subscription.last_error, subscription.drift))
    return replace(subscription, last_error=error, drift=drift)
