"""What a target must do to be kept equal with a dataset: the contract of every synchronizer.

A delivery carries a target's table from one cursor to the next. The synchronizer applies it exactly once: the cursor it
stores in the target moves in the same transaction as the rows, and a delivery whose ``from_cursor`` is not the
stored one is refused, so a repeated or outdated delivery changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable
from uuid import UUID

import pyarrow as pa

from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.partition_layout import PartitionLayout
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE, COMMITTED_AT
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a target has followed: the snapshot's sequence number and the schema it was delivered under."""

    sequence_number: int
    schema_id: int


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """One column as the target should have it. ``field_id`` identifies it across renames."""

    field_id: int
    name: str
    type: pa.DataType
    nullable: bool = True
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The table a subscription keeps.

    Attributes:
        name: In the target.
        columns: In order.
        key: The names of key columns.
        current: Of a history, only the rows that hold: what is read or summed, not what is delivered.
        layout: How the dataset is partitioned, as far as the columns tell; None if not at all. Targets whose
            ``Capabilities.swaps`` is set lay their rows out by it.
    """

    name: str
    columns: tuple[TargetColumn, ...]
    key: tuple[str, ...]
    current: bool = False
    layout: PartitionLayout | None = None

    def arrow_schema(self) -> pa.Schema:
        """Return the schema that delivered rows have."""
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])

    def ending_columns(self) -> tuple[TargetColumn, ...]:
        """Return the columns of a history's endings: the dataset's key, and when the row of that key ended."""
        by_name = {column.name: column for column in self.columns}
        return (*(by_name[name] for name in self.key[:-1]), replace(by_name[VALID_TO], nullable=False))

    def compared(self) -> TargetTable:
        """Return the columns and the key that are compared with the lake: of current rows, those of the dataset."""
        if not self.current:
            return self
        told = {column.field_id for column in HISTORY_COLUMNS}
        return replace(self, columns=tuple(c for c in self.columns if c.field_id not in told), key=self.key[:-1])


# Ids that Iceberg reserves for columns of changes; no column of a dataset has them.
CHANGE_COLUMNS = (
    TargetColumn(2147483543, CHANGE_TYPE, pa.string(), nullable=False, doc="insert, delete, update_before or _after"),
    TargetColumn(2147483542, COMMIT_SEQUENCE, pa.int64(), nullable=False, doc="the snapshot that made it"),
    TargetColumn(2147483541, COMMITTED_AT, pa.timestamp("us", "UTC"), doc="when that was committed"),
)
"""What the table of a log has behind the columns of its dataset. Where a row was updated, its image before comes first,
and the one after it at once."""
HISTORY_COLUMNS = (
    TargetColumn(2147483542, COMMIT_SEQUENCE, pa.int64(), nullable=False, doc="the snapshot that made the row so"),
    TargetColumn(2147483538, VALID_FROM, pa.timestamp("us", "UTC"), nullable=False, doc="when that was committed"),
    TargetColumn(2147483537, VALID_TO, pa.timestamp("us", "UTC"), doc="until when it held, exclusive; NULL if it does"),
    TargetColumn(2147483536, IS_CURRENT, pa.bool_(), nullable=False, doc="whether it holds"),
)
"""What the table of a history has behind the columns of its dataset. Its key is the dataset's and the commit."""

RowReader = Callable[[], pa.RecordBatchReader]
"""Opens a fresh stream of record batches; a synchronizer may open it once or, after a failure, again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where delivered rows are from, for targets that tell their readers: the lake, the dataset, the number of its
    version."""

    lake: str
    dataset: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What takes a target's table from ``from_cursor`` to ``to_cursor``.

    Attributes:
        subscription_id: Whose table it is; the stored cursor belongs to the subscription.
        table: How the table has to look after the delivery. Schema changes since the last delivery are applied first.
        from_cursor: The cursor the target must hold; None for a first, full delivery.
        to_cursor: The cursor to store with the rows.
        replace: The rows are the whole content; whatever the table held goes away.
        repair: The target holds ``to_cursor`` already, but rows that somebody else has changed: they are put right, and
            the cursor stays. ``from_cursor`` is the same then, and one that is not the stored one is refused as ever.
        upserts: Rows to insert or to put in the place of the row of the same key; schema ``table.arrow_schema()``.
        deletes: Keys of rows to remove; schema: the key columns of the table, in key order. No key is in both streams.
        origin: Where the rows are from, if that is known.
        endings: Of a history: keys whose current rows end, and when, in ``table.ending_columns()``; they end before
            ``upserts`` come. None if the table is none. No key is twice in it.
        swap: The partitions, by the folders of ``table.layout``, whose whole content the rows are: whatever the table
            held of them goes away, and everything else stays. None if the delivery is of another kind.
        why: What decided how it is made, if that is known; of no matter to targets.
    """

    subscription_id: UUID
    table: TargetTable
    from_cursor: Cursor | None
    to_cursor: Cursor
    replace: bool
    upserts: RowReader
    deletes: RowReader
    repair: bool = False
    origin: Origin | None = None
    endings: RowReader | None = None
    swap: frozenset[str] | None = None
    why: DeliveryReason | None = None

    @property
    def goes_back(self) -> bool:
        """Whether it leads to an earlier schema of the same snapshot, which another engine has made current again."""
        begins, ends = self.from_cursor, self.to_cursor
        same = begins is not None and begins.sequence_number == ends.sequence_number
        return same and begins is not None and begins.schema_id > ends.schema_id

    def through(self, passed: Callable[[RowReader], RowReader]) -> Delivery:
        """Return the same with all of its rows passed through something, such as a count of them."""
        endings = None if self.endings is None else passed(self.endings)
        return replace(self, upserts=passed(self.upserts), deletes=passed(self.deletes), endings=endings)


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What a delivery did in the target.

    Attributes:
        rows_upserted: Rows it put in.
        rows_deleted: Rows it took out, besides those that others were put in the place of.
        already_applied: Whether the target held all of it already.
        rows_updated: Of the rows put in, those in the place of a row of the same key; None if the target cannot tell.
            A row of a history that ended counts as put in, in the place of itself.
            Results that differ in this or the next alone are equal.
        partitions: Of a delivery of partitions, how many it put anew or took out; None of others. One without any row
            before and after does not count.
    """

    rows_upserted: int
    rows_deleted: int
    already_applied: bool = False
    rows_updated: int | None = field(default=None, compare=False)
    partitions: int | None = field(default=None, compare=False)


DELIVERIES_AT_ONCE = 4
"""How many deliveries a target takes at the same time, where nothing says otherwise."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of target can do; callers plan by these, never by the kind's name."""

    transactional: bool
    """Whether a delivery appears whole or not at all, whatever dies."""
    schema_changes: frozenset[str] = field(default_factory=frozenset)
    """Of ``add``, ``rename``, ``widen``, ``drop``, ``optional``."""
    merges: bool = True
    """Whether it takes single rows; if not, every delivery brings the whole content, ``replace`` set."""
    swaps: bool = False
    """Whether it takes whole partitions, ``Delivery.swap``, where it does not merge: all of them appear at once."""
    deliveries_at_once: int = DELIVERIES_AT_ONCE
    """How many deliveries it takes well at the same time, unless the target's settings say otherwise."""
    folds: bool = False
    """Whether the table of a log reads as the rows that the log tells of, so that those are compared with the lake."""
    history: bool = False
    """Whether it keeps histories: ends current rows, ``Delivery.endings``, in the transaction that brings new ones."""


class Synchronizer(Protocol):
    """Keeps tables of one target equal with datasets.

    Every method raises ``TargetUnreachableError`` when the target cannot be reached (a retry may help) and
    ``InvalidConfigurationError`` when it refuses the credentials or the configuration cannot work.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of target can do."""

    def check(self) -> None:
        """Connect and make sure that tables could be written, changing nothing."""

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the target, or None before the first delivery."""

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing.

        If the target already holds ``to_cursor`` or a later cursor (sequence number and schema id both at least as
        great), nothing changes and ``already_applied`` is set; unless it holds ``from_cursor``, and the delivery
        ``goes_back``. An error that the row streams raise comes out as it is.

        Raises:
            TargetDriftError: If the target holds another cursor than ``from_cursor``, the table it should update is
                gone, or a table of that name exists that this subscription did not create.
            IncompatibleSchemaError: If the table cannot become what the delivery says with its rows in place, or is not
                laid out as a delivery of partitions supposes: everything has to come then.
        """

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table's rows as they are in the target, in the Arrow types of ``table``, in no order.

        Of a history whose ``table.current`` is set, only those that hold.

        Raises:
            TargetDriftError: If the table or a column is not there.
        """

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Forget a subscription: remove its cursor and, unless ``keep_rows``, its table. Repeating it does nothing."""

    def close(self) -> None:
        """Release connections."""


@runtime_checkable
class ChecksumTarget(Protocol):
    """A synchronizer whose target computes checksums itself, by the texts of ``cordillera.spec.row_checksum``.

    Others need not: their rows are read and summed here.
    """

    def checksums(self, table: TargetTable, buckets: int) -> pa.Table | None:
        """Return the rows and the sum of digests of each bucket that has rows.

        Args:
            table: The table as it was delivered. ``table.compared()`` has the columns that are summed, and the key,
                which decides which bucket a row belongs to.
            buckets: How many buckets; with one, it has the number 0.

        Returns:
            Columns ``bucket``, ``rows`` and ``total`` (integers, or decimals that are); None if it cannot here.

        Raises:
            TargetDriftError: If the table or a column is not there.
        """

    def read_buckets(self, table: TargetTable, buckets: int, chosen: Sequence[int]) -> pa.RecordBatchReader:
        """Stream the compared columns of the rows of some buckets, as ``read_rows`` does all."""


@runtime_checkable
class HistoryTarget(Protocol):
    """A synchronizer whose target looks itself for times of a history that cannot be. Others need not."""

    def count_unsound(self, table: TargetTable) -> int:
        """Return how many rows of a history ``cordillera.spec.row_history.count_unsound`` counts.

        Raises:
            TargetDriftError: If the table or a column is not there.
        """
