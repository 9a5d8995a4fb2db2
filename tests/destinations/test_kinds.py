"""A lake sends to other kinds of destinations as it does to webhooks."""

from __future__ import annotations

import json

import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition

from cordillera.adapters.synchronizers.kafka_cluster import Cluster
from cordillera.client import Lake
from cordillera.spec.destination import DestinationState
from tests.destinations.conftest import write


def messages(server: str, topic: str, count: int) -> list[tuple[bytes | None, dict[str, str]]]:
    consumer = Consumer({"bootstrap.servers": server, "group.id": "x", "fetch.wait.max.ms": 20})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[tuple[bytes | None, dict[str, str]]] = []
    while len(found) < count:
        one = consumer.poll(20)
        assert one is not None, "it does not come"
        assert one.error() is None
        found.append((one.key(), json.loads(one.value() or b"")))
    consumer.close()
    return found


def test_a_topic_is_told_of_each_dataset_in_order(lake: Lake, kafka_server: str) -> None:
    Cluster(kafka_server, {}).create("lake-events", 1, 1, {})
    destination, secret = lake.create_destination(
        "kafka", servers=kafka_server, security="plaintext", topic="lake-events", topics=["snapshot.committed"]
    )
    assert secret is None
    assert destination.test().error == ""
    write(lake, "sales.orders", 1, 2)
    lake.run_pending()
    lake.backend.rename_dataset("sales.orders", "sales.purchases")
    lake.dataset("sales.purchases").write(pa.table({"id": [3]}))
    lake.run_pending()
    (_, ping), *rest = messages(kafka_server, "lake-events", 4)
    assert ping["type"] == "cordillera.destination.ping"
    assert len({key for key, _ in rest}) == 1, "the key stays, whatever the dataset is called"
    assert [event["subject"] for _, event in rest] == ["sales.orders", "sales.orders", "sales.purchases"]
    told = [event["id"] for _, event in rest]
    assert told == sorted(told, key=int)
    status = destination.status()
    assert (status.state, status.waiting, status.destination.place) == (DestinationState.HEALTHY, 0, "lake-events")
