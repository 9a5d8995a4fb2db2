"""Changing what a subscription is to while it follows: mode, trigger, columns, row filter, cost owner."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.tables import TableService
from cordillera.context import acting, current
from cordillera.errors import AccessDeniedError, DatasetNotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.subscriptions import ANEW
from cordillera.spec.access import Privilege
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.subscription import Subscription
from cordillera.spec.texts import check_texts
from cordillera.spec.wish_change import WishChange, comes_anew, in_words, widened
from cordillera.spec.wish_names import wished_under
from cordillera.subscriptions.handlers import enqueue_delivery, enqueue_next_time
from cordillera.subscriptions.lifecycle import check_approves, check_following
from cordillera.subscriptions.moves import note_flow, tell
from cordillera.subscriptions.service import SubscriptionService
from cordillera.subscriptions.telling import Told


class ChangeService:
    """Changes what subscriptions are to.

    Args:
        store: Keeps them.
        lookup: Knows who may see and do what.
        tables: Knows what columns are called.
        subscriptions: Knows what can be delivered to a target.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        tables: TableService,
        subscriptions: SubscriptionService,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._tables = store, lookup, tables
        self._subscriptions, self._clock = subscriptions, clock

    def change(self, subscription_id: UUID, wanted: WishChange, reason: str = "") -> Subscription:
        """Change what a subscription is to. Other columns, rows or another mode let everything come anew, at once and
        whole; readers of the target see the old table until then. A trigger or cost owner leaves the copy as it is.

        What somebody had to approve is not widened without somebody who may: who administers the dataset.

        Raises:
            SubscriptionNotFoundError: If there is no such subscription that whoever acts may see.
            AccessDeniedError: If he may not alter it; if he neither administers the dataset, nor may read it and write
                to the target; or if it is widened, was approved for an access request, and he does not administer the
                dataset.
            LifecycleError: If it has ended, or waits for an approval.
            InvalidInputError, UnknownColumnError, InvalidExpressionError, NotAllowedError: As for ``subscribe``.
        """
        check_texts("subscription", str(subscription_id), reason=reason, cost_owner=wanted.cost_owner or "")
        with self._store.read() as tx:
            stored = self._lookup.subscription(tx, subscription_id, Privilege.ALTER)
            found = self._as_called(tx, stored)
            self._check_decides(tx, found, wanted.applied_to(found))
        wished = wanted.applied_to(found)
        if comes_anew(found, wished):
            with acting(found.on_behalf_of or None):  # what is delivered is what he is shown
                self._subscriptions.check_possible(self._followed(found), wished)
        with self._store.write() as tx:
            stored = self._lookup.subscription(tx, subscription_id, Privilege.ALTER, lock=True)
            found = self._as_called(tx, stored)
            wished = wanted.applied_to(found)
            self._check_decides(tx, found, wished)
            if told := in_words(found, wished):
                if not comes_anew(found, wished):  # names go on being those that were last delivered
                    wished = replace(wished, columns=stored.columns, row_filter=stored.row_filter)
                self._store_change(tx, stored, wished, f"changed: {told}{f' ({reason})' if reason else ''}")
            return Told(tx, self._lookup).of(wished)

    def _as_called(self, tx: Transaction, subscription: Subscription) -> Subscription:
        """Return a subscription with the columns that it names called as they are now."""
        version = tx.dataset_versions.get(subscription.dataset_version_id)
        if version is None:
            return subscription
        metadata, made_since = self._tables.load(version), tx.subscriptions.shown(subscription.id) == ANEW
        return wished_under(subscription, metadata.schema, metadata.schemas, made_since=made_since)

    def _store_change(self, tx: Transaction, found: Subscription, wished: Subscription, told: str) -> None:
        now, anew = self._clock.now(), comes_anew(found, wished)
        tx.subscriptions.change_wishes(wished, anew=anew)
        tx.subscriptions.note_change(found.id, found.state, current().principal, now, told)
        tell(tx, wished, now, "change", told)
        if wished.columns != found.columns:
            note_flow(tx, wished, now)
        if wished.trigger != found.trigger:
            enqueue_next_time(tx, wished, self._clock)
        if anew or (wished.trigger == ON_COMMIT != found.trigger):
            enqueue_delivery(tx, wished, self._clock)

    def _check_decides(self, tx: Transaction, found: Subscription, wished: Subscription) -> None:
        dataset = tx.datasets.get_by_id(found.dataset_id)
        try:
            if dataset is not None:
                self._lookup.require(tx, dataset, Privilege.ADMINISTER)
                return
        except AccessDeniedError:
            check_approves(tx, self._lookup, found, widened(found, wished))
        check_following(tx, self._lookup, found)

    def _followed(self, subscription: Subscription) -> ResolvedDataset:
        """Return the dataset version followed, as whoever acts is shown it."""
        with self._store.read() as tx:
            dataset = tx.datasets.get_by_id(subscription.dataset_id)
            version = tx.dataset_versions.get(subscription.dataset_version_id)
            if dataset is None or version is None:
                raise DatasetNotFoundError(f"The dataset {subscription.dataset} is gone.")
            return ResolvedDataset(dataset, version, rows=self._lookup.rows(tx, dataset, version))
