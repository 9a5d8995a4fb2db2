"""Keeps topics of a Kafka cluster that tell of every change of datasets, each exactly once, as Debezium would.

A delivery is one transaction: its messages and the cursor (see ``kafka_state``) appear at once, for readers who read
what is committed. A worker that begins fences the one before under the same transactional id, which is the
subscription's: what that had not committed is undone, and it can commit nothing more. Only then is the cursor read.

In mode log every change is a message, with the row before and after. In mode mirror the topic tells how rows are
(``r``) and which are gone (``d``), the changes of a delivery taken together. Whatever the mode, folding a topic's
messages by key gives the rows; so they are read back, compared, and put right by further messages.

Kafka keeps the order of a key within one partition, so partitions must not be added, and columns of the key not be
renamed: such a change is refused, unless everything comes anew.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pyarrow as pa

from cordillera.adapters.synchronizers.columns import key_field_ids
from cordillera.adapters.synchronizers.deliveries import (
    REPAIR_HINT,
    StoredState,
    check_kept_table,
    check_table,
    delete_batches,
    evolution_to,
    is_due,
    read_columns,
    restores,
    upsert_batches,
)
from cordillera.adapters.synchronizers.kafka_cluster import Cluster, Writer
from cordillera.adapters.synchronizers.kafka_fold import Fold
from cordillera.adapters.synchronizers.kafka_messages import (
    Envelope,
    is_log,
    pieces,
    whole_updates,
    without_changes,
)
from cordillera.adapters.synchronizers.kafka_state import PREFIX, KafkaState, Kept
from cordillera.errors import IncompatibleSchemaError, InvalidNameError, TargetDriftError
from cordillera.ports.clock import Clock, SystemClock
from cordillera.ports.synchronizer import Capabilities, Cursor, Delivery, DeliveryResult, TargetTable

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_EVERYTHING = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How topics are made, and what they are told.

    Attributes:
        partitions: How many a topic has.
        replication: How many brokers hold it; -1 for the cluster's default.
        tombstones: Whether a message without a value follows each that tells of a row that is gone.
        settings: What else a topic is made with, as Kafka calls it.
    """

    partitions: int = 1
    replication: int = -1
    tombstones: bool = True
    settings: Mapping[str, str] = field(default_factory=lambda: _EVERYTHING)


class KafkaSynchronizer:
    """Keeps topics of one cluster.

    Args:
        cluster: The cluster.
        topics: How topics are made.
        clock: Time, which messages tell.
    """

    def __init__(self, cluster: Cluster, topics: TopicSettings | None = None, clock: Clock | None = None) -> None:
        self._cluster, self._topics, self._clock = cluster, topics or TopicSettings(), clock or SystemClock()
        self._state = KafkaState(cluster, self._topics.replication)
        self._turn = threading.Lock()  # threads that share this object would fence one another

    def __repr__(self) -> str:
        return f"<KafkaSynchronizer: {self._cluster.servers}>"

    @property
    def capabilities(self) -> Capabilities:
        """Transactional, with every schema change; a log folds into the rows it tells of."""
        return Capabilities(True, frozenset({"add", "rename", "widen", "drop", "optional"}), folds=True)

    def check(self) -> None:
        """Make a topic, write to it in a transaction, and remove it."""
        name = uuid4()
        topic = f"{PREFIX}check-{name}"
        self._cluster.create(topic, 1, self._topics.replication, {})
        try:
            with self._cluster.writer(f"cordillera-check-{name}") as writer:
                writer.put(topic, b"probe", b"{}")
                writer.commit()
        finally:
            self._cluster.delete(topic)

    def read_cursor(self, subscription_id: UUID) -> Cursor | None:
        """Return the cursor stored in the cluster, or None before the first delivery."""
        topic = self._state.topic_of(subscription_id)
        kept = self._kept(topic, subscription_id) if topic is not None else None
        return kept.stored.cursor if kept else None

    def apply(self, delivery: Delivery) -> DeliveryResult:
        """Apply a delivery exactly once, all of it or nothing; see the port.

        Raises:
            InvalidNameError: If Kafka has no topics of that name.
            IncompatibleSchemaError: If the key's columns have other names than the messages there, or columns types
                that the rows there cannot take; unless everything comes anew.
        """
        check_table(delivery.table)
        topic = _checked(delivery.table.name)
        with self._turn, self._cluster.writer(f"cordillera-{delivery.subscription_id}") as writer:
            claimed = self._state.topic_of(delivery.subscription_id)
            kept = self._kept(claimed, delivery.subscription_id) if claimed is not None else None
            if claimed is not None:
                check_kept_table(StoredState(claimed, Cursor(0, 0), (), ()), delivery.subscription_id, topic)
            stored = kept.stored if kept else None
            if not is_due(stored, delivery, topic):
                return DeliveryResult(0, 0, already_applied=True)
            partitions = self._opened(delivery, kept, claimed)
            table = without_changes(delivery.table)
            if stored is not None and not delivery.repair:
                _check_followed(stored, replace(delivery, table=table))
            layout = kept.layout_of(table.columns) if kept else 1
            now_ms = int(self._clock.now().timestamp() * 1000)
            envelope = Envelope(
                table, delivery.origin, layout, delivery.to_cursor.sequence_number, now_ms, self._topics.tombstones
            )
            result = _Telling(self._cluster, writer, envelope, partitions).tell(delivery)
            now = StoredState(topic, delivery.to_cursor, table.columns, key_field_ids(table))
            self._state.write(writer, Kept(delivery.subscription_id, now, layout, partitions))
            writer.commit()
            return result

    def read_rows(self, table: TargetTable, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows that the committed messages of the topic leave."""
        check_table(table)
        wanted = replace(table, columns=tuple(read_columns(table, columns)))
        topic = _checked(table.name)
        kept = self._state.read(topic)
        partitions = self._cluster.partitions(topic)
        if kept is None or not partitions:
            raise TargetDriftError(f"There is no topic {topic!r} at {self._cluster.servers} that the lake has written.")
        delivered = {column.field_id for column in kept.stored.columns}
        for column in wanted.columns:
            if column.field_id not in delivered:
                raise TargetDriftError(f"The topic {topic!r} has no column {column.name!r}.")
        schema = pa.schema([pa.field(column.name, column.type, column.nullable) for column in wanted.columns])
        self._cluster.await_commits(topic, partitions)
        return pa.RecordBatchReader.from_batches(schema, self._folded(wanted, kept, partitions, schema))

    def drop(self, subscription_id: UUID, table: TargetTable, *, keep_rows: bool) -> None:
        """Forget a subscription and, unless ``keep_rows``, remove its topic."""
        topic = self._state.topic_of(subscription_id)
        if topic is None:
            return
        check_kept_table(StoredState(topic, Cursor(0, 0), (), ()), subscription_id, table.name)
        with self._turn, self._cluster.writer(f"cordillera-{subscription_id}"):
            if not keep_rows:  # whoever was at it is fenced by now
                self._cluster.delete(topic)
                self._state.forget(topic)
            self._state.release(subscription_id)

    def close(self) -> None:
        """Do nothing: connections last as long as what they are opened for."""

    # --- topics -----------------------------------------------------------------------------------------------------

    def _kept(self, topic: str, subscription_id: UUID) -> Kept | None:
        """Return what is known of a subscription's topic; None if it is another's that had the name before."""
        kept = self._state.read(topic)
        return kept if kept is not None and kept.subscription_id == subscription_id else None

    def _opened(self, delivery: Delivery, kept: Kept | None, claimed: str | None) -> int:
        """Make sure that the topic is there and the subscription's, and return how many partitions it has.

        Raises:
            TargetDriftError: If it is another's, or gone, or has other partitions than it had.
        """
        topic = delivery.table.name
        there = self._cluster.partitions(topic)
        if kept is None:
            if claimed is None:
                self._claim(delivery.subscription_id, topic, there)
        elif not restores(kept.stored, delivery) and there != kept.partitions:
            what = "is gone" if not there else f"has {there} partitions, and had {kept.partitions}: the order is lost"
            raise TargetDriftError(f"The topic {topic!r} {what}.", hint=REPAIR_HINT)
        if not there:
            self._cluster.create(topic, self._topics.partitions, self._topics.replication, self._topics.settings)
        self._state.prepare(topic)
        return there or self._topics.partitions

    def _claim(self, subscription_id: UUID, topic: str, partitions: int) -> None:
        """Make a topic the subscription's: one that is not there, or nobody has written to."""
        free = not partitions or next(self._cluster.messages(topic, partitions), None) is None
        if not free or not self._state.claim(subscription_id, topic):
            raise TargetDriftError(
                f"There is a topic {topic!r} at {self._cluster.servers} that this subscription did not make; it was "
                "left untouched.",
                hint="Choose another name with --table, or remove that topic.",
            )

    def _folded(self, table: TargetTable, kept: Kept, partitions: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with Fold(self._cluster.messages(table.name, partitions)) as fold:
            fold.check(table.name, kept.layouts)
            for batch in fold.rows(table, kept.layouts):
                yield batch.cast(schema)


class _Telling:
    """One delivery, told in a writer's transaction.

    Args:
        cluster: Where the topic is.
        writer: Writes to it.
        envelope: What its messages have in common.
        partitions: How many the topic has.
    """

    def __init__(self, cluster: Cluster, writer: Writer, envelope: Envelope, partitions: int) -> None:
        self._cluster, self._writer, self._envelope, self._partitions = cluster, writer, envelope, partitions
        self._topic = envelope.table.name

    def tell(self, delivery: Delivery) -> DeliveryResult:
        """Write the delivery's messages."""
        if is_log(delivery.table):
            return self._changes(delivery)
        with self._fold(whole=delivery.replace) as fold:
            removed = fold.count() if delivery.replace else self._removals(delivery)
            told = sum(self._states(piece, fold) for piece in pieces(upsert_batches(delivery)))
            fold.refuse_duplicates(delivery.table)
            if delivery.replace:
                self._remove_unwanted(fold)
        return DeliveryResult(told, removed)

    def _changes(self, delivery: Delivery) -> DeliveryResult:
        """Tell of changes; where the log begins, of the rows that are there."""
        images = whole_updates(pieces(upsert_batches(delivery)))
        if delivery.from_cursor is not None:
            return DeliveryResult(sum(self._send(self._envelope.changes(piece)) for piece in images), 0)
        told = 0
        with self._fold(whole=True) as fold:  # a first delivery that came to nothing may have made the topic
            for piece in images:
                places = fold.differing(self._envelope.keys(piece), self._envelope.texts(piece), self._envelope.layout)
                told += self._send(self._envelope.changes(piece.take(places), first=True))
            self._remove_unwanted(fold)
        return DeliveryResult(told, 0)

    def _remove_unwanted(self, fold: Fold) -> None:
        for batch in fold.unwanted():
            self._send(self._envelope.removals(batch.column("key"), batch.column("after")))

    def _states(self, rows: pa.RecordBatch, fold: Fold) -> int:
        """Tell how rows are, of those that the topic does not tell so already."""
        keys, texts = self._envelope.keys(rows), self._envelope.texts(rows)
        places = fold.differing(keys, texts, self._envelope.layout)
        self._send(self._envelope.states(keys.take(places), texts.take(places)))
        return int(rows.num_rows)

    def _removals(self, delivery: Delivery) -> int:
        """Tell which rows are gone; of what they were, the key alone is known."""
        table = self._envelope.table
        keyed = replace(table, columns=tuple(column for column in table.columns if column.name in table.key))
        known, told = replace(self._envelope, table=keyed), 0
        for piece in pieces(delete_batches(delivery)):
            self._send(known.removals(known.keys(piece), known.texts(piece)))
            told += piece.num_rows
        return told

    @contextmanager
    def _fold(self, *, whole: bool) -> Iterator[Fold]:
        """Fold what the topic holds; nothing, if what is delivered need not be compared with that."""
        with Fold(self._cluster.messages(self._topic, self._partitions) if whole else iter(())) as fold:
            yield fold

    def _send(self, messages: pa.RecordBatch) -> int:
        if messages.num_rows:
            self._writer.send(self._topic, messages)
        return int(messages.num_rows)


def _checked(topic: str) -> str:
    """Return the name of a topic.

    Raises:
        InvalidNameError: If Kafka has none of that name, or it is one that the lake keeps its own notes in.
    """
    if not _TOPIC.fullmatch(topic) or topic in (".", "..") or topic.startswith("_"):
        raise InvalidNameError(
            f"{topic[:300]!r} cannot be a topic of Kafka.",
            hint="Give the subscription another --table: letters, digits and ._- alone, at most 200, no _ in front.",
        )
    return topic


def _check_followed(stored: StoredState, delivery: Delivery) -> None:
    """Make sure that the rows that are there stay what they are under the delivered columns, and their keys too.

    Raises:
        IncompatibleSchemaError: If they do not, and are not replaced.
    """
    evolution_to(stored, delivery)
    names = {column.field_id: column.name for column in stored.columns}
    before = [names.get(field_id) for field_id in stored.key]
    if not delivery.replace and before != list(delivery.table.key):
        raise IncompatibleSchemaError(
            f"The key of the topic {delivery.table.name!r} has other names by now: messages of the same row would have "
            "other keys.",
            hint="In mode mirror everything comes anew by itself; in mode log, subscribe to another topic.",
        )
