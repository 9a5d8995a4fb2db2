"""What may be told of subscriptions: what they ran into can quote rows."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from cordillera.catalog.lookup import Lookup
from cordillera.ports.metadata import Transaction
from cordillera.spec.subscription import Subscription
from cordillera.spec.told_errors import told_error


class Told:
    """Subscriptions as whoever acts may be told of them: errors that can quote rows only if he may read them all."""

    def __init__(self, tx: Transaction, lookup: Lookup) -> None:
        self._tx, self._lookup = tx, lookup
        self._whole: dict[UUID, bool] = {}

    def of(self, subscription: Subscription) -> Subscription:
        """Return a subscription with what may be told of its last error."""
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
