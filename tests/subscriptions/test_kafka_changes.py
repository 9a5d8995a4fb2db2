"""Subscriptions whose target is a topic of Kafka, from the lake to what a consumer reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

import cordillera
from cordillera.adapters.synchronizers.kafka_cluster import Cluster
from cordillera.client import Lake
from cordillera.errors import NotAllowedError, TargetDriftError
from cordillera.spec.schema_evolution import AddColumn
from cordillera.spec.subscription import Equality, Subscription

NAME = "sales.orders"


@pytest.fixture
def sales(tmp_path: Path, kafka_server: str) -> Iterator[Lake]:
    with cordillera.create(tmp_path / "lake") as lake:
        lake.create_namespace("sales")
        lake.create_dataset(NAME, {"id": pa.int64(), "amount": pa.int64()}, key=["id"])
        lake.create_target("kafka", "kafka", servers=kafka_server, security="plaintext")
        yield lake


def subscribed(lake: Lake, mode: str) -> Subscription:
    one = lake.dataset(NAME).subscribe("kafka", table="orders", purpose="test", mode=mode)
    lake.run_pending()
    return one


def told(server: str) -> list[tuple[int, Any]]:
    """Return keys and values of the topic's messages."""
    rows = [row for batch in Cluster(server, {}).messages("orders", 1) for row in batch.to_pylist()]
    return [(json.loads(row["key"])["id"], row["value"] and json.loads(row["value"])) for row in rows]


def put(lake: Lake, amounts: dict[int, int], operation: str = "upsert") -> None:
    lake.dataset(NAME).write([{"id": i, "amount": amount} for i, amount in amounts.items()], operation)


def test_every_change_of_every_commit_is_told_once(sales: Lake, kafka_server: str) -> None:
    put(sales, {1: 10, 2: 20})
    one = subscribed(sales, "log")
    random, model, expected = Random(5), {1: 10, 2: 20}, []
    for key, amount in sorted(model.items()):
        expected.append((key, ("r", None, amount)))
    for step in range(12):
        key, amount = random.randint(1, 4), random.randint(1, 9)
        if key in model and random.random() < 0.4:
            sales.dataset(NAME).write([{"id": key}], "delete")
            expected += [(key, ("d", model.pop(key), None)), (key, None)]
        elif model.get(key) != amount:
            put(sales, {key: amount})
            expected.append((key, ("u" if key in model else "c", model.get(key), amount)))
            model[key] = amount
        if step % 3 == 0:
            sales.run_pending()
    sales.run_pending()
    found = [(key, value and _change(value)) for key, value in told(kafka_server)]
    assert sorted(found[:2]) + found[2:] == expected
    sequences = [value["source"]["sequence"] for _, value in told(kafka_server) if value]
    assert sequences == sorted(sequences)
    verified = sales.backend.verify_subscription(one.id)
    assert (verified.equal, verified.rows_target) == (True, len(model))


def _change(value: dict[str, Any]) -> tuple[str, int | None, int | None]:
    assert (value["source"]["db"], value["source"]["table"], value["source"]["dataset_version"]) == (
        "sales",
        "orders",
        1,
    )
    before, after = (value[side] and value[side]["amount"] for side in ("before", "after"))
    return value["op"], before, after


@pytest.mark.parametrize("mode", ["log", "mirror"])
def test_what_somebody_else_wrote_into_a_topic_is_found_named_and_put_right(
    sales: Lake, kafka_server: str, mode: str
) -> None:
    put(sales, {1: 10, 2: 20, 3: 30})
    one = subscribed(sales, mode)
    sales.dataset(NAME).evolve(AddColumn("note", pa.string()))
    sales.dataset(NAME).write([{"id": 2, "amount": 22, "note": "n"}], "upsert")
    sales.run_pending()
    assert sales.backend.verify_subscription(one.id).equal
    genuine = next(value for key, value in told(kafka_server) if key == 3)
    cluster, foreign = Cluster(kafka_server, {}), {**genuine, "after": {"id": 7, "amount": 70}}
    cluster.append("orders", b'{"id":7}', json.dumps(foreign).encode())
    cluster.append("orders", b'{"id":3}', None)
    cluster.append("orders", b'{"id":1}', json.dumps({**genuine, "after": {"id": 1, "amount": 11}}).encode())
    found = sales.backend.verify_subscription(one.id)
    assert (found.rows_missing, found.rows_unexpected, found.rows_different) == (1, 1, 1)
    assert (found.missing, found.unexpected, found.different) == (("(3)",), ("(7)",), ("(1)",))
    before = len(told(kafka_server))
    repaired = sales.backend.repair_subscription(one.id)
    assert repaired.verified.equal
    assert len(told(kafka_server)) == before + 4  # two rows as they are, a removal and its tombstone
    cluster.append("orders", b'{"id":2}', b"no message of the lake's")
    with pytest.raises(TargetDriftError, match=r"of the key \{\"id\":2\}"):
        sales.backend.verify_subscription(one.id)
    assert sales.backend.subscription(one.id).subscription.equality is Equality.DRIFTED
    assert sales.backend.repair_subscription(one.id).verified.equal
    sales.dataset(NAME).write([{"id": 9}], "delete")
    sales.dataset(NAME).write([{"id": 2}], "delete")
    sales.run_pending()
    assert sales.backend.verify_subscription(one.id).rows_target == 2


def test_logs_of_other_targets_are_still_not_compared(sales: Lake, tmp_path: Path) -> None:
    put(sales, {1: 10})
    sales.create_target("copy", "duckdb", path=str(tmp_path / "copy.duckdb"))
    one = sales.dataset(NAME).subscribe("copy", purpose="test", mode="log")
    sales.run_pending()
    for ask in (sales.backend.verify_subscription, sales.backend.repair_subscription):
        with pytest.raises(NotAllowedError, match="equals no snapshot"):
            ask(one.id)


def test_rows_without_a_key_are_told_by_their_ids_and_a_topic_goes_with_its_subscription(
    sales: Lake, kafka_server: str
) -> None:
    events = sales.create_dataset("sales.events", {"what": pa.string()})
    events.write([{"what": "a"}, {"what": "b"}], "append")
    one = events.subscribe("kafka", purpose="test", mode="log")
    sales.run_pending()
    cluster = Cluster(kafka_server, {})
    keys = [row["key"] for batch in cluster.messages("events", 1) for row in batch.to_pylist()]
    assert sorted(keys) == [b'{"_row_id":0}', b'{"_row_id":1}']
    assert sales.backend.verify_subscription(one.id).equal
    sales.backend.revoke_subscription(one.id, keep_rows=False)
    sales.run_pending()
    assert cluster.partitions("events") == 0
