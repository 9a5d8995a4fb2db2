from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.adapters.synchronizers import killed_kafka
from tests.servers_kafka import TellingCluster, start_kafka
from tests.servers_s3 import free_ports

from cordillera.adapters.synchronizers import build_synchronizer, kafka_cluster
from cordillera.adapters.synchronizers.kafka import KafkaSynchronizer, TopicSettings
from cordillera.adapters.synchronizers.kafka_cluster import Cluster
from cordillera.errors import (
    IncompatibleSchemaError,
    InvalidConfigurationError,
    InvalidNameError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, Synchronizer, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    APPLIED_ALREADY,
    ORDER_ROWS,
    ORDERS,
    OURS,
    deliver,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_suite import SynchronizerSuite


class TestKafka(SynchronizerSuite):
    """Against Tansu, a broker that keeps transactions; see ``tests.servers_kafka`` for what it does not tell."""

    longest_text: ClassVar[int] = 500_000
    tells_removed: ClassVar[bool] = False
    many_keys: ClassVar[int] = 10_000
    batch_rows: ClassVar[int] = 200

    @pytest.fixture
    def synchronizer(self, kafka_server: str) -> Synchronizer:
        return KafkaSynchronizer(TellingCluster(kafka_server, {}))

    def test_renamed_columns_keep_their_values_key_included(self, synchronizer: Synchronizer) -> None:
        synchronizer.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        key, customer, amount = ORDERS.columns
        table = replace(ORDERS, columns=(key, replace(customer, name="Customer"), replace(amount, name="customer")))
        changed = {"id": 1, "Customer": "Zoë", "customer": None}
        synchronizer.apply(deliver(table, (1, (2, 1)), [changed], [{"id": 2}]))
        assert rows_of(synchronizer, table) == spelled([changed, {"id": 3, "Customer": None, "customer": None}])
        other = replace(table, columns=(replace(key, name="order_id"), *table.columns[1:]), key=("order_id",))
        with pytest.raises(IncompatibleSchemaError, match="key of the topic"):  # messages would have other keys
            synchronizer.apply(deliver(other, ((2, 1), (3, 2))))
        row = {"order_id": 1, "Customer": "Zoë", "customer": None}
        synchronizer.apply(deliver(other, ((2, 1), (3, 2)), [row], replacing=True))
        assert rows_of(synchronizer, other) == spelled([row])

    @pytest.mark.parametrize("name", ["select", "Mixed Case", 'quo"te', "per%cent {brace}", "naïve 表"])
    def test_reserved_and_odd_names(self, synchronizer: Synchronizer, name: str) -> None:
        columns = (TargetColumn(1, name, pa.int64(), False), TargetColumn(2, "table", pa.string()))
        table = TargetTable("a.b-C_d", columns, (name,))
        synchronizer.apply(deliver(table, (None, 1), [{name: n, "table": "t"} for n in range(3)]))
        changed = {name: 0, "table": None}
        synchronizer.apply(deliver(table, (1, 2), [changed], [{name: 1}]))
        assert rows_of(synchronizer, table) == spelled([changed, {name: 2, "table": "t"}])
        with pytest.raises(InvalidNameError, match="cannot be a topic"):
            synchronizer.apply(deliver(replace(table, name=f"{name} "), (None, 1)))


def test_a_delivery_killed_at_any_step_is_there_whole_or_not_at_all(kafka_server: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", killed_kafka.__name__, kafka_server],
        cwd=Path(killed_kafka.__file__).parents[3],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert first >= 9  # fence, claim, three topics, rows, layout, cursor, commit
    assert second >= 6


@pytest.fixture
def target(kafka_server: str) -> KafkaSynchronizer:
    return KafkaSynchronizer(TellingCluster(kafka_server, {}))


def messages(target: KafkaSynchronizer, topic: str, partitions: int = 1) -> list[dict[str, Any]]:
    return [row for batch in target._cluster.messages(topic, partitions) for row in batch.to_pylist()]


def test_a_worker_that_lost_its_turn_can_commit_nothing_more(
    target: KafkaSynchronizer, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    monkeypatch.setattr(kafka_cluster, "WAIT_S", 2.0)  # Tansu ends the connection of who is fenced, and says nothing
    stale = {"id": 1, "customer": "stale", "amount": None}
    other = KafkaSynchronizer(TellingCluster(kafka_server, {}))

    def overtaken() -> pa.RecordBatchReader:
        other.apply(deliver(ORDERS, (1, 3), [{"id": 9, "customer": "other", "amount": None}]))
        return pa.Table.from_pylist([stale], ORDERS.arrow_schema()).to_reader()

    with pytest.raises(TargetUnreachableError):
        target.apply(deliver(ORDERS, (1, 2), overtaken))
    assert target.read_cursor(OURS) == Cursor(3, 0)
    expected = spelled([*ORDER_ROWS, {"id": 9, "customer": "other", "amount": None}])
    assert rows_of(target, ORDERS) == expected
    assert target.apply(deliver(ORDERS, (1, 2), [stale])) == APPLIED_ALREADY
    assert len(messages(target, "orders")) == 4


def test_what_is_committed_is_waited_for_until_it_can_be_read(
    target: KafkaSynchronizer, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers answer a commit before readers see it, which looks like a transaction that is open still."""
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with Cluster(kafka_server, {}).writer("slow") as writer:
        writer.put("orders", b'{"id":7}', b"")
        writer._settle()
        paused = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: writer.commit())
        monkeypatch.setattr(kafka_cluster, "time", paused)
        with pytest.raises(TargetDriftError, match=r"of the key {\"id\":7}"):  # it was waited for, and seen
            rows_of(target, ORDERS)


def test_what_stays_open_is_not_waited_for(
    target: KafkaSynchronizer, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    monkeypatch.setattr(kafka_cluster, "SETTLE_S", 0.05)
    with Cluster(kafka_server, {}).writer("open") as writer:
        writer.put("orders", b'{"id":7}', b"{}")
        writer._settle()
        assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


def test_a_cluster_that_is_not_there_is_told_of_and_delivered_to_when_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_cluster, "WAIT_S", 1.0)
    port = free_ports(1)[0]
    target = KafkaSynchronizer(TellingCluster(f"127.0.0.1:{port}", {}))
    for use in (target.check, lambda: target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))):
        with pytest.raises(TargetUnreachableError, match=f"127.0.0.1:{port} does not answer"):
            use()
    monkeypatch.setattr(kafka_cluster, "WAIT_S", 20.0)
    with start_kafka(tmp_path / "kafka", port):
        target.check()
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
        assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


def test_a_first_delivery_that_was_cut_off_in_between_is_told_once(target: KafkaSynchronizer) -> None:
    """The topic's cursor is lost, and its messages are there: only what differs is told."""
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    target._cluster.delete("_cordillera.orders")
    assert target.read_cursor(OURS) is None
    changed = {"id": 2, "customer": "changed", "amount": None}
    assert target.apply(deliver(ORDERS, (None, 2), [*ORDER_ROWS[:1], changed])).rows_upserted == 2
    told = [(m["key"], m["value"] and json.loads(m["value"])["op"]) for m in messages(target, "orders")[3:]]
    assert told == [(b'{"id":2}', "r"), (b'{"id":3}', "d"), (b'{"id":3}', None)]
    assert rows_of(target, ORDERS) == spelled([ORDER_ROWS[0], changed])


def test_keys_are_spread_over_partitions_that_have_to_stay(kafka_server: str) -> None:
    cluster = TellingCluster(kafka_server, {})
    target = KafkaSynchronizer(cluster, TopicSettings(partitions=3, tombstones=False))
    rows = [{"id": n, "customer": "c", "amount": None} for n in range(30)]
    target.apply(deliver(ORDERS, (None, 1), rows))
    target.apply(deliver(ORDERS, (1, 2), [], [{"id": 0}]))
    found = messages(target, "orders", 3)
    assert {m["partition"] for m in found} == {0, 1, 2}
    assert all(m["value"] is not None for m in found)
    assert rows_of(target, ORDERS) == spelled(rows[1:])
    cluster.delete("orders")
    for partitions, words in ((0, "is gone"), (4, "has 4 partitions, and had 3")):
        if partitions:
            cluster.create("orders", partitions, 1, {})
        with pytest.raises(TargetDriftError, match=words):
            target.apply(deliver(ORDERS, (2, 3), rows))
    repair = replace(deliver(ORDERS, (2, 2), rows[1:], replacing=True), repair=True)
    assert target.apply(repair).rows_upserted == 29
    assert rows_of(target, ORDERS) == spelled(rows[1:])


def test_topics_of_others_and_of_the_lake_are_left_alone(target: KafkaSynchronizer) -> None:
    target._cluster.create("orders", 1, 1, {})
    target._cluster.append("orders", b"theirs", b"{}")
    with pytest.raises(TargetDriftError, match="did not make"):
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert [m["key"] for m in messages(target, "orders")] == [b"theirs"]
    for name in ("_cordillera_topics", "..", "a/b", "x" * 201):
        with pytest.raises(InvalidNameError):
            target.apply(deliver(replace(ORDERS, name=name), (None, 1)))


def test_a_row_that_is_too_large_is_refused_with_the_setting_to_raise(target: KafkaSynchronizer) -> None:
    error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with (
        pytest.raises(TypeMismatchError, match="larger than the Kafka cluster") as caught,
        target._cluster.translated(),
    ):
        raise KafkaException(error)
    assert "max.message.bytes" in caught.value.hint


@pytest.mark.parametrize("code", [KafkaError._AUTHENTICATION, KafkaError._SSL])
def test_the_reason_why_nobody_answers_is_told(target: KafkaSynchronizer, code: int) -> None:
    heard = [KafkaError(code, "said the broker")]
    with pytest.raises(InvalidConfigurationError, match="said the broker"), target._cluster.translated(heard):
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))


SERVERS = {"servers": "kafka1.example.com:9093,[::1]:9093"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"servers": "kafka"}, "no brokers"),
        ({"servers": "http://a:1/b"}, "no brokers"),
        ({**SERVERS, "user": "lake"}, "a user and a password_env"),
        ({**SERVERS, "user": "lake", "password_env": "P", "security": "plaintext"}, "not encrypted"),
        ({**SERVERS, "security": "none"}, "security=none"),
        ({**SERVERS, "user": "lake", "password_env": "P", "mechanism": "gssapi"}, "mechanism=gssapi"),
        ({**SERVERS, "partitions": "0"}, "partitions=0"),
        ({**SERVERS, "keep": "some"}, "keep=some"),
        ({**SERVERS, "password": "hunter2"}, "'password' is unknown"),
        ({**SERVERS, "ca_file": "ca.pem"}, "is relative"),
    ],
)
def test_settings_that_cannot_be_are_refused(config: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=words) as caught:
        build_synchronizer("kafka", config)
    assert "hunter2" not in str(caught.value)


def test_settings_become_those_of_the_client_and_the_password_is_read_when_it_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {**SERVERS, "user": "lake", "password_env": "KAFKA_PASSWORD", "ca_file": "/ca.pem", "keep": "latest"}
    target: Any = build_synchronizer("kafka", {**config, "partitions": "12", "tombstones": "no"})
    assert target._topics == TopicSettings(12, -1, False, {"cleanup.policy": "compact"})
    with pytest.raises(InvalidConfigurationError, match="KAFKA_PASSWORD"):
        target.check()
    monkeypatch.setenv("KAFKA_PASSWORD", "open sesame")
    assert target._cluster._config([])["sasl.password"] == "open sesame"
    assert target._cluster._config([])["sasl.mechanism"] == "SCRAM-SHA-512"
    assert target._cluster._config([])["security.protocol"] == "SASL_SSL"
    assert "sesame" not in repr(target) + repr(target._cluster)
