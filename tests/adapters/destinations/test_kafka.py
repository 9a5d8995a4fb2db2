"""Sending to topics of a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Taken

from cordillera.adapters.destinations.kafka import KafkaSender
from cordillera.adapters.synchronizers.kafka_cluster import Cluster
from cordillera.errors import InvalidInputError
from cordillera.spec.destination import Failure
from cordillera.spec.endpoint import EndpointRules
from tests.adapters.destinations.messages import message
from tests.servers_kafka import start_kafka

TRYING = EndpointRules(loopback=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("kafka")
    with start_kafka(directory) as place:
        yield place


def topic(broker: str, partitions: int = 3) -> dict[str, str]:
    """Return settings of a destination whose topic is there."""
    name = f"events-{uuid4()}"
    Cluster(broker, {}).create(name, partitions, 1, {})
    return {"servers": broker, "security": "plaintext", "topic": name}


def taken(config: dict[str, str], partitions: int, count: int) -> list[Taken]:
    """Return what is in a topic, partition by partition, once there is that much."""
    consumer = Consumer({"bootstrap.servers": config["servers"], "group.id": "x", "fetch.wait.max.ms": 20})
    consumer.assign([TopicPartition(config["topic"], number, 0) for number in range(partitions)])
    found: list[Taken] = []
    while len(found) < count:
        one = consumer.poll(20)
        assert one is not None, "it does not come"
        assert one.error() is None
        found.append(one)
    consumer.close()
    return found


def test_events_of_a_dataset_are_in_order_in_one_partition(broker: str) -> None:
    config, sender = topic(broker), KafkaSender(TRYING)
    sender.check(config)
    sent = [message(number, stream) for number in range(6) for stream in ("orders", "returns")]
    for number in range(0, len(sent), 2):
        assert [one.error for one in sender.send(config, sent[number : number + 2])] == ["", ""]
    found = taken(config, 3, len(sent))
    for stream in ("orders", "returns"):
        of_it = [one for one in found if one.key() == stream.encode()]
        assert len({one.partition() for one in of_it}) == 1
        assert [json.loads(one.value() or b"") for one in of_it] == [one.event for one in sent if one.stream == stream]
    headers = dict(found[0].headers() or [])
    assert headers == {"content-type": b"application/cloudevents+json; charset=utf-8"}
    assert found[0].timestamp()[1] == int(sent[0].at.timestamp() * 1000)


def test_where_nobody_answers_is_a_failure_that_may_pass() -> None:
    config = {"servers": "127.0.0.1:9", "security": "plaintext", "topic": "events"}
    (attempt,) = KafkaSender(TRYING, seconds=0.5).send(config, [message(1)])
    assert (attempt.status, attempt.failure) == (None, Failure.PASSING)
    assert "Connection refused" in attempt.error


def test_what_is_too_large_is_dead_at_once_and_nothing_else(broker: str) -> None:
    config, large = topic(broker, 1), message(2, "returns", text="x" * 2_000_000)
    sent = KafkaSender(TRYING).send(config, [message(1), large, message(3, "people")])
    assert [one.failure for one in sent] == [Failure.PASSING, Failure.EVENT, Failure.PASSING]
    assert KafkaError(KafkaError.MSG_SIZE_TOO_LARGE).str() in sent[1].error
    assert [one.key() for one in taken(config, 1, 2)] == [b"orders", b"people"]


def test_a_password_is_read_when_it_is_needed_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"servers": "127.0.0.1:9", "topic": "events", "user": "lake", "password_env": "KAFKA_SECRET"}
    sender = KafkaSender(TRYING, seconds=0.5)
    assert "'KAFKA_SECRET', which should hold a secret, is not set" in sender.send(config, [message(1)])[0].error
    monkeypatch.setenv("KAFKA_SECRET", "hush")
    (attempt,) = sender.send(config, [message(1)])
    assert attempt.error
    assert "hush" not in repr((attempt, sender))


def test_names_that_lead_inside_are_not_called() -> None:
    config = {"servers": "kafka.example.com:9093", "topic": "events"}
    sender = KafkaSender(EndpointRules(), lambda _host, _port: ["93.184.216.34", "10.0.0.1"])
    assert "inside a network" in sender.send(config, [message(1)])[0].error
    with pytest.raises(InvalidInputError, match="inside a network"):
        sender.check({**config, "servers": "127.0.0.1:9093"})
    with pytest.raises(InvalidInputError, match="not encrypted"):
        sender.check({**config, "security": "plaintext"})
