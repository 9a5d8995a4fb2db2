"""kill -9 of a worker around the sending of an event: it is sent again under one id, in order, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.adapters.synchronizers.kafka_cluster import Cluster
from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from tests.destinations.receiver import receiving
from tests.destinations.test_kinds import messages
from tests.reliability.processes import end_leases, run_and_kill, settled

SENDER = "cordillera.adapters.destinations.webhook:WebhookSender"
POINTS = {
    f"{SENDER}.send:before:2": 0,
    f"{SENDER}.send:after:2": 1,
}
"""Where, and how many events arrive twice because of it."""


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.split(":", 1)[1])
def test_a_killed_worker_loses_no_event(tmp_path: Path, point: str) -> None:
    path = tmp_path / "lake"
    with receiving() as receiver:
        with Lake(LocalBackend(create_lake(path, destination_loopback="true"))) as lake:
            lake.create_namespace("sales")
            orders = lake.create_dataset("sales.orders", {"id": pa.int64()})
            lake.run_pending()
            destination, secret = lake.create_destination("webhook", url=receiver.url, topics=["snapshot.committed"])
            for one in range(3):
                orders.write(pa.table({"id": [one]}))
        run_and_kill(path, "work", point)
        with cordillera.open(path) as lake:
            end_leases(lake)
            lake.run_pending()
            assert settled(lake)
            assert lake.destination(destination.id).status().waiting == 0
        arrived = [one.payload["sequence_number"] for one in receiver.received]
        assert arrived == sorted(arrived)
        assert set(arrived) == {1, 2, 3}
        assert len(arrived) == 3 + POINTS[point]
        assert len({one.id for one in receiver.received}) == 3
        assert all(one.signed_by(secret) for one in receiver.received)


def test_a_worker_killed_before_it_notes_what_was_sent_together_sends_all_of_it_again(
    tmp_path: Path, kafka_server: str
) -> None:
    path = tmp_path / "lake"
    Cluster(kafka_server, {}).create("killed", 1, 1, {})
    with Lake(LocalBackend(create_lake(path, destination_loopback="true"))) as lake:
        lake.create_namespace("sales")
        datasets = [lake.create_dataset(f"sales.{name}", {"id": pa.int64()}) for name in ("orders", "returns")]
        lake.run_pending()
        where = {"servers": kafka_server, "security": "plaintext", "topic": "killed"}
        lake.create_destination("kafka", **where, topics=["snapshot.committed"])
        for one in range(2):
            for dataset in datasets:
                dataset.write(pa.table({"id": [one]}))
    run_and_kill(path, "work", "cordillera.adapters.destinations.kafka:KafkaSender.send:after:1")
    with cordillera.open(path) as lake:
        end_leases(lake)
        lake.run_pending()
        assert settled(lake)
    arrived = [event for _, event in messages(kafka_server, "killed", 6)]
    of = {name: [event for event in arrived if event["subject"] == f"sales.{name}"] for name in ("orders", "returns")}
    for events in of.values():
        assert [event["data"]["payload"]["sequence_number"] for event in events] == [1, 1, 2]
        assert events[0] == events[1], "under the same id"
