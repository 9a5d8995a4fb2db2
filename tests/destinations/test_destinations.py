"""Events are sent to destinations: which, to whom, signed, in order, again and again until somebody takes them."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest

from cordillera import worker
from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import (
    AccessDeniedError,
    DestinationNotFoundError,
    InvalidConfigurationError,
    InvalidInputError,
    NotAllowedError,
)
from cordillera.spec.destination import DeliveryState, DestinationState
from tests.conftest import MovableClock
from tests.destinations.conftest import write
from tests.destinations.receiver import Received, Receiver

OWNER, OTHER = "user:ana", "user:bob"
QUEUE = "arn:aws:sqs:eu-central-1:123456789012:events"
BUS = "arn:aws:events:eu-central-1:123456789012:event-bus/default"
COMMITTED = "snapshot.committed"


def snapshots(received: list[Received], dataset: str = "sales.orders") -> list[int]:
    return [one.payload["sequence_number"] for one in received if one.event["data"]["dataset"] == dataset]


def test_an_event_arrives_as_a_signed_cloud_event(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    _, secret = lake.create_destination(
        "webhook", url=receiver.url, topics=["partition.completed"], description="to see"
    )
    write(lake, "sales.orders", 1, completes="2026-01-01")
    lake.run_pending()
    (came,) = receiver.received
    assert came.signed_by(secret)
    assert not came.signed_by("whsec_" + "A" * 44)
    assert abs(came.timestamp - clock.moment.timestamp()) < 5
    assert came.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    event = came.event
    (told,) = [one for one in lake.backend.events() if one.topic == "partition.completed"]
    assert {**event, "data": None} == {
        "specversion": "1.0",
        "id": str(told.number),
        "source": f"urn:uuid:{lake.backend.info().id}",
        "type": "cordillera.partition.completed",
        "subject": "sales.orders",
        "time": told.at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": None,
    }
    assert event["data"]["payload"]["partition"] == "2026-01-01"
    assert event["data"]["principal"] == told.principal


def test_only_what_the_filter_wants_is_sent(lake: Lake, receiver: Receiver) -> None:
    lake.create_destination("webhook", url=receiver.url + "/a", topics=[COMMITTED], within=["sales.returns"])
    lake.create_destination("webhook", url=receiver.url + "/b", topics=["partition.completed"], within=["sales"])
    lake.create_destination("webhook", url=receiver.url + "/c", within=["elsewhere"])
    write(lake, "sales.orders", 1, completes="2026-01-01")
    write(lake, "sales.returns", 1)
    lake.run_pending()
    told = sorted((one.event["type"], one.event["subject"]) for one in receiver.received)
    assert told == [
        ("cordillera.partition.completed", "sales.orders"),
        ("cordillera.snapshot.committed", "sales.returns"),
    ]


def test_what_happened_before_is_not_sent(lake: Lake, receiver: Receiver) -> None:
    write(lake, "sales.orders", 1)
    lake.run_pending()
    lake.create_destination("webhook", url=receiver.url)
    lake.run_pending()
    assert receiver.received == []


def test_a_failing_event_holds_back_its_dataset_alone(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    destination, _ = lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    receiver.answer = lambda one: 500 if snapshots([one]) == [2] else 200
    write(lake, "sales.orders", 1, 2, 3)
    write(lake, "sales.returns", 1, 2, 3)
    lake.run_pending()
    assert snapshots(receiver.received) == [1, 2]
    assert snapshots(receiver.received, "sales.returns") == [1, 2, 3]
    status = destination.status()
    assert (status.waiting, status.dead) == (2, 0)
    receiver.answer = lambda _: 200
    lake.run_pending()
    assert snapshots(receiver.received) == [1, 2], "it is too early"
    clock.advance(seconds=5)
    lake.run_pending()
    assert snapshots(receiver.received) == [1, 2, 2, 3]
    ids = [one.id for one in receiver.received if snapshots([one]) == [2] and one.event["subject"] == "sales.orders"]
    assert len(ids) == 2
    assert len(set(ids)) == 1, "however often it is sent, its id is the same"
    assert (destination.status().state, destination.status().waiting) == (DestinationState.HEALTHY, 0)


def test_one_destination_does_not_hold_back_another(lake: Lake, receiver: Receiver) -> None:
    lake.create_destination("webhook", url="http://127.0.0.1:9/", topics=[COMMITTED])
    lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    write(lake, "sales.orders", 1, 2)
    lake.run_pending()
    assert snapshots(receiver.received) == [1, 2]


def test_a_destination_that_hangs_delays_no_other(
    lake: Lake, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(worker, "_LOOK_EVERY_SECONDS", 0.01)
    released, other = threading.Event(), threading.Event()

    def answer(one: Received) -> int:
        if one.event["subject"] == "sales.orders":
            assert released.wait(60)
        else:
            other.set()
        return 204

    receiver.answer = answer
    for dataset in ("sales.orders", "sales.returns"):
        lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED], within=[dataset])
        write(lake, dataset, 1)
    with worker.workers(lake.backend.app):
        assert other.wait(60), "by the only worker that was asked for"
        released.set()


def test_what_nobody_takes_is_dead_in_the_end_and_can_be_replayed(
    lake: Lake, receiver: Receiver, clock: MovableClock
) -> None:
    destination, secret = lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    receiver.answer = lambda _: 503
    write(lake, "sales.orders", 1, 2)
    lake.run_pending()
    since = destination.status().destination.failing_since
    for _ in range(15):
        clock.advance(hours=4)
        lake.run_pending()
    status = destination.status()
    assert (status.state, status.waiting, status.dead) == (DestinationState.FAILING, 0, 2)
    assert status.destination.failing_since == since
    assert status.destination.last_error == "The answer was 503."
    dead = list(destination.deliveries("dead"))
    assert [one.error for one in dead] == ["The answer was 503."] * 2
    assert dead[-1].attempts > 1
    assert dead[0].attempts == 1, "a day after it happened, one failure more is enough"
    receiver.received.clear()
    receiver.answer = lambda _: 200
    assert destination.replay(dead[-1].id) == 1
    with pytest.raises(NotAllowedError, match="no dead letter"):
        destination.replay(dead[-1].id)
    assert destination.replay() == 1
    lake.run_pending()
    assert [one.id for one in receiver.received] == [str(one.id) for one in reversed(dead)]
    assert all(one.signed_by(secret) for one in receiver.received)
    assert (destination.status().state, destination.status().dead) == (DestinationState.HEALTHY, 0)
    assert [one.action for one in lake.backend.audit(object_name=str(destination.id))] == [
        "destination.replay",
        "destination.replay",
        "destination.create",
    ]


def test_a_test_tells_at_once_and_sends_what_waits(lake: Lake, receiver: Receiver) -> None:
    destination, secret = lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    receiver.answer = lambda _: 500
    write(lake, "sales.orders", 1)
    lake.run_pending()
    failed = destination.test()
    assert (failed.state, failed.status) == (DeliveryState.DEAD, 500)
    assert destination.status().dead == 0, "a test is no event that was lost"
    receiver.answer = lambda _: 200
    assert destination.test().error == ""
    lake.run_pending()
    assert snapshots(receiver.of(COMMITTED)) == [1, 1]
    tests = receiver.of("destination.ping")
    assert len(tests) == 2
    assert all(one.signed_by(secret) for one in tests)
    assert [one.topic for one in destination.deliveries()] == ["destination.ping", "destination.ping", COMMITTED]


def test_secrets_rotate_without_a_gap(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    destination, first = lake.create_destination("webhook", url=receiver.url)
    second = destination.rotate(keep_hours=1)
    destination.test()
    clock.advance(hours=2)
    destination.test()
    third = destination.rotate(keep_hours=0)
    destination.test()
    signed = [[one.signed_by(secret) for secret in (first, second, third)] for one in receiver.received]
    assert signed == [[True, True, False], [False, True, False], [False, False, True]]


def test_the_lakes_own_key_rotates_without_a_gap(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    destination, first = lake.create_destination("webhook", url=receiver.url)
    lake.rotate_lake_key("webhooks", keep_hours=1)
    destination.test()
    second = destination.rotate(keep_hours=1)
    destination.test()
    clock.advance(hours=2)
    destination.test()
    signed = [[one.signed_by(secret) for secret in (first, second)] for one in receiver.received]
    assert signed == [[True, False], [True, True], [False, True]]


def test_no_secret_is_kept_or_told_again(lake: Lake, receiver: Receiver) -> None:
    destination, secret = lake.create_destination("webhook", url=receiver.url + "?token=hush")
    told = repr(
        [
            destination.status(),
            list(destination.deliveries()),
            lake.backend.audit(),
            lake.backend.create_destination("webhook", {"url": receiver.url}),
        ]
    )
    assert secret not in told
    assert "whsec_" not in told
    assert "hush" not in repr(lake.backend.audit())
    with lake.backend.app.store.read() as tx:
        assert secret.removeprefix("whsec_") not in repr(tx.destinations.get(destination.id))


def test_only_what_its_owner_may_discover_is_sent(lake: Lake, receiver: Receiver) -> None:
    lake.grant(OWNER, "discover", "sales.orders")
    with acting(OWNER):
        destination, _ = lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    write(lake, "sales.orders", 1, completes="2026-01-01")
    write(lake, "sales.returns", 1)
    lake.run_pending()
    (came,) = receiver.received
    assert came.event["subject"] == "sales.orders"
    assert "partitions" not in came.payload, "whose values are those of rows"
    with acting(OWNER):
        assert (destination.status().waiting, len(list(destination.deliveries()))) == (0, 1)


def test_what_is_revoked_is_not_sent_and_not_shown_any_more(
    lake: Lake, receiver: Receiver, clock: MovableClock
) -> None:
    lake.grant(OWNER, "discover", "namespace:sales")
    with acting(OWNER):
        destination, _ = lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    write(lake, "sales.orders", 1)
    lake.run_pending()
    receiver.answer = lambda _: 500
    write(lake, "sales.orders", 2)
    lake.run_pending()
    lake.revoke(OWNER, "discover", "namespace:sales")
    receiver.received.clear()
    clock.advance(seconds=5)
    lake.run_pending()
    assert receiver.received == []
    with acting(OWNER):
        assert list(destination.deliveries()) == []
        assert (destination.status().waiting, destination.status().dead) == (0, 0)


def test_destinations_are_their_owners_business(lake: Lake, receiver: Receiver) -> None:
    with acting(OWNER):
        destination, _ = lake.create_destination("webhook", url=receiver.url)
    with acting(OTHER):
        assert list(lake.destinations()) == []
        for ask in (destination.status, destination.test, destination.rotate, destination.replay, destination.remove):
            with pytest.raises(DestinationNotFoundError):
                ask()
        with pytest.raises(DestinationNotFoundError):
            list(destination.deliveries())
    lake.grant(OTHER, "administer", "lake")
    with acting(OTHER):
        assert [one.id for one in lake.destinations()] == [destination.id]
        destination.remove()
    with acting(OWNER):
        assert list(lake.destinations()) == []


def test_what_is_removed_is_sent_nothing_more(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    destination, _ = lake.create_destination("webhook", url=receiver.url)
    receiver.answer = lambda _: 500
    write(lake, "sales.orders", 1)
    lake.run_pending()
    destination.remove()
    receiver.received.clear()
    clock.advance(hours=1)
    write(lake, "sales.orders", 2)
    lake.run_pending()
    assert receiver.received == []
    assert lake.backend.tasks() == []


def test_destinations_that_make_no_sense_are_refused(lake: Lake, receiver: Receiver) -> None:
    good = {"url": receiver.url}
    for kind, config, filters in (
        ("webhook", {"url": "ftp://example.com"}, {}),
        ("webhook", {}, {}),
        ("webhook", {**good, "topic": "x"}, {}),
        ("pigeon", good, {}),
        ("kafka", {"servers": "kafka.example.com:9093", "topic": "a b"}, {}),
        ("kafka", {"servers": "10.0.0.1:9093", "topic": "events"}, {}),
        ("kafka", {"servers": "kafka.example.com:9093", "topic": "events", "ca_file": "ca.pem"}, {}),
        ("kafka", {"servers": "kafka.example.com:9092", "topic": "events", "user": "lake"}, {}),
        ("sns", {"arn": "arn:aws:sqs:eu-central-1:123456789012:events"}, {}),
        ("sqs", {"arn": "events"}, {}),
        ("sqs", {"arn": QUEUE, "endpoint": "https://10.0.0.1/"}, {}),
        ("eventbridge", {"arn": BUS, "endpoint": "https://events.example.com/"}, {}),
        ("webhook", good, {"topics": ["x"]}),
        ("webhook", good, {"within": ["X"]}),
        ("webhook", good, {"description": "x" * 10_001}),
    ):
        with pytest.raises((InvalidInputError, InvalidConfigurationError)):
            lake.backend.create_destination(kind, config, **filters)
    destination, _ = lake.create_destination("webhook", url=receiver.url)
    with pytest.raises(InvalidInputError, match="hours"):
        destination.rotate(keep_hours=-1)
    with pytest.raises(InvalidInputError, match="no state"):
        list(destination.deliveries("lost"))
    with pytest.raises(DestinationNotFoundError):
        lake.destination(uuid4())


def test_nobody_has_more_destinations_than_fifty(lake: Lake, receiver: Receiver) -> None:
    for _ in range(50):
        lake.create_destination("webhook", url=receiver.url, within=["nothing"])
    with pytest.raises(InvalidInputError, match="50 destinations already"):
        lake.create_destination("webhook", url=receiver.url)


def test_a_dataset_keeps_its_place_in_line_under_another_name(
    lake: Lake, receiver: Receiver, clock: MovableClock
) -> None:
    lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    receiver.answer = lambda _: 500
    write(lake, "sales.orders", 1)
    lake.run_pending()
    lake.backend.rename_dataset("sales.orders", "sales.purchases")
    write(lake, "sales.purchases", 2)
    lake.run_pending()
    assert len(receiver.received) == 1
    receiver.answer = lambda _: 200
    clock.advance(seconds=10)
    lake.run_pending()
    assert [one.payload["sequence_number"] for one in receiver.received] == [1, 1, 2]


def test_who_says_to_be_gone_is_sent_nothing_until_a_test_is_taken(lake: Lake, receiver: Receiver) -> None:
    destination, _ = lake.create_destination("webhook", url=receiver.url, topics=[COMMITTED])
    receiver.answer = lambda _: 410
    write(lake, "sales.orders", 1, 2)
    write(lake, "sales.returns", 1)
    lake.run_pending()
    status = destination.status()
    assert len(receiver.received) == 1
    assert (status.state, status.waiting, status.dead) == (DestinationState.DISABLED, 2, 1)
    assert "410" in status.destination.last_error
    write(lake, "sales.orders", 3)
    lake.run_pending()
    assert (len(receiver.received), destination.status().waiting) == (1, 2), "nothing more comes into line"
    assert lake.backend.audit(object_name=str(destination.id))[0].action == "destination.disable"
    receiver.answer = lambda _: 204
    receiver.received.clear()
    assert destination.test().error == ""
    assert destination.replay() == 1
    lake.run_pending()
    assert sorted(snapshots(receiver.of(COMMITTED))) == [1, 2]
    assert snapshots(receiver.of(COMMITTED), "sales.returns") == [1]
    assert destination.status().state is DestinationState.HEALTHY


def test_whoever_makes_the_lake_use_its_own_credentials_administers_it(lake: Lake) -> None:
    with acting(OWNER), pytest.raises(AccessDeniedError):
        lake.create_destination("sqs", arn=QUEUE)
    lake.grant(OWNER, "administer", "lake")
    with acting(OWNER):
        destination, secret = lake.create_destination("sqs", arn=QUEUE)
        assert secret is None
        with pytest.raises(NotAllowedError, match="no secret"):
            destination.rotate()
