"""What every lake must do, embedded or behind a server, as tests: grants, roles, policy tags. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    AccessRequestNotFoundError,
    AlreadyExistsError,
    DatasetNotFoundError,
    InvalidExpressionError,
    InvalidInputError,
    InvalidNameError,
    NamespaceNotFoundError,
    NotAllowedError,
    NotFoundError,
    UnknownColumnError,
)
from cordillera.spec.access_request import Approval
from cordillera.spec.deputy import Duty, WantedDeputy
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.backend_suite import LakeSuite, make_orders


def _somebody(kind: str = "user") -> str:
    return f"{kind}:{uuid4().hex[:12]}"


class AccessSuite(LakeSuite):
    """Who may do what. The backend is that of somebody who administers the lake."""

    def test_a_grant_is_given_renewed_and_taken_back(self, backend: LakeBackend, namespace: str) -> None:
        name, ana = make_orders(backend, namespace), _somebody()
        end = datetime.now(UTC) + timedelta(days=1)
        given = backend.grant(WantedGrant(ana, "read", name, expires_at=end, reason="report"))
        assert (given.principal, given.privilege, given.on) == (ana, "read", f"dataset:{name}")
        assert (given.expires_at, given.reason, given.grant_option) == (end, "report", False)
        renewed = backend.grant(WantedGrant(ana, "read", name, grant_option=True))
        assert (renewed.id, renewed.expires_at, renewed.grant_option) == (given.id, None, True)
        assert backend.grants(on=name) == [renewed]
        assert backend.grants(principal=ana) == [renewed]
        backend.revoke(ana, "read", name)
        assert backend.grants(principal=ana) == []
        with pytest.raises(NotFoundError, match=f"{ana} has no grant of read"):
            backend.revoke(ana, "read", name)

    def test_grants_follow_a_rename(self, backend: LakeBackend, namespace: str) -> None:
        name, ana = make_orders(backend, namespace), _somebody()
        backend.grant(WantedGrant(ana, "write", name))
        backend.rename_dataset(name, f"{namespace}.bought")
        assert [one.on for one in backend.grants(principal=ana)] == [f"dataset:{namespace}.bought"]
        assert backend.explain_access(ana, "write", f"{namespace}.bought").allowed

    def test_grants_come_in_pages(self, backend: LakeBackend, namespace: str) -> None:
        ana, found = _somebody(), []
        for privilege in ("discover", "read", "write"):
            backend.grant(WantedGrant(ana, privilege, f"namespace:{namespace}"))
        after = None
        while page := backend.grants(principal=ana, after=after, limit=2):
            found += page
            after = page[-1].id
        assert sorted(one.privilege for one in found) == ["discover", "read", "write"]

    @pytest.mark.parametrize(
        ("principal", "privilege", "on", "tags", "error"),
        [
            ("user:", "read", "lake", "", InvalidInputError),
            ("user:a b\n", "read", "lake", "", InvalidInputError),
            ("user:a", "own", "lake", "", InvalidInputError),
            ("user:a", "read", "table:x", "", InvalidNameError),
            ("user:a", "read", "somewhere", "", InvalidNameError),
            ("user:a", "read", "namespace:nowhere", "", NamespaceNotFoundError),
            ("user:a", "read", "nowhere.nothing", "", DatasetNotFoundError),
            ("user:a", "read", "lake", "level is", InvalidExpressionError),
            ("user:a", "read", "lake", "level = low or", InvalidExpressionError),
            ("user:a", "read", "lake", "(" * 60, InvalidExpressionError),
        ],
    )
    def test_what_cannot_be_granted(
        self, backend: LakeBackend, principal: str, privilege: str, on: str, tags: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            backend.grant(WantedGrant(principal, privilege, on, tags=tags))

    def test_a_grant_ends_in_time_to_come(self, backend: LakeBackend, namespace: str) -> None:
        with pytest.raises(InvalidInputError, match="cannot end at"):
            backend.grant(
                WantedGrant("user:a", "read", f"namespace:{namespace}", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
            )

    def test_nothing_is_created_in_a_dataset(self, backend: LakeBackend, namespace: str) -> None:
        with pytest.raises(InvalidInputError, match="Nothing is created in"):
            backend.grant(WantedGrant("user:a", "create", make_orders(backend, namespace)))

    def test_roles_have_members(self, backend: LakeBackend, namespace: str) -> None:
        role, group, ana = _somebody("role"), _somebody("group"), _somebody()
        backend.add_member(role, group)
        backend.add_member(group, ana)
        assert [one.member for one in backend.members(group)] == [ana]
        assert role in backend.roles(limit=1000)
        name = make_orders(backend, namespace)
        backend.grant(WantedGrant(role, "read", name))
        found = backend.explain_access(ana, "read", name)
        assert (found.allowed, found.reasons[0].via) == (True, (ana, group, role))
        backend.remove_member(group, ana)
        assert not backend.explain_access(ana, "read", name).allowed
        with pytest.raises(NotFoundError, match=f"{ana} is not in {group}"):
            backend.remove_member(group, ana)

    def test_somebody_is_in_a_role_for_a_time(self, backend: LakeBackend) -> None:
        role, ana, end = _somebody("role"), _somebody(), datetime.now(UTC) + timedelta(days=1)
        made = backend.add_member(role, ana, expires_at=end)
        assert (made.expires_at, [one.expires_at for one in backend.members(role)]) == (end, [end])
        backend.add_member(role, ana)
        assert [one.expires_at for one in backend.members(role)] == [None]
        with pytest.raises(InvalidInputError, match="Nobody is in"):
            backend.add_member(role, ana, expires_at=datetime(2020, 1, 1, tzinfo=UTC))

    def test_nothing_is_in_itself(self, backend: LakeBackend) -> None:
        one, two, three = (_somebody("role") for _ in range(3))
        backend.add_member(one, two)
        backend.add_member(two, three)
        for container, member in ((one, one), (two, one), (three, one)):
            with pytest.raises(NotAllowedError, match="is in"):
                backend.add_member(container, member)
        with pytest.raises(InvalidInputError, match="can have no members"):
            backend.add_member("user:a", one)

    def test_tags_decide(self, backend: LakeBackend, namespace: str) -> None:
        name, ana = make_orders(backend, namespace), _somebody()
        backend.grant(
            WantedGrant(
                ana, "read", f"namespace:{namespace}", tags="level in (public, 'in house') and not domain = 'hr'"
            )
        )
        assert not backend.explain_access(ana, "read", name).allowed
        backend.set_policy_tag(f"namespace:{namespace}", "level", "in house")
        assert backend.explain_access(ana, "read", name).allowed
        backend.set_policy_tag(name, "domain", "hr")
        refused = backend.explain_access(ana, "read", name)
        assert (refused.allowed, refused.tags) == (False, {"level": "in house", "domain": "hr"})
        assert "do not fulfil" in refused.reasons[0].note
        assert [(one.on, one.name, one.value) for one in backend.policy_tags(name)] == [
            (f"namespace:{namespace}", "level", "in house"),
            (f"dataset:{name}", "domain", "hr"),
        ]
        backend.remove_policy_tag(name, "domain")
        assert backend.explain_access(ana, "read", name).allowed
        backend.revoke(ana, "read", f"namespace:{namespace}", tags="level in ('in house', public) and not domain = hr")
        assert not backend.explain_access(ana, "read", name).allowed

    def test_columns_are_tagged(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace)
        backend.set_policy_tag(name, "level", "personal", column="note")
        assert [(one.column, one.value) for one in backend.policy_tags(name)] == [("note", "personal")]
        assert backend.explain_access("user:a", "read", name).tags == {}
        with pytest.raises(UnknownColumnError, match="no column 'price'"):
            backend.set_policy_tag(name, "level", "personal", column="price")
        with pytest.raises(NotFoundError, match="no policy tag 'level' of its own"):
            backend.remove_policy_tag(name, "level")
        with pytest.raises(InvalidInputError, match="can have no policy tags"):
            backend.set_policy_tag("lake", "level", "x")

    def test_who_has_access_and_why(self, backend: LakeBackend, namespace: str) -> None:
        name, ana, ben = make_orders(backend, namespace), _somebody(), _somebody()
        backend.grant(WantedGrant(ana, "read", f"namespace:{namespace}"))
        backend.grant(WantedGrant(ben, "administer", name))
        assert {(one.principal, one.on) for one in backend.holders(name, limit=1000)} >= {
            (ana, f"namespace:{namespace}"),
            (ben, f"dataset:{name}"),
        }
        nearly = backend.explain_access(ana, "write", name)
        assert (nearly.allowed, nearly.reasons[0].note) == (False, "read does not include write")
        backend.update_dataset(name, owner=ana)
        owned = backend.explain_access(ana, "write", name)
        assert (owned.allowed, owned.reasons[0].note, owned.reasons[0].holds) == (True, "owns it", True)

    def test_access_is_asked_for_and_withdrawn(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace)
        made = backend.request_access(name, ["write", "read"], purpose="report", days=30)
        assert (made.on, made.privileges, made.days) == (f"dataset:{name}", ("read", "write"), 30)
        assert (made.state, made.waiting_for) == ("requested", ("administrators",))
        assert backend.access_request(made.id) == made
        assert backend.access_requests(on=name) == [made]
        assert backend.access_requests(on=name, state="approved") == []
        with pytest.raises(AlreadyExistsError, match="waits for an answer"):
            backend.request_access(name, ["read"], purpose="again", days=1)
        with pytest.raises(NotAllowedError, match="Nobody approves his own request"):
            backend.approve_access(made.id, Approval(privileges=("read",), days=3, reason="x"))
        with pytest.raises(NotAllowedError, match="Nobody decides about his own"):
            backend.refuse_access(made.id, "no")
        gone = backend.withdraw_access_request(made.id, "not needed")
        assert (gone.state, gone.steps[-1].reason, gone.waiting_for) == ("withdrawn", "not needed", ())
        assert backend.access_requests(on=name, state="withdrawn", requester=made.requester) == [gone]

    def test_requests_come_in_pages(self, backend: LakeBackend, namespace: str) -> None:
        asked = [f"namespace:{namespace}", *(make_orders(backend, namespace, name=one) for one in ("a", "b"))]
        made = [backend.request_access(on, ["read"], purpose=namespace, days=1) for on in asked]
        found = [one.id for one in backend.access_requests(limit=1000) if one.purpose == namespace]
        assert found == [one.id for one in reversed(made)]
        behind = backend.access_requests(before=made[2].id, limit=1)
        assert [one.id for one in behind] == [made[1].id]

    @pytest.mark.parametrize(
        ("on", "privileges", "purpose", "days", "error"),
        [
            ("nowhere.nothing", ["read"], "x", 1, DatasetNotFoundError),
            ("lake", [], "x", 1, InvalidInputError),
            ("lake", ["own"], "x", 1, InvalidInputError),
            ("lake", ["read"], "", 1, InvalidInputError),
            ("lake", ["read"], "x", 0, InvalidInputError),
        ],
    )
    def test_what_cannot_be_asked_for(
        self, backend: LakeBackend, on: str, privileges: list[str], purpose: str, days: int, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            backend.request_access(on, privileges, purpose=purpose, days=days)

    def test_what_is_not_asked_cannot_be_answered(self, backend: LakeBackend) -> None:
        answers: list[Callable[[], object]] = [
            lambda: backend.access_request(uuid4()),
            lambda: backend.approve_access(uuid4()),
            lambda: backend.refuse_access(uuid4(), "no"),
            lambda: backend.withdraw_access_request(uuid4()),
        ]
        for answer in answers:
            with pytest.raises(AccessRequestNotFoundError, match="no access request"):
                answer()

    def test_tags_name_who_has_to_approve(self, backend: LakeBackend, namespace: str) -> None:
        name, group = make_orders(backend, namespace), _somebody("group")
        made = backend.add_approver(f"space in ('{namespace}')", group)
        assert (made.tag_expression, made.approver) == (f"space = '{namespace}'", group)
        assert made in backend.approvers()
        backend.set_policy_tag(name, "space", namespace)
        assert backend.request_access(name, ["read"], purpose="x", days=1).approvers == ("administrators", group)
        backend.remove_approver(f"space = '{namespace}'", group)
        assert made not in backend.approvers()
        with pytest.raises(NotFoundError, match="does not have to approve"):
            backend.remove_approver(f"space = '{namespace}'", group)
        with pytest.raises(InvalidExpressionError):
            backend.add_approver("space is", group)

    def test_deputies_are_named_and_ended(self, backend: LakeBackend, namespace: str) -> None:
        name, (owner, deputy) = make_orders(backend, namespace), (_somebody(), _somebody())
        ends_at = datetime.now(UTC) + timedelta(days=9)
        wanted = WantedDeputy(deputy, ends_at, owner, (Duty.ACCESS_REQUESTS,), name, reason="on leave")
        made = backend.add_deputy(wanted)
        assert (made.owner, made.deputy, made.duties, made.on) == (owner, deputy, wanted.duties, f"dataset:{name}")
        assert (made.ends_at, made.reason) == (ends_at, "on leave")
        assert backend.deputies(owner=owner) == backend.deputies(deputy=deputy) == [made]
        ended = backend.end_deputy(made.id)
        assert backend.deputies(owner=owner) == [ended]
        assert ended.ends_at < ends_at
        for problem, refused in ((NotAllowedError, made.id), (NotFoundError, uuid4())):
            with pytest.raises(problem):
                backend.end_deputy(refused)
        with pytest.raises(InvalidInputError, match="cannot stand in for himself"):
            backend.add_deputy(replace(wanted, deputy=owner))

    def test_a_grant_shows_rows_and_masks_columns(self, backend: LakeBackend, namespace: str) -> None:
        name, ana = make_orders(backend, namespace), _somebody()
        masks, by_tags = {"note": "hash", "id": "null"}, {"level in ('high', 'low')": "hidden"}
        given = backend.grant(WantedGrant(ana, "read", name, row_filter="id > 1", masks=masks, tag_masks=by_tags))
        assert (given.row_filter, given.masks, given.tag_masks) == ("id > 1", masks, by_tags)
        assert backend.grants(principal=ana) == [given]
        found = backend.explain_access(ana, "read", name)
        assert (found.allowed, found.narrowed) == (True, True)
        assert (found.reasons[0].row_filter, found.reasons[0].masks) == ("id > 1", masks)
        renewed = backend.grant(WantedGrant(ana, "read", name))
        assert (renewed.id, renewed.row_filter, renewed.masks, renewed.tag_masks) == (given.id, "", {}, {})
        assert not backend.explain_access(ana, "read", name).narrowed

    def test_filters_and_masks_that_could_not_be_followed_are_refused(
        self, backend: LakeBackend, namespace: str
    ) -> None:
        name, ana = make_orders(backend, namespace), _somebody()
        with pytest.raises(UnknownColumnError, match="no column 'price'"):
            backend.grant(WantedGrant(ana, "read", name, masks={"price": "null"}))
        with pytest.raises(UnknownColumnError, match="'price', which does not exist"):
            backend.grant(WantedGrant(ana, "read", name, row_filter="price > 1"))
        with pytest.raises(InvalidExpressionError, match="cannot be read"):
            backend.grant(WantedGrant(ana, "read", name, row_filter="id >"))
        with pytest.raises(InvalidExpressionError, match="contains"):
            backend.grant(WantedGrant(ana, "read", name, row_filter="id IN (SELECT 1)"))
        with pytest.raises(InvalidInputError, match="There is no mask 'blur'"):
            backend.grant(WantedGrant(ana, "read", name, masks={"note": "blur"}))
        with pytest.raises(InvalidInputError, match="cannot be masked by last4"):
            backend.grant(WantedGrant(ana, "read", name, masks={"id": "last4"}))
        with pytest.raises(InvalidInputError, match="has no row filter and no masks"):
            backend.grant(WantedGrant(ana, "write", name, masks={"note": "null"}))
        with pytest.raises(InvalidInputError, match="cannot be granted on"):
            backend.grant(WantedGrant(ana, "read", name, masks={"note": "null"}, grant_option=True))
        with pytest.raises(InvalidInputError, match="has no columns that"):
            backend.grant(WantedGrant(ana, "read", f"namespace:{namespace}", row_filter="id > 1"))
        assert backend.grant(
            WantedGrant(ana, "read", f"namespace:{namespace}", tag_masks={"level = high": "null"})
        ).tag_masks
        with pytest.raises(InvalidInputError, match="Masks come with the policy tags of columns"):
            backend.set_policy_tag(name, "level", "high", mask="null")
        assert backend.set_policy_tag(name, "level", "high", column="note", mask="null").mask == "null"
