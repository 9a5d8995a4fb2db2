"""The life of a subscription: which state may follow which, whatever order things happen in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, LifecycleError
from cordillera.spec.subscription import (
    DELIVERING,
    ENDED,
    MOST_DAYS,
    Subscription,
    SubscriptionState,
    check_transition,
    expiry,
    may_become,
    parse_copy_at_end,
)
from cordillera.testing.metadata_samples import dataset, dataset_version, subscription

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = list(SubscriptionState)
PEOPLE_STOP = {SubscriptionState.PAUSED, SubscriptionState.REVOKED, SubscriptionState.EXPIRED}
OF = dataset()
ONE = subscription(OF, dataset_version(OF.id))


def moved(one: Subscription, wanted: SubscriptionState) -> Subscription:
    """Return a subscription after a step that is tried, and made where the rules allow it."""
    try:
        check_transition(one, wanted)
    except LifecycleError:
        assert not may_become(one.state, wanted)
        return one
    cursor = 1 if wanted is SubscriptionState.LIVE else one.cursor_sequence
    return replace(one, state=wanted, cursor_sequence=cursor)


@given(st.lists(st.sampled_from(STATES), max_size=40))
def test_whatever_is_tried_ends_are_final_and_nothing_is_delivered_unapproved(tried: list[SubscriptionState]) -> None:
    one = replace(ONE, state=SubscriptionState.REQUESTED)
    path = [one.state]
    for wanted in tried:
        one = moved(one, wanted)
        if path[-1] is not one.state:
            path.append(one.state)
    ended = [state for state in path if state in ENDED]
    assert ended == path[-1:] if path[-1] in ENDED else not ended
    delivering = next((n for n, state in enumerate(path) if state in DELIVERING), None)
    if delivering is not None:
        assert path[delivering] is SubscriptionState.APPROVED
    for before, after in pairwise(path):
        assert before not in PEOPLE_STOP or after in ENDED or before is SubscriptionState.PAUSED
        if before is SubscriptionState.PAUSED:
            assert after in ENDED | {SubscriptionState.APPROVED, SubscriptionState.LIVE}, "a failure wakes nothing"


@given(st.sampled_from(STATES))
def test_every_state_that_is_not_an_end_can_be_revoked_and_expire_and_every_state_is_reached(
    state: SubscriptionState,
) -> None:
    for end in (SubscriptionState.REVOKED, SubscriptionState.EXPIRED):
        assert may_become(state, end) is (state not in ENDED)
    reached, new = {SubscriptionState.REQUESTED}, {SubscriptionState.REQUESTED}
    while new:
        new = {after for before in new for after in STATES if may_become(before, after)} - reached
        reached |= new
    assert state in reached


def test_what_may_follow_is_told() -> None:
    with pytest.raises(LifecycleError, match=r"is first sync and cannot become requested\. Possible: expired, failed"):
        check_transition(replace(ONE, state=SubscriptionState.FIRST_SYNC), SubscriptionState.REQUESTED)
    with pytest.raises(LifecycleError, match=r"expired is final\. Subscribe again"):
        check_transition(replace(ONE, state=SubscriptionState.EXPIRED), SubscriptionState.LIVE)


def test_deliveries_go_on_where_they_were() -> None:
    assert ONE.on_resuming is SubscriptionState.APPROVED
    assert replace(ONE, cursor_sequence=3).on_resuming is SubscriptionState.LIVE


def test_a_time_is_over_to_the_moment() -> None:
    assert expiry(None, NOW) is None
    one = replace(ONE, expires_at=expiry(3, NOW))
    assert not one.is_over(NOW + timedelta(days=3, microseconds=-1))
    assert one.is_over(NOW + timedelta(days=3))
    assert replace(ONE, state=SubscriptionState.REVOKED).is_over(NOW)
    for days in (0, -1, MOST_DAYS + 1):
        with pytest.raises(InvalidInputError):
            expiry(days, NOW)
    with pytest.raises(InvalidInputError, match="burn"):
        parse_copy_at_end("burn")
