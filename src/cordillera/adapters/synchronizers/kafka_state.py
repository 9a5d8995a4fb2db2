"""What a Kafka cluster remembers of subscriptions, in compacted topics of the lake's own.

``_cordillera_topics`` says which subscription keeps which topic. Of two that claim one, the first has it: a topic has
an order. ``_cordillera.orders`` holds what is known of the topic ``orders``: under ``cursor`` how far it has followed,
in the transaction of the messages, and under ``layout-1``, ``layout-2`` … the columns that messages were written under.
One writer at a time writes to it, so whoever has become that writer reads what the one before committed, and nothing is
pending.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from cordillera.adapters.synchronizers.columns import columns_from_json, columns_to_json, type_to_json
from cordillera.adapters.synchronizers.deliveries import StoredState
from cordillera.adapters.synchronizers.kafka_cluster import Cluster, Writer
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import Cursor, TargetColumn

CLAIMS = "_cordillera_topics"
PREFIX = "_cordillera."
_COMPACTED = {"cleanup.policy": "compact", "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}
_CURSOR, _LAYOUT = "cursor", "layout-"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a topic.

    Attributes:
        subscription_id: Whose it is, or was.
        stored: As every target remembers a table.
        layout: The number of the columns that the newest messages were written under.
        partitions: How many partitions it had when it was made.
        layouts: All columns that messages were written under, by number.
    """

    subscription_id: UUID
    stored: StoredState
    layout: int
    partitions: int
    layouts: Mapping[int, tuple[TargetColumn, ...]] = field(default_factory=dict)

    def layout_of(self, columns: Sequence[TargetColumn]) -> int:
        """Return the number of some columns: the newest one, if they are those; else one that none has had."""
        newest = self.layouts.get(self.layout, ())
        return self.layout if _shape(newest) == _shape(columns) else max(self.layouts, default=0) + 1


class KafkaState:
    """Reads and writes what a cluster remembers.

    Args:
        cluster: The cluster.
        replication: How many brokers hold its topics; -1 for the cluster's default.
    """

    def __init__(self, cluster: Cluster, replication: int) -> None:
        self._cluster, self._replication = cluster, replication

    # --- whose a topic is -------------------------------------------------------------------------------------------

    def topic_of(self, subscription_id: UUID) -> str | None:
        """Return the topic that a subscription keeps; None if it keeps none."""
        return self._claims().get(subscription_id)

    def claim(self, subscription_id: UUID, topic: str) -> bool:
        """Make a topic a subscription's; return whether it is."""
        if self.owner(topic) not in (None, subscription_id):
            return False
        if self.topic_of(subscription_id) is None:
            self._cluster.create(CLAIMS, 1, self._replication, _COMPACTED)
            self._cluster.append(CLAIMS, str(subscription_id).encode(), topic.encode())
        if self.owner(topic) == subscription_id:
            return True
        self.release(subscription_id)
        return False

    def release(self, subscription_id: UUID) -> None:
        """Forget which topic a subscription keeps."""
        self._cluster.append(CLAIMS, str(subscription_id).encode(), None)

    def owner(self, topic: str) -> UUID | None:
        """Return the subscription that keeps a topic: the first that claimed it."""
        return next((whose for whose, name in self._claims().items() if name == topic), None)

    def _claims(self) -> dict[UUID, str]:
        """Return the topics of subscriptions, those first that were claimed first."""
        return {UUID(key): value for key, value in self._latest(CLAIMS).items()}

    # --- what is known of it ----------------------------------------------------------------------------------------

    def prepare(self, topic: str) -> None:
        """Make room for what is to be known of a topic."""
        self._cluster.create(PREFIX + topic, 1, self._replication, _COMPACTED)

    def read(self, topic: str) -> Kept | None:
        """Return what is known of a topic; None before its first delivery.

        Raises:
            TargetDriftError: If somebody else wrote there.
        """
        found = self._latest(PREFIX + topic)
        if _CURSOR not in found:
            return None
        try:
            at = json.loads(found[_CURSOR])
            layouts = {
                int(key.removeprefix(_LAYOUT)): columns_from_json(json.loads(value))
                for key, value in found.items()
                if key.startswith(_LAYOUT)
            }
            cursor = Cursor(at["sequence_number"], at["schema_id"])
            stored = StoredState(topic, cursor, layouts[at["layout"]], tuple(at["key"]))
            return Kept(UUID(at["subscription_id"]), stored, at["layout"], at["partitions"], layouts)
        except (ValueError, KeyError, TypeError) as error:
            raise TargetDriftError(
                f"The topic {PREFIX + topic!r} holds what Cordillera did not write: {error}.",
                hint="Remove what is wrong there, or both topics; the next delivery brings everything anew.",
            ) from None

    def write(self, writer: Writer, kept: Kept) -> None:
        """Write what is known, in the writer's transaction."""
        topic, stored = PREFIX + kept.stored.table_name, kept.stored
        writer.put(topic, f"{_LAYOUT}{kept.layout}".encode(), _dumped(columns_to_json(stored.columns)))
        at = {
            "subscription_id": str(kept.subscription_id),
            "sequence_number": stored.cursor.sequence_number,
            "schema_id": stored.cursor.schema_id,
            "key": list(stored.key),
            "layout": kept.layout,
            "partitions": kept.partitions,
        }
        writer.put(topic, _CURSOR.encode(), _dumped(at))

    def forget(self, topic: str) -> None:
        """Remove what is known of a topic."""
        self._cluster.delete(PREFIX + topic)

    def _latest(self, topic: str) -> dict[str, str]:
        """Return the last value of each key of a topic of the lake's; a key that came back stands behind the others."""
        found: dict[str, str] = {}
        if not self._cluster.partitions(topic):
            return found
        self._cluster.await_commits(topic, 1)
        for batch in self._cluster.messages(topic, 1):
            for key, value in zip(batch.column("key").to_pylist(), batch.column("value").to_pylist(), strict=True):
                name = (key or b"").decode(errors="replace")
                if value is None:
                    found.pop(name, None)
                else:
                    found[name] = value.decode(errors="replace")
        return found


def _shape(columns: Sequence[TargetColumn]) -> list[tuple[int, str, Any]]:
    """Return what of columns can be seen in messages."""
    return [(column.field_id, column.name, type_to_json(column.type)) for column in columns]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
