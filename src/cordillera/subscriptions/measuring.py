"""Measuring deliveries: how long they take, and how much they send."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa

from cordillera.context import current
from cordillera.metrics import PAID_BYTES, PAID_ROWS, PAID_SECONDS, ROWS_DELIVERED
from cordillera.ports.clock import Clock
from cordillera.ports.synchronizer import Delivery, DeliveryResult, RowReader
from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.subscription import Subscription, SubscriptionMode


class Measured:
    """A delivery under way.

    Args:
        begun_at: When it began.
    """

    def __init__(self, begun_at: datetime) -> None:
        self._begun_at, self._bytes = begun_at, 0

    def of(self, delivery: Delivery) -> Delivery:
        """Return a delivery whose rows are counted as they are sent."""
        return delivery.through(self._counted)

    def record(
        self,
        subscription: Subscription,
        result: DeliveryResult,
        clock: Clock,
        *,
        held: int | None,
        reached: int,
        whole: bool,
        why: DeliveryReason | None = None,
    ) -> DeliveryRecord:
        """Return the figures, now that a delivery is done that took a target from one snapshot to another."""
        context, now = current(), clock.now()
        return DeliveryRecord(
            number=0,  # it is given one when it is noted
            subscription_id=subscription.id,
            at=now,
            seconds=max(0.0, (now - self._begun_at).total_seconds()),
            from_sequence=held,
            to_sequence=reached,
            whole=whole,
            rows_upserted=result.rows_upserted,
            rows_deleted=result.rows_deleted,
            rows_updated=0 if whole or subscription.mode is SubscriptionMode.LOG else result.rows_updated,
            bytes=self._bytes,
            attempt=context.lease.fencing_token if context.lease else 1,  # each attempt raises it by one
            worker=context.principal,
            cost_owner=subscription.cost_owner or subscription.consumer,
            partitions=result.partitions,
            why=why,
        )

    def _counted(self, rows: RowReader) -> RowReader:
        def opened() -> pa.RecordBatchReader:
            reader = rows()
            return pa.RecordBatchReader.from_batches(reader.schema, self._count(reader))

        return opened

    def _count(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self._bytes += batch.nbytes
            yield batch


def count_cost(record: DeliveryRecord) -> None:
    """Count in the metrics what a delivery cost whoever pays for it."""
    PAID_ROWS.labels(record.cost_owner).inc(record.rows_upserted + record.rows_deleted)
    PAID_BYTES.labels(record.cost_owner).inc(record.bytes)
    PAID_SECONDS.labels(record.cost_owner).inc(record.seconds)


def count_rows(target: str, record: DeliveryRecord) -> None:
    """Count what a delivery did in the metrics: inserts and updates as one, as upserts, where they are not known."""
    counts = {"inserted": record.rows_inserted, "updated": record.rows_updated, "deleted": record.rows_deleted}
    if record.rows_updated is None:
        counts["upserted"] = record.rows_upserted
    for change, rows in counts.items():
        if rows:
            ROWS_DELIVERED.labels(target, change).inc(rows)
