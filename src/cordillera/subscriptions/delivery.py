"""Deliveries: bringing a target to where its dataset is, exactly once, and proving that it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.leases import fenced_write
from cordillera.catalog.lookup import Lookup
from cordillera.catalog.tables import TableService
from cordillera.context import acting
from cordillera.errors import (
    CordilleraError,
    IncompatibleSchemaError,
    NotAllowedError,
    SubscriptionNotFoundError,
    TargetDriftError,
    TargetNotFoundError,
    TerminalError,
    TransientError,
)
from cordillera.metrics import ROWS_DELIVERED
from cordillera.ports.clock import Clock
from cordillera.ports.engine import QueryEngine
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.synchronizer import (
    Cursor,
    Delivery,
    DeliveryResult,
    Synchronizer,
    TargetColumn,
    TargetTable,
)
from cordillera.spec.access import Privilege
from cordillera.spec.arrow_types import to_arrow_field
from cordillera.spec.catalog import DatasetVersion
from cordillera.spec.subscription import DELIVERING, Subscription, SubscriptionState, Verification
from cordillera.spec.table_metadata import TableMetadata
from cordillera.subscriptions.equality import compare
from cordillera.subscriptions.service import SynchronizerFactory
from cordillera.table.data_writer import ROW_ID, ROW_ID_FIELD_ID


@dataclass(frozen=True, slots=True)
class _Followed:
    """A subscription with the state of what it follows."""

    subscription: Subscription
    version: DatasetVersion
    metadata: TableMetadata

    @property
    def latest(self) -> Cursor:
        return Cursor(self.version.sequence_number, self.version.schema_id)

    @property
    def has_row_ids(self) -> bool:
        """Whether rows can be told apart. Without a key they have no ids yet between an upgrade and the next commit."""
        snapshot = self.metadata.current_snapshot
        upgraded = self.version.format_version >= 3 and snapshot is not None and snapshot.first_row_id is None
        return bool(self.version.key) or not upgraded

    def under_schema(self, schema_id: int) -> _Followed:
        """Return the same with an earlier schema in the place of the current one."""
        return replace(self, metadata=self.metadata.with_changes(current_schema_id=schema_id))

    def can_follow_from(self, cursor: Cursor) -> bool:
        """Tell whether rows delivered under the cursor's schema are still right under today's.

        They are not where a column came with a default for old rows, or the inside of a nested column changed.
        """
        if cursor.sequence_number > self.version.sequence_number:
            return False
        delivered = {field.field_id: field for field in self.metadata.schema_by_id(cursor.schema_id).fields}
        for field in self.metadata.schema.fields:
            before = delivered.get(field.field_id)
            if before is None and field.initial_default is not None:
                return False
            if before is not None and before.field_type.is_struct and before.field_type != field.field_type:
                return False
        return True


class DeliveryService:
    """Delivers changes to targets.

    Args:
        store: Keeps subscriptions.
        lookup: Knows who may read what, by now.
        tables: Reads datasets.
        engine: Compares.
        synchronizers: Builds synchronizers.
        clock: Time.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        tables: TableService,
        engine: QueryEngine,
        synchronizers: SynchronizerFactory,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._tables, self._engine = store, lookup, tables, engine
        self._synchronizers, self._clock = synchronizers, clock

    def deliver(self, subscription_id: UUID) -> DeliveryResult | None:
        """Bring a subscription's target to the dataset's current snapshot.

        What to deliver is worked out from the cursor that the target itself holds. A failure that a retry will not
        cure puts the subscription into the state failed, with the reason; another is noted as its last error.

        Returns:
            What the delivery did; None if there was nothing to do.

        Raises:
            TransientError: If a retry may help.
        """
        followed = self._followed(subscription_id)
        if followed is None or followed.subscription.state not in DELIVERING:
            return None
        try:
            self._check_allowed(followed.subscription)
            with self._connected(followed.subscription) as synchronizer:
                return self._bring_up(followed, synchronizer)
        except TerminalError as error:
            with fenced_write(self._store, self._clock.now()) as tx:
                tx.subscriptions.set_state(subscription_id, SubscriptionState.FAILED, str(error), self._clock.now())
            raise
        except TransientError as error:
            # Not with a lease that was lost, for instance: then it is another worker's to tell.
            with suppress(CordilleraError), fenced_write(self._store, self._clock.now()) as tx:
                tx.subscriptions.note_error(subscription_id, str(error), self._clock.now())
            raise

    def verify(self, subscription_id: UUID) -> Verification:
        """Compare a target with the lake, as of the target's cursor, by keyed checksum.

        Raises:
            TargetDriftError: If the target's table is gone or holds no cursor.
        """
        followed = self._followed(subscription_id)
        if followed is None:
            raise SubscriptionNotFoundError(
                f"There is no subscription {subscription_id}.", hint="See: cordillera subscription list."
            )
        subscription = followed.subscription
        with self._connected(subscription) as synchronizer:
            cursor = synchronizer.read_cursor(subscription_id)
            if cursor is None:
                raise TargetDriftError(
                    f"The target {subscription.target} has had no delivery for {subscription.dataset}.",
                    hint="Start a worker, and look at the subscription's last error.",
                )
            followed = followed.under_schema(cursor.schema_id)
            table = self._table(followed)
            result = compare(
                self._engine,
                lambda: self._all_rows(followed, table, cursor.sequence_number),
                lambda: synchronizer.read_rows(table),
                table,
            )
        return Verification(subscription_id, cursor.sequence_number, **result)

    def withdraw(self, subscription_id: UUID, *, keep_rows: bool) -> None:
        """Make a target forget a revoked subscription."""
        followed = self._followed(subscription_id)
        if followed is None:
            return
        with self._connected(followed.subscription) as synchronizer:
            synchronizer.drop(subscription_id, self._table(followed), keep_rows=keep_rows)

    # --- planning ------------------------------------------------------------------------------------------------

    def _bring_up(self, followed: _Followed, synchronizer: Synchronizer) -> DeliveryResult | None:
        subscription = followed.subscription
        if not followed.has_row_ids:
            return None
        cursor = synchronizer.read_cursor(subscription.id)
        if cursor == followed.latest:
            self._advance(followed, 0)
            return None
        delivery = self._plan(followed, cursor)
        try:
            result = synchronizer.apply(delivery)
        except IncompatibleSchemaError:
            if delivery.replace:
                raise
            # The target cannot change its table in place; what it would refuse of the old rows, it takes anew.
            result = synchronizer.apply(self._everything(followed, cursor))
        ROWS_DELIVERED.labels(subscription.target).inc(result.rows_upserted + result.rows_deleted)
        self._advance(followed, result.rows_upserted + result.rows_deleted)
        return result

    def _plan(self, followed: _Followed, cursor: Cursor | None) -> Delivery:
        """Return the changes behind the target's cursor; everything, where that cannot be told."""
        if cursor is None or not followed.can_follow_from(cursor):
            return self._everything(followed, cursor)
        subscription, table = followed.subscription, self._table(followed)
        names = [column.name for column in table.columns]
        changes = self._tables.changes(
            followed.metadata,
            cursor.sequence_number,
            followed.version.sequence_number,
            names,
            subscription.row_filter,
        )
        if changes is None:
            return self._everything(followed, cursor)
        return Delivery(
            subscription.id,
            table,
            cursor,
            followed.latest,
            replace=False,
            upserts=_typed(changes.upserts, table),
            deletes=changes.deletes,
        )

    def _everything(self, followed: _Followed, cursor: Cursor | None) -> Delivery:
        """Return a delivery that puts every row in the place of whatever the target holds."""
        table = self._table(followed)
        no_keys = table.arrow_schema().empty_table().select(list(table.key))
        return Delivery(
            followed.subscription.id,
            table,
            cursor,
            followed.latest,
            replace=True,
            upserts=_typed(lambda: self._all_rows(followed, table, followed.version.sequence_number), table),
            deletes=no_keys.to_reader,
        )

    def _table(self, followed: _Followed) -> TargetTable:
        """Return how the target's table has to look. Rows of a dataset without a key are known by their row id."""
        schema, version, subscription = followed.metadata.schema, followed.version, followed.subscription
        wanted = {*subscription.columns, *version.key} if subscription.columns else None
        columns = [
            TargetColumn(field.field_id, field.name, to_arrow_field(field).type, not field.required, field.doc)
            for field in schema.fields
            if wanted is None or field.name in wanted
        ]
        if version.key:
            return TargetTable(subscription.target_table, tuple(columns), version.key)
        if version.format_version < 3:
            raise NotAllowedError(
                f"Rows of {subscription.dataset} cannot be followed: it has no key and, in format version 2, no ids.",
                hint="Give the dataset a key, or create it with format version 3.",
            )
        row_id = TargetColumn(ROW_ID_FIELD_ID, ROW_ID, pa.int64(), nullable=False)
        return TargetTable(subscription.target_table, (*columns, row_id), (ROW_ID,))

    def _all_rows(self, followed: _Followed, table: TargetTable, sequence: int) -> pa.RecordBatchReader:
        """Stream every row as of a snapshot, under today's schema."""
        names = [column.name for column in table.columns]
        changes = self._tables.changes(followed.metadata, None, sequence, names, followed.subscription.row_filter)
        if changes is None:
            raise TargetDriftError(
                f"Snapshot {sequence} of {followed.subscription.dataset}, which the target holds, has expired.",
                hint="Resume the subscription; the next delivery brings everything anew.",
            )
        return changes.upserts()

    # --- helpers -------------------------------------------------------------------------------------------------

    def _followed(self, subscription_id: UUID) -> _Followed | None:
        with self._store.read() as tx:
            subscription = tx.subscriptions.get(subscription_id)
            version = tx.dataset_versions.get(subscription.dataset_version_id) if subscription else None
        if subscription is None or version is None:
            return None
        return _Followed(subscription, version, self._tables.load(version))

    def _check_allowed(self, subscription: Subscription) -> None:
        """Make sure that whoever asked for a subscription may still read the dataset and write to the target."""
        with acting(subscription.on_behalf_of or None), self._store.read() as tx:
            dataset = tx.datasets.get_by_id(subscription.dataset_id)
            if dataset is not None:
                self._lookup.require(tx, dataset, Privilege.READ)
            self._lookup.target(tx, subscription.target, Privilege.WRITE)

    def _advance(self, followed: _Followed, rows: int) -> None:
        with fenced_write(self._store, self._clock.now()) as tx:
            tx.subscriptions.advance(
                followed.subscription.id,
                sequence_number=followed.latest.sequence_number,
                schema_id=followed.latest.schema_id,
                rows=rows,
                now=self._clock.now(),
            )

    @contextmanager
    def _connected(self, subscription: Subscription) -> Iterator[Synchronizer]:
        with self._store.read() as tx:
            target = tx.targets.get(subscription.target)
        if target is None:
            raise TargetNotFoundError(f"The target {subscription.target} of a subscription is gone.")
        synchronizer = self._synchronizers(target.kind, target.config)
        try:
            yield synchronizer
        finally:
            synchronizer.close()


def _typed(rows: Callable[[], pa.RecordBatchReader], table: TargetTable) -> Callable[[], pa.RecordBatchReader]:
    """Return the reader with batches in the table's schema."""
    schema = table.arrow_schema()

    def opened() -> pa.RecordBatchReader:
        reader = rows()
        return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))

    return opened
