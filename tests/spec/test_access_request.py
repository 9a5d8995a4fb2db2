"""How a request comes to an end, and who has to approve it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec import access_request as rules
from cordillera.spec.access import Privilege, SecurableKind
from cordillera.spec.access_request import ADMINISTRATORS, AccessRequest, RequestState, RequestStep, Voice

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ANA = "user:ana"
ASKED = (Privilege.READ, Privilege.WRITE, Privilege.EXTERNAL_USE)
OWNER = Voice(frozenset({ADMINISTRATORS}))
APPROVERS = (ADMINISTRATORS, "group:privacy", "group:legal")
FINAL = {RequestState.REFUSED, RequestState.WITHDRAWN, RequestState.EXPIRED, RequestState.REVOKED}


def open_request(*approvers: str, days: int = 30) -> AccessRequest:
    first = RequestStep(RequestState.REQUESTED, ANA, NOW, "report")
    needed = approvers or (ADMINISTRATORS,)
    return AccessRequest(
        UUID(int=1), ANA, SecurableKind.DATASET, UUID(int=2), "sales.orders", ASKED, "report", days,
        RequestState.REQUESTED, ASKED, days, needed, needed, NOW, None, None, (first,),
    )  # fmt: skip


def approved(days: int = 30) -> AccessRequest:
    request = open_request(days=days)
    return rules.approve(request, by="user:own", voice=OWNER, needed=[ADMINISTRATORS], at=NOW)


speaking = st.sets(st.sampled_from(APPROVERS))
approvals = st.tuples(
    st.sampled_from(["user:own", "user:eve", ANA]),
    speaking,
    st.sets(st.sampled_from(list(Privilege))),
    st.one_of(st.none(), st.integers(-1, 60)),
)


@given(speaking, st.lists(approvals, max_size=6))
def test_it_is_approved_when_everybody_who_has_to_has_approved_and_never_for_more_than_was_asked(
    needed: set[str], steps: list[tuple[str, set[str], set[Privilege], int | None]]
) -> None:
    request, given_by = open_request(*sorted(needed | {ADMINISTRATORS})), set()
    needed = needed | {ADMINISTRATORS}
    for at, (by, speaks_for, privileges, days) in enumerate(steps, 1):
        before = request
        with suppress(NotAllowedError, InvalidInputError):
            moment = NOW + timedelta(hours=at)
            request = rules.approve(
                request,
                rules.Approval(tuple(privileges), days),
                by=by,
                voice=Voice(frozenset(speaks_for)),
                needed=needed,
                at=moment,
            )
            given_by |= speaks_for & needed
            assert by != ANA
        assert (request.state is RequestState.APPROVED) == (given_by >= needed)
        assert set(request.waiting_for) == needed - given_by or before.state is RequestState.APPROVED
        assert set(request.granted) <= set(before.granted) <= set(ASKED)
        assert 1 <= request.granted_days <= before.granted_days <= 30
    if request.state is RequestState.APPROVED:
        ended = request.steps[-1].at + timedelta(days=request.granted_days)
        assert (request.expires_at, request.steps[0].by) == (ended, ANA)
        assert request.due_at is not None
        assert request.steps[-1].at < request.due_at < ended
        assert {name for step in request.steps for name in step.approves} == needed
    else:
        assert (request.expires_at, request.due_at) == (None, None)


@given(st.lists(st.sampled_from(list(RequestState)), max_size=6))
def test_what_has_ended_stays_so(states: list[RequestState]) -> None:
    request = open_request()
    for state in states:
        before = request
        with suppress(NotAllowedError):
            request = rules.moved(request, state, "user:own", NOW, "x")
            assert before.state not in FINAL
            assert len(request.steps) == len(before.steps) + 1
        if before.state in FINAL:
            assert request == before
        if before.state is RequestState.REQUESTED:
            assert request.state not in (RequestState.EXPIRED, RequestState.REVOKED)


def test_nobody_decides_about_his_own() -> None:
    with pytest.raises(NotAllowedError, match="Nobody approves his own request"):
        rules.approve(open_request(), by=ANA, voice=Voice(frozenset(APPROVERS)), needed=[ADMINISTRATORS], at=NOW)
    with pytest.raises(NotAllowedError, match="Withdraw it"):
        rules.refuse(open_request(), by=ANA, voice=OWNER, at=NOW, reason="no")


def test_who_has_approved_waits_for_the_others() -> None:
    needed = [ADMINISTRATORS, "group:privacy"]
    half = rules.approve(open_request(), by="user:own", voice=OWNER, needed=needed, at=NOW)
    assert (half.state, half.waiting_for) == (RequestState.REQUESTED, ("group:privacy",))
    with pytest.raises(NotAllowedError, match="approved on your side already"):
        rules.approve(half, by="user:own", voice=OWNER, needed=needed, at=NOW)
    # The rule is gone: whoever approves now finds that nobody is left to wait for.
    whole = rules.approve(half, by="user:own", voice=OWNER, needed=[ADMINISTRATORS], at=NOW)
    assert (whole.state, whole.approvers) == (RequestState.APPROVED, (ADMINISTRATORS,))


def test_a_rule_that_came_later_counts() -> None:
    needed = [ADMINISTRATORS, "group:legal"]
    half = rules.approve(open_request(), by="user:own", voice=OWNER, needed=needed, at=NOW)
    assert (half.state, half.waiting_for) == (RequestState.REQUESTED, ("group:legal",))


@pytest.mark.parametrize("days", [1, 7, 30, 3650])
def test_time_brings_a_reminder_and_the_end(days: int) -> None:
    request = approved(days)
    ends = NOW + timedelta(days=days)
    assert request.due_at == ends - min(timedelta(days=7), timedelta(days=days) / 4)
    assert not rules.ends_soon(request, NOW)
    assert rules.ends_soon(request, request.due_at)
    reminded = rules.looked_at(request, gone=False, by="worker", now=request.due_at)
    assert (reminded.state, reminded.due_at) == (RequestState.APPROVED, ends)
    assert rules.as_of(reminded, ends - timedelta(seconds=1)).state is RequestState.APPROVED
    assert rules.as_of(reminded, ends).state is RequestState.EXPIRED
    assert not rules.ends_soon(reminded, ends)
    over = rules.looked_at(reminded, gone=True, by="worker", now=ends)
    assert (over.state, over.due_at) == (RequestState.EXPIRED, None)


@pytest.mark.parametrize(
    ("request_", "state"), [(open_request(), RequestState.REFUSED), (approved(), RequestState.REVOKED)]
)
def test_what_it_was_for_can_be_gone(request_: AccessRequest, state: RequestState) -> None:
    over = rules.looked_at(request_, gone=True, by="worker", now=NOW)
    assert (over.state, over.steps[-1].reason) == (state, "dataset:sales.orders was deleted")


def test_it_is_revoked_with_the_last_privilege() -> None:
    request = approved()
    for left in (2, 1):
        request = rules.revoked(request, request.granted[0], "user:own", NOW, "misuse")
        assert (request.state, len(request.granted)) == (RequestState.APPROVED, left)
    request = rules.revoked(request, request.granted[0], "user:own", NOW, "misuse")
    assert (request.state, request.due_at, request.steps[-1].reason) == (RequestState.REVOKED, None, "misuse")


@pytest.mark.parametrize(("privileges", "days"), [((Privilege.ADMINISTER,), None), ((), 31), ((), 0)])
def test_nobody_gives_more_than_was_asked(privileges: tuple[Privilege, ...], days: int | None) -> None:
    with pytest.raises(InvalidInputError):
        rules.approve(
            open_request(), rules.Approval(tuple(privileges), days),
            by="user:own", voice=OWNER, needed=[ADMINISTRATORS], at=NOW,
        )  # fmt: skip


def test_what_cannot_be_asked() -> None:
    with pytest.raises(InvalidInputError, match="No privilege"):
        rules.in_order([])
    with pytest.raises(InvalidInputError, match="asleep"):
        rules.parse_state("asleep")
    assert rules.in_order([Privilege.WRITE, Privilege.READ, Privilege.WRITE]) == (Privilege.READ, Privilege.WRITE)
