"""The rules of destinations: signatures, retries, filters."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, InvalidNameError
from cordillera.spec.destination import (
    MOST_ATTEMPTS,
    OLDEST,
    Attempt,
    DeliveryState,
    Destination,
    DestinationKind,
    DestinationState,
    EventDelivery,
    Failure,
    after_attempt,
    after_outcome,
    revived,
    secret_text,
    signed_headers,
    webhook_secret,
)
from cordillera.spec.event import Topic
from cordillera.spec.event_filter import event_filter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILED = Attempt(500, "The answer was 500.", 0.1)


def waiting() -> EventDelivery:
    return EventDelivery(uuid4(), uuid4(), "s", 1, "t", "a.b", DeliveryState.WAITING, 0, NOW, NOW, None, "")


def test_a_body_is_signed_as_standard_webhooks_says() -> None:
    """By the example that the specification's own libraries are tested with."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}', [secret])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_secrets_are_as_long_as_the_specification_wants_and_all_different() -> None:
    one = uuid4()
    secrets = {webhook_secret(key, of, number) for key in ("a", "b") for of in (one, uuid4()) for number in (1, 2)}
    assert len(secrets) == 8
    assert all(24 <= len(secret) <= 64 for secret in secrets)
    assert secret_text(bytes(24)) == "whsec_" + "A" * 32


@given(
    st.lists(st.floats(0, 1, exclude_max=True), min_size=MOST_ATTEMPTS, max_size=MOST_ATTEMPTS),
    st.one_of(st.none(), st.integers(0, 1_000_000)),
)
def test_failures_are_retried_ever_later_and_then_given_up(luck: list[float], asked: int | None) -> None:
    delivery, now = waiting(), NOW
    retry_after = None if asked is None else timedelta(seconds=asked)
    for number, one in enumerate(luck, 1):
        delivery = after_attempt(delivery, Attempt(503, "no", 0.1, retry_after), now, one)
        assert delivery.attempts == number
        if delivery.state is DeliveryState.DEAD:
            assert number == MOST_ATTEMPTS or now - NOW >= OLDEST
            assert (delivery.due_at, delivery.finished_at) == (None, now)
            return
        assert delivery.due_at is not None
        pause = min(timedelta(seconds=5 * 4 ** (number - 1)), timedelta(hours=4))
        least = min(retry_after or timedelta(), timedelta(hours=4))
        assert max(pause / 2, least) <= delivery.due_at - now <= max(pause, least)
        now = delivery.due_at
    raise AssertionError("it was never given up")


@pytest.mark.parametrize("failure", [Failure.EVENT, Failure.DESTINATION])
def test_what_will_never_be_taken_is_dead_at_once(failure: Failure) -> None:
    dead = after_attempt(waiting(), replace(FAILED, failure=failure), NOW, 0)
    assert (dead.state, dead.attempts, dead.due_at) == (DeliveryState.DEAD, 1, None)


@given(st.lists(st.sampled_from(["taken", *Failure])))
def test_a_destination_does_as_its_last_attempts_say(outcomes: list[str]) -> None:
    destination = Destination(
        uuid4(), DestinationKind.WEBHOOK, {"url": "https://x.example.com/?a=b"}, "", (), (), "user:a", "", NOW
    )
    for number, outcome in enumerate(outcomes):
        attempt = Attempt(200, "", 0.1) if outcome == "taken" else replace(FAILED, failure=Failure(outcome))
        destination = after_outcome(destination, attempt, NOW + timedelta(seconds=number))
    since = len(outcomes) - next((n for n, one in enumerate(reversed(outcomes)) if one == "taken"), len(outcomes))
    bad = outcomes[since:]
    gone = Failure.DESTINATION in bad
    expected = DestinationState.DISABLED if gone else DestinationState.FAILING if bad else DestinationState.HEALTHY
    assert destination.state is expected
    assert destination.failing_since == (NOW + timedelta(seconds=since) if bad else None)
    assert bool(destination.last_error) is bool(bad)
    assert destination.place == "x.example.com"


def test_what_is_taken_is_done_whatever_came_before() -> None:
    tried = after_attempt(after_attempt(waiting(), FAILED, NOW, 0), Attempt(204, "", 0.1), NOW, 0)
    assert (tried.state, tried.attempts, tried.error, tried.due_at) == (DeliveryState.DELIVERED, 2, "", None)


def test_what_is_replayed_begins_anew_under_its_id() -> None:
    old = waiting()
    dead = after_attempt(old, FAILED, NOW + OLDEST, 0)
    assert dead.state is DeliveryState.DEAD
    again = revived(dead, NOW + 2 * OLDEST)
    assert (again.id, again.state, again.attempts) == (old.id, DeliveryState.WAITING, 0)
    assert after_attempt(again, FAILED, NOW + 2 * OLDEST, 0).state is DeliveryState.WAITING


@pytest.mark.parametrize(
    ("within", "dataset", "wanted"),
    [
        ((), "sales.orders", True),
        (("sales",), "sales.orders", True),
        (("sales",), "sales.europe.orders", True),
        (("sales",), "salesforce.orders", False),
        (("sales.orders",), "sales.orders", True),
        (("sales.orders",), "sales.orders_old", False),
        (("sales",), "", False),
        ((), "", True),
    ],
)
def test_names_want_what_is_in_them(within: tuple[str, ...], dataset: str, wanted: bool) -> None:
    assert event_filter((), within).wants(Topic.SCHEMA_CHANGED, dataset) is wanted


def test_topics_want_themselves() -> None:
    wanted = event_filter(["schema.changed", "schema.changed"])
    assert wanted.topics == ("schema.changed",)
    assert wanted.wants(Topic.SCHEMA_CHANGED, "a.b")
    assert not wanted.wants(Topic.RUN_FINISHED, "a.b")


@pytest.mark.parametrize(
    ("topics", "within", "said"),
    [
        (["orders.paid"], [], "orders.paid"),
        ([], ["Sales"], "Sales"),
        ([], ["sales.orders_v2"], "sales.orders_v2"),
        ([], ["a"] * 101, "101"),
    ],
)
def test_filters_that_make_no_sense_are_refused(topics: list[str], within: list[str], said: str) -> None:
    with pytest.raises((InvalidInputError, InvalidNameError), match=said):
        event_filter(topics, within)
