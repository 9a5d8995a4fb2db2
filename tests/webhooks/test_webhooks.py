"""Events are sent to webhooks: which, to whom, signed, in order, again and again until somebody takes them."""

from __future__ import annotations

from uuid import uuid4

import pytest

from cordillera.client import Lake
from cordillera.context import acting
from cordillera.errors import (
    InvalidInputError,
    NotAllowedError,
    WebhookNotFoundError,
)
from cordillera.spec.webhook import DeliveryState, WebhookState
from tests.conftest import MovableClock
from tests.webhooks.conftest import write
from tests.webhooks.receiver import Received, Receiver

OWNER, OTHER = "user:ana", "user:bob"
COMMITTED = "snapshot.committed"


def snapshots(received: list[Received], dataset: str = "sales.orders") -> list[int]:
    return [one.payload["sequence_number"] for one in received if one.event["data"]["dataset"] == dataset]


def test_an_event_arrives_as_a_signed_cloud_event(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    _, secret = lake.create_webhook(receiver.url, topics=["partition.completed"], description="to see")
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
    lake.create_webhook(receiver.url + "/a", topics=[COMMITTED], within=["sales.returns"])
    lake.create_webhook(receiver.url + "/b", topics=["partition.completed"], within=["sales"])
    lake.create_webhook(receiver.url + "/c", within=["elsewhere"])
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
    lake.create_webhook(receiver.url)
    lake.run_pending()
    assert receiver.received == []


def test_a_failing_event_holds_back_its_dataset_alone(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    webhook, _ = lake.create_webhook(receiver.url, topics=[COMMITTED])
    receiver.answer = lambda one: 500 if snapshots([one]) == [2] else 200
    write(lake, "sales.orders", 1, 2, 3)
    write(lake, "sales.returns", 1, 2, 3)
    lake.run_pending()
    assert snapshots(receiver.received) == [1, 2]
    assert snapshots(receiver.received, "sales.returns") == [1, 2, 3]
    status = webhook.status()
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
    assert (webhook.status().state, webhook.status().waiting) == (WebhookState.HEALTHY, 0)


def test_one_webhook_does_not_hold_back_another(lake: Lake, receiver: Receiver) -> None:
    lake.create_webhook("http://127.0.0.1:9/", topics=[COMMITTED])
    lake.create_webhook(receiver.url, topics=[COMMITTED])
    write(lake, "sales.orders", 1, 2)
    lake.run_pending()
    assert snapshots(receiver.received) == [1, 2]


def test_what_nobody_takes_is_dead_in_the_end_and_can_be_replayed(
    lake: Lake, receiver: Receiver, clock: MovableClock
) -> None:
    webhook, secret = lake.create_webhook(receiver.url, topics=[COMMITTED])
    receiver.answer = lambda _: 503
    write(lake, "sales.orders", 1, 2)
    lake.run_pending()
    since = webhook.status().webhook.failing_since
    for _ in range(15):
        clock.advance(hours=4)
        lake.run_pending()
    status = webhook.status()
    assert (status.state, status.waiting, status.dead) == (WebhookState.FAILING, 0, 2)
    assert status.webhook.failing_since == since
    assert status.webhook.last_error == "The answer was 503."
    dead = list(webhook.deliveries("dead"))
    assert [one.error for one in dead] == ["The answer was 503."] * 2
    assert dead[-1].attempts > 1
    assert dead[0].attempts == 1, "a day after it happened, one failure more is enough"
    receiver.received.clear()
    receiver.answer = lambda _: 200
    assert webhook.replay(dead[-1].id) == 1
    with pytest.raises(NotAllowedError, match="no dead letter"):
        webhook.replay(dead[-1].id)
    assert webhook.replay() == 1
    lake.run_pending()
    assert [one.id for one in receiver.received] == [str(one.id) for one in reversed(dead)]
    assert all(one.signed_by(secret) for one in receiver.received)
    assert (webhook.status().state, webhook.status().dead) == (WebhookState.HEALTHY, 0)
    assert [one.action for one in lake.backend.audit(object_name=str(webhook.id))] == [
        "webhook.replay",
        "webhook.replay",
        "webhook.create",
    ]


def test_a_test_tells_at_once_and_sends_what_waits(lake: Lake, receiver: Receiver) -> None:
    webhook, secret = lake.create_webhook(receiver.url, topics=[COMMITTED])
    receiver.answer = lambda _: 500
    write(lake, "sales.orders", 1)
    lake.run_pending()
    failed = webhook.test()
    assert (failed.state, failed.status) == (DeliveryState.DEAD, 500)
    assert webhook.status().dead == 0, "a test is no event that was lost"
    receiver.answer = lambda _: 200
    assert webhook.test().error == ""
    lake.run_pending()
    assert snapshots(receiver.of(COMMITTED)) == [1, 1]
    tests = receiver.of("webhook.ping")
    assert len(tests) == 2
    assert all(one.signed_by(secret) for one in tests)
    assert [one.topic for one in webhook.deliveries()] == ["webhook.ping", "webhook.ping", COMMITTED]


def test_secrets_rotate_without_a_gap(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    webhook, first = lake.create_webhook(receiver.url)
    second = webhook.rotate(keep_hours=1)
    webhook.test()
    clock.advance(hours=2)
    webhook.test()
    third = webhook.rotate(keep_hours=0)
    webhook.test()
    signed = [[one.signed_by(secret) for secret in (first, second, third)] for one in receiver.received]
    assert signed == [[True, True, False], [False, True, False], [False, False, True]]


def test_the_lakes_own_key_rotates_without_a_gap(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    webhook, first = lake.create_webhook(receiver.url)
    lake.rotate_lake_key("webhooks", keep_hours=1)
    webhook.test()
    second = webhook.rotate(keep_hours=1)
    webhook.test()
    clock.advance(hours=2)
    webhook.test()
    signed = [[one.signed_by(secret) for secret in (first, second)] for one in receiver.received]
    assert signed == [[True, False], [True, True], [False, True]]


def test_no_secret_is_kept_or_told_again(lake: Lake, receiver: Receiver) -> None:
    webhook, secret = lake.create_webhook(receiver.url + "?token=hush")
    told = repr(
        [webhook.status(), list(webhook.deliveries()), lake.backend.audit(), lake.backend.create_webhook(receiver.url)]
    )
    assert secret not in told
    assert "whsec_" not in told
    assert "hush" not in repr(lake.backend.audit())
    with lake.backend.app.store.read() as tx:
        assert secret.removeprefix("whsec_") not in repr(tx.webhooks.get(webhook.id))


def test_only_what_its_owner_may_discover_is_sent(lake: Lake, receiver: Receiver) -> None:
    lake.grant(OWNER, "discover", "sales.orders")
    with acting(OWNER):
        webhook, _ = lake.create_webhook(receiver.url, topics=[COMMITTED])
    write(lake, "sales.orders", 1, completes="2026-01-01")
    write(lake, "sales.returns", 1)
    lake.run_pending()
    (came,) = receiver.received
    assert came.event["subject"] == "sales.orders"
    assert "partitions" not in came.payload, "whose values are those of rows"
    with acting(OWNER):
        assert (webhook.status().waiting, len(list(webhook.deliveries()))) == (0, 1)


def test_what_is_revoked_is_not_sent_and_not_shown_any_more(
    lake: Lake, receiver: Receiver, clock: MovableClock
) -> None:
    lake.grant(OWNER, "discover", "namespace:sales")
    with acting(OWNER):
        webhook, _ = lake.create_webhook(receiver.url, topics=[COMMITTED])
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
        assert list(webhook.deliveries()) == []
        assert (webhook.status().waiting, webhook.status().dead) == (0, 0)


def test_webhooks_are_their_owners_business(lake: Lake, receiver: Receiver) -> None:
    with acting(OWNER):
        webhook, _ = lake.create_webhook(receiver.url)
    with acting(OTHER):
        assert list(lake.webhooks()) == []
        for ask in (webhook.status, webhook.test, webhook.rotate, webhook.replay, webhook.remove):
            with pytest.raises(WebhookNotFoundError):
                ask()
        with pytest.raises(WebhookNotFoundError):
            list(webhook.deliveries())
    lake.grant(OTHER, "administer", "lake")
    with acting(OTHER):
        assert [one.id for one in lake.webhooks()] == [webhook.id]
        webhook.remove()
    with acting(OWNER):
        assert list(lake.webhooks()) == []


def test_what_is_removed_is_sent_nothing_more(lake: Lake, receiver: Receiver, clock: MovableClock) -> None:
    webhook, _ = lake.create_webhook(receiver.url)
    receiver.answer = lambda _: 500
    write(lake, "sales.orders", 1)
    lake.run_pending()
    webhook.remove()
    receiver.received.clear()
    clock.advance(hours=1)
    write(lake, "sales.orders", 2)
    lake.run_pending()
    assert receiver.received == []
    assert lake.backend.tasks() == []


def test_webhooks_that_make_no_sense_are_refused(lake: Lake, receiver: Receiver) -> None:
    for arguments in (
        {"url": "ftp://example.com"},
        {"url": receiver.url, "topics": ["x"]},
        {"url": receiver.url, "within": ["X"]},
        {"url": receiver.url, "description": "x" * 10_001},
    ):
        with pytest.raises(InvalidInputError):
            lake.backend.create_webhook(**arguments)
    webhook, _ = lake.create_webhook(receiver.url)
    with pytest.raises(InvalidInputError, match="hours"):
        webhook.rotate(keep_hours=-1)
    with pytest.raises(InvalidInputError, match="no state"):
        list(webhook.deliveries("lost"))
    with pytest.raises(WebhookNotFoundError):
        lake.webhook(uuid4())


def test_nobody_has_more_webhooks_than_fifty(lake: Lake, receiver: Receiver) -> None:
    for _ in range(50):
        lake.create_webhook(receiver.url, within=["nothing"])
    with pytest.raises(InvalidInputError, match="50 webhooks already"):
        lake.create_webhook(receiver.url)


def test_a_dataset_keeps_its_place_in_line_under_another_name(
    lake: Lake, receiver: Receiver, clock: MovableClock
) -> None:
    lake.create_webhook(receiver.url, topics=[COMMITTED])
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
