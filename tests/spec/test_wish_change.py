"""What of a change is more than there was, and what it does to the copy."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, LifecycleError, NotAllowedError
from cordillera.spec.subscription import Subscription, SubscriptionMode, SubscriptionState
from cordillera.spec.wish_change import WishChange, comes_anew, in_words, widened
from cordillera.testing.metadata_samples import dataset, dataset_version, subscription

ORDERS = dataset()
MADE = replace(
    subscription(ORDERS, dataset_version(ORDERS.id)), state=SubscriptionState.LIVE, columns=("a", "b"), row_filter=""
)
COLUMNS = st.sets(st.sampled_from("abcd")).map(lambda names: tuple(sorted(names)))
FILTERS = st.sampled_from(["", "a > 1", "a > 2"])


def passing(one: Subscription) -> set[tuple[int, str]]:
    """The cells that a subscription brings, of rows a = 1, 2, 3."""
    least = int(one.row_filter[-1]) if one.row_filter else 0
    return {(a, name) for a in (1, 2, 3) if a > least for name in one.columns or "abcd"}


@given(COLUMNS, FILTERS, COLUMNS, FILTERS)
def test_nothing_is_brought_in_addition_unless_it_is_told(
    columns: tuple[str, ...], rows: str, wanted: tuple[str, ...], other: str
) -> None:
    before = replace(MADE, columns=columns, row_filter=rows)
    after = WishChange(columns=wanted, row_filter=other).applied_to(before)
    if not widened(before, after):
        assert passing(after) <= passing(before)
    assert comes_anew(before, after) == (before != after) == bool(in_words(before, after))


def test_what_is_not_given_stays() -> None:
    assert WishChange().applied_to(MADE) == MADE
    after = WishChange(trigger=" completion ", cost_owner="team:x").applied_to(MADE)
    assert (after.trigger, after.cost_owner, after.columns) == ("completion", "team:x", ("a", "b"))
    assert not comes_anew(MADE, after)
    assert widened(MADE, after) == ()
    assert in_words(MADE, after) == "trigger commit → completion; cost owner team:bi → team:x"


def test_what_cannot_be_changed_is_refused() -> None:
    log = replace(MADE, mode=SubscriptionMode.LOG)
    with pytest.raises(NotAllowedError, match="cannot go on with others"):
        WishChange(columns=("a",)).applied_to(log)
    assert WishChange(mode="mirror", columns=("a",)).applied_to(log).columns == ("a",)
    with pytest.raises(NotAllowedError, match="equals no snapshot"):
        WishChange(mode="log").applied_to(replace(MADE, verify_every_seconds=3600))
    for state in (SubscriptionState.REQUESTED, SubscriptionState.REVOKED):
        with pytest.raises(LifecycleError, match="cannot be changed"):
            WishChange(trigger="commit").applied_to(replace(MADE, state=state, id=UUID(int=1)))
    with pytest.raises(InvalidInputError):
        WishChange(mode="diary").applied_to(MADE)
