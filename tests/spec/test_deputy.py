"""For whom somebody decides as a deputy, and for whom he does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec import access_request as rules
from cordillera.spec.access import LAKE_ID, THE_LAKE, Privilege, SecurableKind, StandIn, Viewer, parse_securable
from cordillera.spec.access_request import ADMINISTRATORS, AccessRequest, RequestState, RequestStep, Voice
from cordillera.spec.deputy import Deputy, Duty, check_wanted, end_after, parse_duties

NOW, LAST = datetime(2026, 3, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
PEOPLE = ("user:ana", "user:ben", "user:olga", "user:pia")
SALES, ORDERS, PRICES = UUID(int=1), UUID(int=2), UUID(int=3)
WITHIN = {ORDERS: (LAKE_ID, SALES, ORDERS), PRICES: (LAKE_ID, SALES, PRICES), SALES: (LAKE_ID, SALES)}

people, hours = st.sampled_from(PEOPLE), st.integers(-3, 3)
scopes = st.sampled_from([LAKE_ID, SALES, ORDERS])
named = st.tuples(people, people, st.sets(st.sampled_from(list(Duty)), min_size=1), scopes, hours, hours)


def deputy(owner: str, who: str, duties: set[Duty], on: UUID, starts: int, ends: int) -> Deputy:
    kind = {LAKE_ID: SecurableKind.LAKE, SALES: SecurableKind.NAMESPACE}.get(on, SecurableKind.DATASET)
    begins, over = NOW + timedelta(hours=starts), NOW + timedelta(hours=ends)
    return Deputy(UUID(int=9), owner, who, tuple(sorted(duties)), kind, on, "", begins, over, "", owner, NOW)


def viewer(who: str, *deputies: Deputy, duty: Duty = Duty.ACCESS_REQUESTS) -> Viewer:
    found = (one for one in deputies if one.deputy == who and one.acts(duty, NOW))
    owners = (StandIn(one.owner, viewer(one.owner), one.kind, one.securable_id) for one in found)
    return Viewer(frozenset({who}), NOW, frozenset(), (), (), tuple(owners))


@given(st.lists(named, max_size=5), people, people, st.sampled_from([ORDERS, PRICES, SALES]))
def test_a_deputy_decides_for_whoever_named_him_about_what_is_inside_and_another_asks_for(
    wanted: list[tuple[str, str, set[Duty], UUID, int, int]], me: str, asker: str, on: UUID
) -> None:
    mine = viewer(me, *(deputy(*one) for one in wanted))
    expected = set()
    for owner, who, duties, scope, starts, ends in wanted:
        is_his = who == me and Duty.ACCESS_REQUESTS in duties
        is_time = starts <= 0 < ends
        is_inside = scope in (LAKE_ID, SALES) or scope == on == ORDERS
        if is_his and is_time and is_inside and asker not in (me, owner):
            expected.add(owner)
    found = list(mine.standing_in(WITHIN[on], asker))
    assert {one.owner for one in found} == expected
    assert all(not one.viewer.stands_in for one in found), "what an owner is a deputy in leads nowhere"


def asked(*privileges: Privilege) -> AccessRequest:
    wanted, both = privileges or (Privilege.READ,), (ADMINISTRATORS, "group:privacy")
    first = RequestStep(RequestState.REQUESTED, "user:ana", NOW, "report")
    return AccessRequest(
        UUID(int=5), "user:ana", SecurableKind.DATASET, ORDERS, "sales.orders", wanted, "report", 30,
        RequestState.REQUESTED, wanted, 30, both, both, NOW, None, None, (first,),
    )  # fmt: skip


def approve(request: AccessRequest, voice: Voice, *privileges: Privilege) -> AccessRequest:
    needed = (ADMINISTRATORS, "group:privacy")
    return rules.approve(request, rules.Approval(privileges), by="user:ben", voice=voice, needed=needed, at=NOW)


def test_what_a_deputy_approves_says_for_whom() -> None:
    deputed = {ADMINISTRATORS: "user:olga", "group:privacy": "user:pia"}
    both = approve(asked(), Voice(frozenset(), deputed))
    assert both.state is RequestState.APPROVED
    assert (both.steps[-1].by, both.steps[-1].deputy_of) == ("user:ben", ("user:olga", "user:pia"))
    mixed = approve(asked(), Voice(frozenset({"group:privacy"}), {ADMINISTRATORS: "user:olga"}))
    assert mixed.steps[-1].deputy_of == ("user:olga",)
    alone = approve(asked(), Voice(frozenset({ADMINISTRATORS, "group:privacy"})))
    assert alone.steps[-1].deputy_of == ()
    refused = rules.refuse(asked(), by="user:ben", voice=Voice(frozenset(), deputed), at=NOW, reason="no")
    assert refused.steps[-1].deputy_of == ("user:olga", "user:pia")


def test_a_deputy_gives_nobody_administer() -> None:
    request, deputed = asked(Privilege.READ, Privilege.ADMINISTER), {ADMINISTRATORS: "user:olga"}
    with pytest.raises(NotAllowedError, match="which a deputy gives nobody") as failed:
        approve(request, Voice(frozenset(), deputed))
    assert "leave it to user:olga" in failed.value.hint
    half = approve(request, Voice(frozenset({"group:privacy"}), deputed))
    assert (half.waiting_for, half.steps[-1].deputy_of) == ((ADMINISTRATORS,), ()), "for himself he may"
    narrowed = approve(request, Voice(frozenset(), deputed), Privilege.READ)
    assert (narrowed.granted, narrowed.waiting_for) == ((Privilege.READ,), ("group:privacy",))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"deputy": "user:olga"}, "cannot stand in for himself"),
        ({"on": parse_securable("target:files")}, "alone"),
        ({"on": parse_securable("view:sales.open")}, "alone"),
        ({"ends_at": NOW}, "can be a deputy from"),
        ({"starts_at": NOW + timedelta(days=2), "ends_at": NOW + timedelta(days=1)}, "can be a deputy from"),
        ({"ends_at": NOW + timedelta(days=367)}, "can be a deputy from"),
        ({"ends_at": datetime(2026, 3, 9)}, "time zone"),
        ({"starts_at": LAST, "ends_at": LAST}, "can be a deputy from"),
    ],
)
def test_a_deputy_who_would_be_of_no_use_or_never_end_is_refused(change: dict[str, object], problem: str) -> None:
    wanted = {"deputy": "user:ben", "on": THE_LAKE, "starts_at": NOW, "ends_at": NOW + timedelta(days=366), **change}
    with pytest.raises(InvalidInputError, match=problem):
        check_wanted("user:olga", now=NOW, **wanted)  # type: ignore[arg-type]  # cases have values of several types


def test_a_time_that_ends_never_is_refused() -> None:
    assert end_after(NOW, 14) == NOW + timedelta(days=14)
    with pytest.raises(InvalidInputError, match="from 9999-12-31 for 1 days"):
        end_after(LAST, 1)


def test_duties_are_named_once_and_none_means_all() -> None:
    assert parse_duties([]) == tuple(Duty)
    assert parse_duties(["contract_proposals", "contract_proposals"]) == (Duty.CONTRACT_PROPOSALS,)
    with pytest.raises(InvalidInputError, match="no duty 'grants'"):
        parse_duties(["grants"])
