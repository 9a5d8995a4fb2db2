"""What a delivery to a mirror brings: the rows that changed, the partitions that did, or everything."""

from __future__ import annotations

from cordillera.catalog.tables import TableService
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.partition_layout import plan_swap
from cordillera.subscriptions.following import Followed, Following, typed
from cordillera.table.difference import differing_files


class Planner:
    """Plans deliveries by what targets can do.

    A target that merges gets the rows that changed: never more rows than any other way. One that takes partitions gets
    those that changed files lie in. Everything comes where neither can be told, or where it would be no less.

    Args:
        following: Reads what is followed.
        tables: Tells what changed.
    """

    def __init__(self, following: Following, tables: TableService) -> None:
        self._following, self._tables = following, tables

    def plan(self, able: Capabilities, followed: Followed, cursor: Cursor | None) -> Delivery:
        """Return what takes a target from its cursor to where the dataset is."""
        if cursor is None:
            return self.everything(followed, cursor, DeliveryReason.FIRST)
        if not followed.can_follow_from(cursor):
            return self.everything(followed, cursor, DeliveryReason.NOT_FOLLOWED)
        if able.merges:
            return self._changes(followed, cursor) or self.everything(followed, cursor, DeliveryReason.EXPIRED)
        swap = self._swap(followed, cursor) if able.swaps else DeliveryReason.TAKES_EVERYTHING
        if isinstance(swap, DeliveryReason):
            return self.everything(followed, cursor, swap)
        return self._whole(followed, cursor, DeliveryReason.CHANGED_PARTITIONS, swap)

    def everything(self, followed: Followed, cursor: Cursor | None, why: DeliveryReason) -> Delivery:
        """Return a delivery that puts every row in the place of whatever the target holds."""
        return self._whole(followed, cursor, why, None)

    def _changes(self, followed: Followed, cursor: Cursor) -> Delivery | None:
        """Return the rows that changed behind the target's cursor; None where they cannot be told."""
        subscription, table = followed.wished(), followed.table()
        changes = self._tables.changes(
            subscription.dataset,
            followed.metadata,
            cursor.sequence_number,
            followed.version.sequence_number,
            [column.name for column in table.columns],
            subscription.row_filter,
            followed.view(),
        )
        if changes is None:
            return None
        return Delivery(
            subscription.id,
            table,
            cursor,
            followed.latest,
            replace=False,
            upserts=typed(changes.upserts, table),
            deletes=changes.deletes,
            origin=followed.origin,
            why=DeliveryReason.CHANGED_ROWS,
        )

    def _swap(self, followed: Followed, cursor: Cursor) -> frozenset[str] | DeliveryReason:
        """Return the partitions that changed behind the target's cursor, or why everything has to come."""
        layout, metadata, io = followed.table().layout, followed.metadata, self._tables.io
        sequences = cursor.sequence_number, followed.version.sequence_number
        before, after = (metadata.snapshot_by_sequence(one) if one else None for one in sequences)
        if layout is None:
            return DeliveryReason.NO_PARTITIONS
        if before is None and cursor.sequence_number:
            return DeliveryReason.EXPIRED
        differing = differing_files(io, metadata, before, after, by_row_id=not followed.version.key)
        changed = [live.file for live in (*differing.before, *differing.after)]
        return plan_swap(layout, changed, [live.file for live in io.files.live(after)])

    def _whole(
        self, followed: Followed, cursor: Cursor | None, why: DeliveryReason, swap: frozenset[str] | None
    ) -> Delivery:
        """Return a delivery of every row, or of every row of some partitions."""
        table, sequence = followed.table(), followed.version.sequence_number
        return Delivery(
            followed.subscription.id,
            table,
            cursor,
            followed.latest,
            replace=swap is None,
            upserts=typed(lambda: self._following.all_rows(followed, table, sequence, swap), table),
            deletes=table.arrow_schema().empty_table().select(list(table.key)).to_reader,
            repair=swap is None and cursor == followed.latest,
            origin=followed.origin,
            swap=swap,
            why=why,
        )
