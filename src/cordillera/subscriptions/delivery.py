"""Deliveries: bringing a target to where its dataset is, exactly once."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from cordillera.catalog.leases import fenced_write
from cordillera.catalog.tables import TableService
from cordillera.errors import CordilleraError, IncompatibleSchemaError, TerminalError, TransientError
from cordillera.metrics import ROWS_DELIVERED
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.synchronizer import Cursor, Delivery, DeliveryResult, Synchronizer
from cordillera.spec.subscription import DELIVERING, SubscriptionState
from cordillera.subscriptions.following import Followed, Following, typed
from cordillera.subscriptions.handlers import enqueue_verification


class DeliveryService:
    """Delivers changes to targets.

    Args:
        store: Keeps subscriptions.
        following: Knows what they follow.
        tables: Tells what changed.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, following: Following, tables: TableService, clock: Clock) -> None:
        self._store, self._following, self._tables, self._clock = store, following, tables, clock

    def deliver(self, subscription_id: UUID) -> DeliveryResult | None:
        """Bring a subscription's target to the dataset's current snapshot.

        What to deliver is worked out from the cursor that the target itself holds. A failure that a retry will not
        cure puts the subscription into the state failed, with the reason; another is noted as its last error.

        Returns:
            What the delivery did; None if there was nothing to do.

        Raises:
            TransientError: If a retry may help.
        """
        followed = self._following.followed(subscription_id)
        if followed is None or followed.subscription.state not in DELIVERING:
            return None
        try:
            followed = self._following.as_shown(followed)
            self._following.check_allowed(followed.subscription)
            with self._following.connected(followed.subscription) as synchronizer:
                return self._bring_up(followed, synchronizer)
        except TerminalError as error:
            with fenced_write(self._store, self._clock.now()) as tx:
                now, code = self._clock.now(), error.code
                tx.subscriptions.set_state(subscription_id, SubscriptionState.FAILED, str(error), now, error_code=code)
            raise
        except TransientError as error:
            # Not with a lease that was lost, for instance: then it is another worker's to tell.
            with suppress(CordilleraError), fenced_write(self._store, self._clock.now()) as tx:
                tx.subscriptions.note_error(subscription_id, str(error), self._clock.now(), error_code=error.code)
            raise

    def withdraw(self, subscription_id: UUID, *, keep_rows: bool) -> None:
        """Make a target forget a revoked subscription."""
        followed = self._following.followed(subscription_id)
        if followed is None:
            return
        with self._following.connected(followed.subscription) as synchronizer:
            synchronizer.drop(subscription_id, followed.table(), keep_rows=keep_rows)

    # --- planning ------------------------------------------------------------------------------------------------

    def _bring_up(self, followed: Followed, synchronizer: Synchronizer) -> DeliveryResult | None:
        subscription = followed.subscription
        if not followed.has_row_ids:
            return None
        cursor = synchronizer.read_cursor(subscription.id)
        anew = self._shows_something_else(followed)
        if cursor == followed.latest and not anew:
            self._advance(followed, 0, whole=subscription.cursor_sequence is None)
            return None
        delivery = self._plan(followed, cursor, merges=synchronizer.capabilities.merges and not anew)
        try:
            result = synchronizer.apply(delivery)
        except IncompatibleSchemaError:
            if delivery.replace:
                raise
            # The target cannot change its table in place; what it would refuse of the old rows, it takes anew.
            delivery = self._everything(followed, cursor)
            result = synchronizer.apply(delivery)
        ROWS_DELIVERED.labels(subscription.target).inc(result.rows_upserted + result.rows_deleted)
        self._advance(followed, result.rows_upserted + result.rows_deleted, whole=delivery.replace)
        return result

    def _plan(self, followed: Followed, cursor: Cursor | None, *, merges: bool) -> Delivery:
        """Return the changes behind the target's cursor; everything, where they cannot be told or merged."""
        if cursor is None or not merges or not followed.can_follow_from(cursor):
            return self._everything(followed, cursor)
        subscription, table = followed.subscription, followed.table()
        names = [column.name for column in table.columns]
        changes = self._tables.changes(
            subscription.dataset,
            followed.metadata,
            cursor.sequence_number,
            followed.version.sequence_number,
            names,
            subscription.row_filter,
            followed.view(),
        )
        if changes is None:
            return self._everything(followed, cursor)
        return Delivery(
            subscription.id,
            table,
            cursor,
            followed.latest,
            replace=False,
            upserts=typed(changes.upserts, table),
            deletes=changes.deletes,
            origin=followed.origin,
        )

    def _everything(self, followed: Followed, cursor: Cursor | None) -> Delivery:
        """Return a delivery that puts every row in the place of whatever the target holds."""
        table = followed.table()
        no_keys = table.arrow_schema().empty_table().select(list(table.key))
        return Delivery(
            followed.subscription.id,
            table,
            cursor,
            followed.latest,
            replace=True,
            upserts=typed(lambda: self._following.all_rows(followed, table, followed.version.sequence_number), table),
            deletes=no_keys.to_reader,
            repair=cursor == followed.latest,
            origin=followed.origin,
        )

    def _shows_something_else(self, followed: Followed) -> bool:
        """Tell whether rows that the target holds are shown otherwise by now, or not at all."""
        with self._store.read() as tx:
            return tx.subscriptions.shown(followed.subscription.id) != _fingerprint(followed)

    # --- helpers -------------------------------------------------------------------------------------------------

    def _advance(self, followed: Followed, rows: int, *, whole: bool = False) -> None:
        """Note a delivery; one of the whole content is to be verified."""
        with fenced_write(self._store, self._clock.now()) as tx:
            tx.subscriptions.advance(
                followed.subscription.id,
                sequence_number=followed.latest.sequence_number,
                schema_id=followed.latest.schema_id,
                rows=rows,
                now=self._clock.now(),
                shown=_fingerprint(followed),
            )
            if whole:
                enqueue_verification(tx, followed.subscription, self._clock)


def _fingerprint(followed: Followed) -> str:
    view = followed.view()
    return "" if view is None else view.fingerprint
