"""What subscriptions follow: the dataset version, how the target's table has to look, and the rows it should hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import pyarrow as pa
from pyiceberg.schema import Schema

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.tables import TableService
from cordillera.context import acting
from cordillera.errors import NotAllowedError, SnapshotNotFoundError, TargetNotFoundError
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.subscriptions import ANEW, Standing
from cordillera.ports.pointing import AnyTarget
from cordillera.ports.synchronizer import Cursor, Delivery, Origin, RowReader, TargetColumn, TargetTable
from cordillera.spec.access import Privilege
from cordillera.spec.arrow_types import to_arrow_field
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.partition_layout import PartitionLayout, Placed
from cordillera.spec.refs import ancestors
from cordillera.spec.residency import names_had
from cordillera.spec.row_access import RowAccess, RowView
from cordillera.spec.skip import AHEAD, Skip
from cordillera.spec.snapshot_summary import moves_rows
from cordillera.spec.subscription import Subscription, Target
from cordillera.spec.table_metadata import TableMetadata
from cordillera.spec.wish_change import comes_anew
from cordillera.spec.wish_names import filtered_by, wished_under
from cordillera.subscriptions.load import TargetLoad
from cordillera.subscriptions.residency import ResidencyRules
from cordillera.subscriptions.service import SynchronizerFactory
from cordillera.table.data_writer import ROW_ID, ROW_ID_FIELD_ID

_CHECKED_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Followed:
    """A subscription with the state of what it follows.

    Attributes:
        dataset: The dataset, deleted or not.
        target: Where it is delivered; None if that is gone.
        held_rows: What was shown of the rows that the target holds, when it got them.
        skips: What deliveries are to leave out.
        lake: The lake's name.
        rows: What is shown of the rows to whoever asked for it; None for all.
        goes_on: Whether the target is to be brought further afterwards.
    """

    subscription: Subscription
    dataset: Dataset
    version: DatasetVersion
    metadata: TableMetadata
    target: Target | None
    held_rows: str
    skips: tuple[Skip, ...]
    lake: str = ""
    rows: RowAccess | None = None
    goes_on: bool = False

    @property
    def origin(self) -> Origin:
        """Where its rows are from."""
        return Origin(self.lake, self.subscription.dataset, self.version.number)

    @property
    def latest(self) -> Cursor:
        """Where the target is to be brought."""
        return Cursor(self.version.sequence_number, self.version.schema_id)

    @property
    def fingerprint(self) -> str:
        """What tells whether the same is shown of the rows; empty if it is all of them."""
        view = self.view()
        return "" if view is None else view.fingerprint

    @property
    def has_row_ids(self) -> bool:
        """Whether rows can be told apart. Without a key they have no ids yet between an upgrade and the next commit."""
        snapshot = self.metadata.current_snapshot
        upgraded = self.version.format_version >= 3 and snapshot is not None and snapshot.first_row_id is None
        return bool(self.version.key) or not upgraded

    def now(self, standing: Standing) -> Followed:
        """Return the same with the subscription, the dataset and the target as they are by now."""
        return replace(self, subscription=standing.subscription, dataset=standing.dataset, target=standing.target)

    def upto(self, sequence_number: int) -> Followed:
        """Return the same with a snapshot to be brought to first, under the current schema."""
        if sequence_number == self.version.sequence_number:
            return self
        return replace(self, version=replace(self.version, sequence_number=sequence_number), goes_on=True)

    def sizes(self) -> dict[int, int]:
        """Return how much the commits wrote that led to the current snapshot, in bytes, by sequence number.

        Those whose snapshots have expired are not among them; compactions count for nothing.
        """
        return {
            one.sequence_number: 0 if moves_rows(one) else int(one.summary.get("added-files-size", 0))
            for one in ancestors(self.metadata, self.metadata.current_snapshot_id)
        }

    def under_schema(self, schema_id: int) -> Followed:
        """Return the same with an earlier schema in the place of the current one.

        Raises:
            SnapshotNotFoundError: If the table does not have that schema any more.
        """
        if self._schema(schema_id) is None:
            raise SnapshotNotFoundError(
                f"Schema {schema_id} of {self.subscription.dataset}, under which {self.subscription.target} was "
                "delivered to, has been removed.",
                hint="Resume the subscription; the next delivery brings everything anew.",
            )
        return replace(self, metadata=self.metadata.with_changes(current_schema_id=schema_id))

    def _schema(self, schema_id: int) -> Schema | None:
        return next((one for one in self.metadata.schemas if one.schema_id == schema_id), None)

    def wished(self) -> Subscription:
        """Return the subscription with the columns that it names called as they are now."""
        metadata = self.metadata
        made_since = self.held_rows == ANEW
        return wished_under(self.subscription, metadata.schema, metadata.schemas, made_since=made_since)

    def is_wished(self, found: Subscription) -> bool:
        """Tell whether what is followed is still what a subscription, as it is stored by now, wishes for."""
        return not (comes_anew(found, self.subscription) and comes_anew(found, self.wished()))

    def is_behind(self, cursor: Cursor) -> bool:
        """Tell whether a target has come further, as far as numbers tell."""
        latest = self.latest
        return latest.sequence_number < cursor.sequence_number or latest.schema_id < cursor.schema_id

    def can_follow_from(self, cursor: Cursor) -> bool:
        """Tell whether rows delivered under the cursor's schema are still right under today's.

        They are not where a column came with a default for old rows, the inside of a nested column changed, or a name
        that is wished for means another column of old rows; nor, as far as is known, where the schema has been removed.
        """
        schema = self._schema(cursor.schema_id)
        if schema is None or cursor.sequence_number > self.version.sequence_number:
            return False
        delivered = {field.field_id: field for field in schema.fields}
        for field in self.metadata.schema.fields:
            before = delivered.get(field.field_id)
            if before is None and field.initial_default is not None:
                return False
            if before is not None and not before.field_type.is_primitive and before.field_type != field.field_type:
                return False
        return self._columns_there(schema) and self.filters_as(cursor)

    def _columns_there(self, schema: Schema) -> bool:
        """Tell whether a target that was delivered to under a schema has all of its columns that are wished for now."""
        if schema.schema_id == self.metadata.current_schema_id or not self.subscription.columns:
            return True
        had = {column.field_id for column in self.under_schema(schema.schema_id).columns()}
        return all(one.field_id in had or schema.find_column_name(one.field_id) is None for one in self.columns())

    def filters_as(self, cursor: Cursor) -> bool:
        """Tell whether the condition on rows is about the columns that it was about under the cursor's schema."""
        if cursor.schema_id == self.metadata.current_schema_id or self._schema(cursor.schema_id) is None:
            return True
        then = self.under_schema(cursor.schema_id)
        return filtered_by(then.wished(), then.metadata.schema) == filtered_by(self.wished(), self.metadata.schema)

    def view(self) -> RowView | None:
        """Return what is shown of the rows; None for all.

        Raises:
            AccessDeniedError: If nothing is.
            NotAllowedError: If a column of the key is masked: no row could be told from another.
        """
        if self.rows is None:
            return None
        view = self.rows.of(self.metadata.schemas, self.metadata.schema)
        view.check_clear(self.subscription.dataset, self.version.key)
        return view

    def columns(self) -> tuple[TargetColumn, ...]:
        """Return the columns that are delivered.

        Raises:
            AccessDeniedError, NotAllowedError: As ``view`` does.
        """
        view, columns = self.view(), self.wished().columns
        schema = self.metadata.schema if view is None else view.schema
        wanted = {*columns, *self.version.key} if columns else None
        return tuple(
            TargetColumn(field.field_id, field.name, to_arrow_field(field).type, not field.required, field.doc)
            for field in schema.fields
            if wanted is None or field.name in wanted
        )

    def table(self) -> TargetTable:
        """Return how the target's table has to look. Rows of a dataset without a key are known by their row id.

        Raises:
            AccessDeniedError, NotAllowedError: As ``view`` does.
        """
        version, subscription, columns = self.version, self.subscription, self.columns()
        layout = self._layout(columns)
        if version.key:
            return TargetTable(subscription.target_table, columns, version.key, layout=layout)
        if version.format_version < 3:
            raise NotAllowedError(
                f"Rows of {subscription.dataset} cannot be followed: it has no key and, in format version 2, no ids.",
                hint="Give the dataset a key, or create it with format version 3.",
            )
        row_id = TargetColumn(ROW_ID_FIELD_ID, ROW_ID, pa.int64(), nullable=False)
        return TargetTable(subscription.target_table, (*columns, row_id), (ROW_ID,), layout=layout)

    def _layout(self, columns: Sequence[TargetColumn]) -> PartitionLayout | None:
        view = self.view()
        shown = {column.field_id for column in columns if view is None or column.name in view.clear}
        return PartitionLayout.of(self.metadata.partition_spec, self.metadata.schema, shown)


class Following:
    """Finds what subscriptions follow, reads it, and connects to their targets.

    Args:
        store: Keeps subscriptions.
        lookup: Knows who may read what, by now.
        tables: Reads datasets.
        synchronizers: Builds synchronizers.
        load: Knows how fast targets are delivered to.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        tables: TableService,
        synchronizers: SynchronizerFactory,
        load: TargetLoad,
    ) -> None:
        self._store, self._lookup, self._tables, self._synchronizers = store, lookup, tables, synchronizers
        self._load = load
        self._residency = ResidencyRules(store, tables.io.clock)

    def followed(self, tx: Transaction, subscription_id: UUID) -> Followed | None:
        """Return what a subscription follows, as it is now; None if it, or the dataset version, is gone."""
        found = tx.subscriptions.standing(subscription_id)
        if found is None:
            return None
        skips = tuple(tx.subscriptions.skips(subscription_id, *AHEAD)) if found.leaves_out else ()
        metadata = self._tables.load(found.version)
        return Followed(
            found.subscription, found.dataset, found.version, metadata, found.target, found.shown, skips, found.lake
        )

    def as_shown(self, tx: Transaction, followed: Followed) -> Followed:
        """Return the same with what whoever asked for the subscription is shown of the rows, by now.

        Raises:
            AccessDeniedError: If he may not read any.
        """
        with acting(followed.subscription.on_behalf_of or None):
            return replace(followed, rows=self._lookup.rows(tx, followed.dataset, followed.version))

    def admitted(self, tx: Transaction, followed: Followed) -> Followed:
        """Return the same as ``as_shown``, having made sure that whoever asked for the subscription may still write to
        the target, and rows still be kept there.

        Args:
            tx: Tells what holds now: ``followed`` is as it was read in this transaction.
            followed: What is followed.

        Raises:
            AccessDeniedError: If he may not, or may not read any rows.
            NotAllowedError: If the dataset's policy tag ``residency`` does not allow for the target.
        """
        subscription = followed.subscription
        shown = self.as_shown(tx, followed)
        with acting(subscription.on_behalf_of or None):
            self._lookup.known_target(tx, subscription.target, followed.target, Privilege.WRITE)
        shown.view()  # refuses who is shown nothing
        self._residency.check(tx, followed.dataset, subscription.target, lambda: _names_of_columns(shown))
        return shown

    def check_files(self, followed: Followed) -> None:
        """Make sure that whoever asked for a subscription may have the dataset's files used from outside.

        Raises:
            AccessDeniedError: If he may not.
        """
        with acting(followed.subscription.on_behalf_of or None), self._store.read() as tx:
            dataset = tx.datasets.get_by_id(followed.subscription.dataset_id)
            if dataset is not None:
                self._lookup.require(tx, dataset, Privilege.EXTERNAL_USE, version=followed.version)

    def all_rows(
        self, followed: Followed, table: TargetTable, sequence: int, swap: frozenset[str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream every row as of a snapshot, under the schema of ``followed``, or every one of some partitions.

        Where the table has a layout, rows of one folder come together, but for those of an earlier partitioning.
        """
        names = [column.name for column in table.columns]
        wished = followed.wished()
        changes = self._tables.changes(
            wished.dataset, followed.metadata, None, sequence, names, wished.row_filter, followed.view()
        )
        if changes is None:
            raise SnapshotNotFoundError(
                f"Snapshot {sequence} of {followed.subscription.dataset}, which the target holds, has expired.",
                hint="Resume the subscription; the next delivery brings everything anew.",
            )
        return (changes if table.layout is None else changes.by_place(_places(table.layout, swap))).upserts()

    @contextmanager
    def connected(self, followed: Followed) -> Iterator[AnyTarget]:
        """Connect to a subscription's target for the length of the block.

        Raises:
            TargetNotFoundError: If it is gone.
        """
        target = _target(followed)
        driver = self._synchronizers(target.kind, target.config)
        try:
            yield driver
        finally:
            driver.close()

    def paced(self, delivery: Delivery, followed: Followed) -> Delivery:
        """Return a delivery that is no faster than the settings of a subscription's target allow."""
        return self._load.paced(delivery, _target(followed))


def _names_of_columns(followed: Followed) -> Mapping[str, frozenset[str]]:
    metadata, names = followed.metadata, [column.name for column in followed.columns()]
    return names_had(names, metadata.schema, metadata.schemas)


def _target(followed: Followed) -> Target:
    if followed.target is None:
        raise TargetNotFoundError(f"The target {followed.subscription.target} of a subscription is gone.")
    return followed.target


def _places(layout: PartitionLayout, swap: frozenset[str] | None) -> Callable[[Placed], str | None]:
    """Return what tells the folder of a file, and None of one that is not asked for."""

    def place(file: Placed) -> str | None:
        folder = layout.folder_of(file)
        return folder or "" if swap is None else folder if folder in swap else None

    return place


def typed(rows: RowReader, table: TargetTable) -> RowReader:
    """Return the reader with batches in the table's schema."""
    schema = table.arrow_schema()

    def opened() -> pa.RecordBatchReader:
        reader = rows()
        return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))

    return opened


def watched(rows: RowReader, check: Callable[[], None]) -> RowReader:
    """Return the reader with a check before rows that come late, and when all have been read."""

    def opened() -> pa.RecordBatchReader:
        reader = rows()

        def batches() -> Iterator[pa.RecordBatch]:
            checked_at = time.monotonic()
            for batch in reader:
                if time.monotonic() - checked_at > _CHECKED_EVERY_SECONDS:
                    check()
                    checked_at = time.monotonic()
                yield batch
            check()

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    return opened
