"""Asking for access: who is asked, who decides, and what follows."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.access.authorizer import GrantAuthorizer
from cordillera.access.narrowing import Narrowing
from cordillera.access.requests import AccessRequestService
from cordillera.access.securables import Securables
from cordillera.app import Application, create_lake, open_lake
from cordillera.catalog.lookup import Lookup
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import (
    AccessDeniedError,
    AccessRequestNotFoundError,
    AlreadyExistsError,
    CordilleraError,
    DatasetNotFoundError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    UnknownColumnError,
    ViewNotFoundError,
)
from cordillera.ports.clock import SystemClock
from cordillera.ports.metadata import MetadataStore
from cordillera.server import create_server
from cordillera.spec.access import Privilege, Securable, SecurableKind, parse_securable
from cordillera.spec.access_request import AccessRequest, Approval, RequestState
from cordillera.spec.event import Topic
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.metadata_samples import add_dataset
from cordillera.worker import Worker
from tests.conftest import MovableClock

OWNER, ANA, BOB, PIA, ADMIN = "user:owner", "user:ana", "user:bob", "user:pia", "user:admin"
ORDERS, SALES = parse_securable("sales.orders"), parse_securable("namespace:sales")


@pytest.fixture
def app(tmp_path: Path, clock: MovableClock) -> Iterator[Application]:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales", owner=OWNER)
        for name in ("orders", "prices"):
            lake.create_dataset(f"sales.{name}", {"id": pa.int64()}, key=["id"]).write([{"id": 1}], "upsert")
        lake.create_view("sales.open", "SELECT id FROM sales.orders")
        lake.create_target("files", "duckdb", path=str(tmp_path / "t.db"))
        lake.grant(OWNER, "administer", "target:files")
        for on in ("sales.orders", "view:sales.open", "target:files"):
            lake.grant(ANA, "discover", on)
        lake.add_member("group:privacy", PIA)
        yield app


def lake_of(app: Application) -> Lake:
    return Lake(LocalBackend(app))


def ask(
    app: Application, *privileges: Privilege, by: str = ANA, on: str = "sales.orders", days: int = 30
) -> AccessRequest:
    with acting(by):
        return app.access_requests.request(
            parse_securable(on), privileges or (Privilege.READ,), purpose="weekly report", days=days
        )


def may_read(app: Application, principal: str = ANA) -> bool:
    with acting(principal):
        try:
            lake_of(app).dataset("sales.orders").scan().to_arrow()
        except (AccessDeniedError, DatasetNotFoundError):
            return False
        return True


def grants_of(app: Application, principal: str = ANA) -> dict[Privilege, object]:
    return {one.privilege: one.expires_at for one in app.grants.page(principal=principal, on=ORDERS)}


def waiting_for(app: Application, principal: str) -> list[AccessRequest]:
    with acting(principal):
        return app.access_requests.page(waiting=True)


def test_who_asks_gets_what_the_owner_approves_for_as_long_as_it_was_asked(
    app: Application, clock: MovableClock
) -> None:
    made = ask(app, Privilege.READ, Privilege.EXTERNAL_USE)
    assert (made.state, made.waiting_for, may_read(app)) == (RequestState.REQUESTED, ("administrators",), False)
    assert [one.id for one in waiting_for(app, OWNER)] == [made.id]
    assert waiting_for(app, ANA) == waiting_for(app, BOB) == []
    with acting(OWNER):
        done = app.access_requests.approve(made.id, Approval(reason="fine"))
    assert (done.state, done.granted_days) == (RequestState.APPROVED, 30)
    ends = done.steps[-1].at + timedelta(days=30)
    assert done.expires_at == ends
    assert grants_of(app) == {Privilege.DISCOVER: None, Privilege.READ: ends, Privilege.EXTERNAL_USE: ends}
    [given] = [one for one in app.grants.page(principal=ANA) if one.privilege is Privilege.READ]
    assert (given.granted_by, given.reason) == (OWNER, "weekly report")
    assert may_read(app)
    assert waiting_for(app, OWNER) == []
    with acting(ANA):
        mine = app.access_requests.get(made.id)
    assert [(step.state, step.by, step.reason) for step in mine.steps] == [
        (RequestState.REQUESTED, ANA, "weekly report"),
        (RequestState.APPROVED, OWNER, "fine"),
    ]


def test_an_approver_narrows(app: Application) -> None:
    made = ask(app, Privilege.READ, Privilege.WRITE)
    with acting(OWNER):
        with pytest.raises(InvalidInputError, match="administer is not what is left"):
            app.access_requests.approve(made.id, Approval(privileges=(Privilege.ADMINISTER,)))
        done = app.access_requests.approve(made.id, Approval(privileges=(Privilege.READ,), days=7))
    assert (done.privileges, done.granted, done.days, done.granted_days) == (
        (Privilege.READ, Privilege.WRITE), (Privilege.READ,), 30, 7,
    )  # fmt: skip
    assert set(grants_of(app)) == {Privilege.DISCOVER, Privilege.READ}
    assert done.expires_at == done.steps[-1].at + timedelta(days=7)


def test_approvers_narrow_rows_and_columns(app: Application) -> None:
    lake = lake_of(app)
    lake.create_dataset("sales.people", {"id": pa.int64(), "email": pa.string(), "region": pa.string()}).write(
        [{"id": n, "email": f"{n}@x.example", "region": region} for n, region in enumerate(("EU", "EU", "US"))]
    )
    people = parse_securable("sales.people")
    app.grants.grant(WantedGrant(ANA, Privilege.DISCOVER, str(people)))
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.policy_tags.set(people, "sensitivity", "pii")
    made = ask(app, Privilege.READ, Privilege.WRITE, on="sales.people")
    with acting(PIA):
        for wrong in ({"row_filter": "price > 1"}, {"masks": {"x": "hash"}}):
            with pytest.raises(UnknownColumnError):
                app.access_requests.approve(made.id, Approval(**wrong))
        with pytest.raises(InvalidInputError, match="gives no read"):
            app.access_requests.approve(made.id, Approval(privileges=(Privilege.WRITE,), row_filter="id > 1"))
        app.access_requests.approve(made.id, Approval(masks={"email": "null"}, row_filter="region = 'EU'"))
    with acting(OWNER):
        with pytest.raises(InvalidInputError, match="email is masked by null already"):
            app.access_requests.approve(made.id, Approval(masks={"email": "clear"}))
        done = app.access_requests.approve(made.id, Approval(row_filter="id > 0 OR id < 0"))
    assert (done.row_filter, done.masks) == ("(region = 'EU') AND (id > 0 OR id < 0)", {"email": "null"})
    with acting(ANA):
        assert lake.dataset("sales.people").scan().to_arrow().to_pylist() == [{"id": 1, "email": None, "region": "EU"}]
    given = {one.privilege: one for one in app.grants.page(principal=ANA, on=people)}
    assert given[Privilege.READ].narrowed
    assert not given[Privilege.WRITE].narrowed
    again = ask(app, on="sales.people", days=60)
    with acting(PIA):
        app.access_requests.approve(again.id)
    with acting(OWNER), pytest.raises(NotAllowedError, match="some rows and columns only"):
        app.access_requests.approve(again.id)
    with acting(ANA):  # what nobody has decided to show is not shown, nor called approved
        assert lake.dataset("sales.people").scan().to_arrow().num_rows == 1
        assert app.access_requests.get(again.id).state is RequestState.REQUESTED
    with acting(OWNER):
        app.grants.revoke(ANA, Privilege.READ, people)
        app.access_requests.approve(again.id)
    with acting(ANA):
        assert lake.dataset("sales.people").scan().to_arrow().num_rows == 3


@pytest.mark.parametrize(("row_filter", "days"), [("id > 1", 5), ("id > 1", 60), ("id > 0", 5), ("id > 0", 60)])
def test_an_approval_keeps_what_rows_are_shown_or_says_that_it_cannot(
    app: Application, row_filter: str, days: int
) -> None:
    orders = parse_securable("sales.orders")
    ends = app.clock.now() + timedelta(days=30)
    app.grants.grant(WantedGrant(ANA, Privilege.READ, str(orders), expires_at=ends, row_filter="id > 0"))
    made = ask(app, days=days)
    with acting(OWNER):
        if row_filter != "id > 0" and days < 30:
            with pytest.raises(NotAllowedError, match="others than this approval"):
                app.access_requests.approve(made.id, Approval(row_filter=row_filter))
            row_filter = "id > 0"
        else:
            app.access_requests.approve(made.id, Approval(row_filter=row_filter))
    (grant,) = [one for one in app.grants.page(principal=ANA, on=orders) if one.privilege is Privilege.READ]
    assert grant.row_filter == row_filter
    assert (grant.expires_at == ends) is (days < 30)


def test_everybody_whom_the_tags_name_has_to_approve(app: Application) -> None:
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.policy_tags.set(SALES, "sensitivity", "pii")
    app.policy_tags.set(parse_securable("sales.prices"), "sensitivity", "none")
    made = ask(app, days=90)
    assert made.approvers == made.waiting_for == ("administrators", "group:privacy")
    with acting(PIA):
        half = app.access_requests.approve(made.id, Approval(days=14, reason="pseudonyms only"))
        with pytest.raises(NotAllowedError, match="on your side already"):
            app.access_requests.approve(made.id)
    assert (half.state, half.waiting_for, may_read(app)) == (RequestState.REQUESTED, ("administrators",), False)
    assert (waiting_for(app, PIA), len(waiting_for(app, OWNER))) == ([], 1)
    with acting(OWNER):
        done = app.access_requests.approve(made.id)
    assert (done.state, done.granted_days, may_read(app)) == (RequestState.APPROVED, 14, True)
    with acting(PIA):
        assert [one.id for one in app.access_requests.page()] == [made.id]


def test_a_request_for_a_namespace_concerns_whoever_one_of_its_datasets_does(app: Application) -> None:
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.approval_rules.add("sensitivity = secret", "group:legal")
    app.policy_tags.set(parse_securable("sales.prices"), "sensitivity", "pii")
    assert ask(app).approvers == ("administrators",)
    assert ask(app, on="namespace:sales").approvers == ("administrators", "group:privacy")
    assert ask(app, on="lake").approvers == ("administrators", "group:privacy")
    app.deletion.delete("sales.prices")
    assert ask(app, by=BOB, on="lake").approvers == ("administrators",)


def test_a_rule_or_a_tag_that_comes_later_counts_all_the_same(app: Application) -> None:
    made = ask(app)
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.policy_tags.set(ORDERS, "sensitivity", "pii")
    with acting(OWNER):
        half = app.access_requests.approve(made.id)
    assert (half.waiting_for, may_read(app)) == (("group:privacy",), False)
    assert len(waiting_for(app, PIA)) == 1
    app.approval_rules.remove("sensitivity = pii", "group:privacy")
    with acting(OWNER):
        assert app.access_requests.approve(made.id).state is RequestState.APPROVED


def test_one_of_them_is_enough_to_refuse(app: Application) -> None:
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.policy_tags.set(ORDERS, "sensitivity", "pii")
    made = ask(app)
    with acting(OWNER):
        app.access_requests.approve(made.id)
    with acting(PIA):
        with pytest.raises(InvalidInputError, match="needs a reason"):
            app.access_requests.refuse(made.id, " ")
        refused = app.access_requests.refuse(made.id, "Use sales.prices.")
    assert (refused.state, refused.waiting_for, may_read(app)) == (RequestState.REFUSED, (), False)
    assert (refused.steps[-1].by, refused.steps[-1].reason) == (PIA, "Use sales.prices.")
    with acting(OWNER), pytest.raises(NotAllowedError, match="is refused"):
        app.access_requests.approve(made.id)
    assert ask(app).state is RequestState.REQUESTED


def test_nobody_decides_about_his_own_request(app: Application) -> None:
    app.grants.grant(WantedGrant(ANA, Privilege.ADMINISTER, "lake"))
    made = ask(app)
    with acting(ANA):
        with pytest.raises(NotAllowedError, match="Nobody approves his own"):
            app.access_requests.approve(made.id)
        with pytest.raises(NotAllowedError, match="Withdraw it"):
            app.access_requests.refuse(made.id, "no")
    with acting(ANA, operator=True), pytest.raises(NotAllowedError, match="Nobody approves his own"):
        app.access_requests.approve(made.id)
    assert app.access_requests.get(made.id).state is RequestState.REQUESTED


def test_a_request_is_withdrawn_by_its_requester_alone(app: Application) -> None:
    made = ask(app)
    with pytest.raises(AlreadyExistsError, match=r"has asked for dataset:sales\.orders already"):
        ask(app, Privilege.WRITE)
    with acting(OWNER), pytest.raises(AccessDeniedError, match="who alone can withdraw it"):
        app.access_requests.withdraw(made.id)
    with acting(ANA):
        gone = app.access_requests.withdraw(made.id, "not needed")
        with pytest.raises(NotAllowedError, match="is withdrawn"):
            app.access_requests.withdraw(made.id)
    assert (gone.state, waiting_for(app, OWNER)) == (RequestState.WITHDRAWN, [])
    ask(app, Privilege.WRITE)


@pytest.mark.parametrize("hidden", ["sales.prices", "sales.nothing", "namespace:other", "view:sales.none", "target:x"])
def test_what_cannot_be_discovered_cannot_be_asked_for(app: Application, hidden: str) -> None:
    lake_of(app).create_namespace("other")
    with pytest.raises(NotFoundError) as asked:
        ask(app, by=ANA, on=hidden)
    name = parse_securable(hidden).name
    assert asked.value.message.endswith(f"{name}.") or asked.value.message.endswith(f"{name!r}.")


def test_others_know_nothing_of_a_request(app: Application) -> None:
    made = ask(app)
    with acting(BOB):
        assert app.access_requests.page() == []
        for act in (
            lambda: app.access_requests.get(made.id),
            lambda: app.access_requests.approve(made.id),
            lambda: app.access_requests.refuse(made.id, "no"),
            lambda: app.access_requests.withdraw(made.id),
        ):
            with pytest.raises(AccessRequestNotFoundError):
                act()
        assert app.operations.events() == []
    with acting(ANA):
        assert app.operations.events(dataset="sales.orders") != []
        assert Topic.ACCESS_REQUEST_CHANGED not in {one.topic for one in app.operations.events()}


def test_an_approver_who_administers_nothing_has_no_say(app: Application) -> None:
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.policy_tags.set(ORDERS, "sensitivity", "pii")
    made = ask(app)
    app.policy_tags.remove(ORDERS, "sensitivity")  # he sees it, but does not have to approve it by now
    with acting(PIA), pytest.raises(AccessDeniedError, match="has no say"):
        app.access_requests.approve(made.id)


def test_a_renamed_object_is_the_same_one(app: Application) -> None:
    made, lake = ask(app), lake_of(app)
    lake.dataset("sales.orders").rename("sales.bought")
    lake.create_dataset("sales.orders", {"id": pa.int64()})
    with acting(ANA):
        assert app.access_requests.get(made.id).on == "dataset:sales.bought"
    with acting(OWNER):
        app.access_requests.approve(made.id)
    assert {one.on for one in app.grants.page(principal=ANA) if one.privilege is Privilege.READ} == {
        "dataset:sales.bought"
    }


def test_who_may_not_discover_it_any_more_does_not_learn_its_new_name(app: Application) -> None:
    made = ask(app)
    app.grants.revoke(ANA, Privilege.DISCOVER, ORDERS)
    lake_of(app).dataset("sales.orders").rename("sales.merger_with_acme")
    with acting(ANA):
        shown = app.access_requests.get(made.id)
        assert (shown.on, app.access_requests.page()[0].on) == ("dataset:sales.orders", "dataset:sales.orders")
        with pytest.raises(NotAllowedError) as refused:
            app.access_requests.approve(made.id)
        assert "acme" not in str(refused.value)
        assert "acme" not in str(app.access_requests.withdraw(made.id))


def test_what_is_deleted_is_not_granted_and_closed_when_it_is_gone_for_good(
    app: Application, clock: MovableClock
) -> None:
    read, write = ask(app), ask(app, Privilege.WRITE, by=BOB, on="lake")
    with acting(OWNER):
        app.access_requests.approve(read.id)
    app.grants.grant(WantedGrant(BOB, Privilege.DISCOVER, str(ORDERS)))
    again = ask(app, by=BOB)
    app.deletion.delete("sales.orders")
    lake_of(app).create_dataset("sales.orders", {"id": pa.int64()})
    with acting(OWNER), pytest.raises(NotFoundError, match=r"There is no dataset:sales\.orders any more"):
        app.access_requests.approve(again.id)
    clock.advance(days=8)
    app.deletion.purge()
    assert app.access_requests.follow_up() == 2
    assert app.access_requests.get(again.id).state is RequestState.REFUSED
    assert app.access_requests.get(read.id).state is RequestState.REVOKED
    assert app.access_requests.get(read.id).steps[-1].reason == "dataset:sales.orders was deleted"
    assert app.access_requests.get(write.id).state is RequestState.REQUESTED
    assert app.access_requests.follow_up() == 0


def test_what_ends_is_told_of_and_recorded(app: Application, clock: MovableClock) -> None:
    made = ask(app)
    with acting(OWNER):
        app.access_requests.approve(made.id)
    assert app.access_requests.follow_up() == 0
    clock.advance(days=24)
    assert (app.access_requests.follow_up(), app.access_requests.follow_up(), may_read(app)) == (1, 0, True)
    clock.advance(days=7)
    assert not may_read(app)
    assert app.access_requests.get(made.id).state is RequestState.EXPIRED  # though nobody has recorded it
    assert [one.id for one in app.access_requests.page(state=RequestState.EXPIRED)] == [made.id]
    assert app.access_requests.page(state=RequestState.APPROVED) == []
    assert (app.access_requests.follow_up(), app.access_requests.follow_up()) == (1, 0)
    done = app.access_requests.get(made.id)
    assert (done.state, done.steps[-1].reason) == (RequestState.EXPIRED, "its time was over")
    told = [one for one in app.operations.events() if one.topic is Topic.ACCESS_REQUEST_CHANGED]
    assert [one.payload["change"] for one in reversed(told)] == ["request", "approve", "remind", "expire"]
    assert told[-1].payload["on"] == "dataset:sales.orders"
    audited = [one.action for one in app.operations.audit(object_name="sales.orders")]
    assert [one for one in audited if one.startswith("access")] == [
        "access_request.expire", "access_request.remind", "access_request.approve", "access.grant",
        "access_request.request", "access.grant",
    ]  # fmt: skip


def test_a_worker_does_that_from_time_to_time(app: Application, clock: MovableClock) -> None:
    made = ask(app, days=1)
    with acting(OWNER):
        app.access_requests.approve(made.id)
    clock.advance(days=2)
    worker = Worker(app)
    worker._purge_due = 0.0
    worker.run_until_idle()
    assert app.access_requests.get(made.id).steps[-1].state is RequestState.EXPIRED


def test_what_is_revoked_is_over_and_says_why(app: Application) -> None:
    made = ask(app, Privilege.READ, Privilege.WRITE)
    with acting(OWNER):
        app.access_requests.approve(made.id)
        assert may_read(app)
        app.grants.revoke(ANA, Privilege.READ, ORDERS, reason="left the team")
        assert not may_read(app)
        assert app.access_requests.get(made.id).granted == (Privilege.WRITE,)
        app.grants.revoke(ANA, Privilege.WRITE, ORDERS)
    with acting(ANA):
        done = app.access_requests.get(made.id)
    assert (done.state, done.granted) == (RequestState.REVOKED, (Privilege.WRITE,))
    assert done.steps[-2].reason == "read was revoked: left the team"


def test_an_approval_shortens_nothing(app: Application) -> None:
    app.grants.grant(WantedGrant(ANA, Privilege.READ, str(ORDERS), grant_option=True))
    made = ask(app, Privilege.READ, Privilege.WRITE)
    with acting(OWNER):
        app.access_requests.approve(made.id)
    assert grants_of(app)[Privilege.READ] is None
    assert grants_of(app)[Privilege.WRITE] is not None


def test_a_renewal_makes_it_longer_and_an_ended_grant_option_does_not_come_back(
    app: Application, clock: MovableClock
) -> None:
    app.grants.grant(
        WantedGrant(ANA, Privilege.READ, str(ORDERS), grant_option=True, expires_at=clock.now() + timedelta(days=1))
    )
    first = ask(app, days=10)
    with acting(OWNER):
        app.access_requests.approve(first.id)
    [given] = [one for one in app.grants.page(principal=ANA) if one.privilege is Privilege.READ]
    assert given.grant_option  # it was not over
    clock.advance(days=11)
    second = ask(app, days=10)
    with acting(OWNER):
        done = app.access_requests.approve(second.id)
    [given] = [one for one in app.grants.page(principal=ANA) if one.privilege is Privilege.READ]
    assert (given.grant_option, given.expires_at) == (False, done.expires_at)


def test_who_stands_in_for_an_owner_administers_for_a_time(app: Application, clock: MovableClock) -> None:
    """Delegation is a grant that ends."""
    with acting(OWNER):
        app.grants.grant(
            WantedGrant(BOB, Privilege.ADMINISTER, str(ORDERS), expires_at=clock.now() + timedelta(days=7))
        )
    made = ask(app)
    assert len(waiting_for(app, BOB)) == 1
    clock.advance(days=8)
    assert waiting_for(app, BOB) == []
    with acting(BOB), pytest.raises(AccessRequestNotFoundError):
        app.access_requests.approve(made.id)


def test_who_stands_in_for_a_group_is_in_it_for_a_time(app: Application, clock: MovableClock) -> None:
    app.approval_rules.add("sensitivity = pii", "group:privacy")
    app.policy_tags.set(ORDERS, "sensitivity", "pii")
    for _ in range(2):
        app.roles.add("group:privacy", BOB, expires_at=clock.now() + timedelta(days=7))
        made = ask(app)
        with acting(BOB):
            assert app.access_requests.approve(made.id).waiting_for == ("administrators",)
        with acting(ANA):
            app.access_requests.withdraw(made.id)
        made = ask(app)
        clock.advance(days=8)
        with acting(BOB), pytest.raises(AccessRequestNotFoundError):
            app.access_requests.approve(made.id)
        with acting(ANA):
            app.access_requests.withdraw(made.id)


@pytest.mark.parametrize("on", ["view:sales.open", "target:files", "namespace:sales", "lake"])
def test_everything_that_can_be_granted_can_be_asked_for(app: Application, on: str) -> None:
    made = ask(app, Privilege.READ, on=on)
    if on == "lake":
        with acting(OWNER), pytest.raises(AccessRequestNotFoundError):
            app.access_requests.approve(made.id)
        app.grants.grant(WantedGrant(ADMIN, Privilege.ADMINISTER, "lake"))
    with acting(ADMIN if on == "lake" else OWNER):
        assert [one.on for one in app.access_requests.page(waiting=True)] == [on]
        app.access_requests.approve(made.id)
    assert [one.on for one in app.grants.page(principal=ANA) if one.privilege is Privilege.READ] == [on]


@pytest.mark.parametrize(
    ("privileges", "purpose", "days", "on"),
    [
        ((), "x", 1, "sales.orders"),
        ((Privilege.READ,), "  ", 1, "sales.orders"),
        ((Privilege.READ,), "x" * 1001, 1, "sales.orders"),
        ((Privilege.READ,), "x", 0, "sales.orders"),
        ((Privilege.READ,), "x", 3651, "sales.orders"),
        ((Privilege.CREATE,), "x", 1, "sales.orders"),
    ],
)
def test_what_cannot_be_asked(
    app: Application, privileges: tuple[Privilege, ...], purpose: str, days: int, on: str
) -> None:
    with acting(ANA), pytest.raises(InvalidInputError):
        app.access_requests.request(parse_securable(on), privileges, purpose=purpose, days=days)


def test_requests_come_in_pages_newest_first(app: Application) -> None:
    for name in ("a", "b", "c"):
        app.grants.grant(WantedGrant(f"user:{name}", Privilege.DISCOVER, str(ORDERS)))
        ask(app, by=f"user:{name}")
    with acting(OWNER):
        first = app.access_requests.page(limit=2)
        rest = app.access_requests.page(limit=2, before=first[-1].id)
        assert [one.requester for one in (*first, *rest)] == ["user:c", "user:b", "user:a"]
        assert [one.requester for one in app.access_requests.page(requester="b")] == ["user:b"]
        assert len(app.access_requests.page(on=ORDERS)) == 3


# --- several at once -------------------------------------------------------------------------------------------------


def test_approvals_at_once_give_one_grant(app: Application) -> None:
    made, start = ask(app), Barrier(4)

    def approve() -> bool:
        with acting(OWNER):
            start.wait(30)
            try:
                app.access_requests.approve(made.id)
            except NotAllowedError:
                return False
            return True

    with ThreadPoolExecutor(4) as pool:
        won = [one.result() for one in [pool.submit(approve) for _ in range(4)]]
    assert sorted(won) == [False, False, False, True]
    audited = [one.action for one in app.operations.audit(object_name="sales.orders")]
    assert (audited.count("access_request.approve"), audited.count("access.grant")) == (1, 2)


def test_approvals_at_once_give_one_grant_on_postgresql(app: Application, postgres_store: MetadataStore) -> None:
    clock = SystemClock()
    authorizer = GrantAuthorizer(clock)
    service = AccessRequestService(
        postgres_store, Securables(Lookup(authorizer), authorizer), authorizer, Narrowing(app.tables), clock
    )
    with postgres_store.write() as tx:
        made, _ = add_dataset(tx, "busy.orders", owner=OWNER)
    with acting("user:someone", operator=True):
        on = Securable(SecurableKind.DATASET, made.full_name)
        request = service.request(on, [Privilege.READ], purpose="x", days=3)
    start = Barrier(3)

    def approve() -> bool:
        with acting(OWNER):
            start.wait(30)
            try:
                service.approve(request.id)
            except NotAllowedError:
                return False
            return True

    with ThreadPoolExecutor(3) as pool:
        won = [one.result() for one in [pool.submit(approve) for _ in range(3)]]
    assert sorted(won) == [False, False, True]
    with postgres_store.read() as tx:
        assert [one.principal for one in tx.grants.page(securable_ids=[made.id], limit=9)] == ["user:someone"]
        assert len(tx.audit.page(object_name=made.full_name, limit=9)) == 3


def _decide(path: str, request_id: str, refuse: bool) -> None:
    from uuid import UUID

    with open_lake(path) as app, acting(OWNER):
        try:
            if refuse:
                app.access_requests.refuse(UUID(request_id), "no")
            else:
                app.access_requests.approve(UUID(request_id))
        except CordilleraError:
            return


def test_of_an_approval_and_a_refusal_in_two_processes_one_counts(app: Application, tmp_path: Path) -> None:
    made, spawn = ask(app), multiprocessing.get_context("spawn")
    deciding = [
        spawn.Process(target=_decide, args=(str(tmp_path / "lake"), str(made.id), refuse)) for refuse in (True, False)
    ]
    for process in deciding:
        process.start()
    for process in deciding:
        process.join(120)
    found = app.access_requests.get(made.id)
    assert len(found.steps) == 2
    assert (found.state is RequestState.APPROVED) == (Privilege.READ in grants_of(app))


def test_what_fails_halfway_leaves_nothing(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ask(app)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cordillera.catalog.trail.Trail.event", broken)
    with acting(OWNER), pytest.raises(ZeroDivisionError):
        app.access_requests.approve(made.id)
    monkeypatch.undo()
    assert app.access_requests.get(made.id).state is RequestState.REQUESTED
    assert set(grants_of(app)) == {Privilege.DISCOVER}


# --- engines elsewhere -----------------------------------------------------------------------------------------------


def test_files_are_lent_while_access_lasts(app: Application, clock: MovableClock) -> None:
    token = app.access.create_token("t", principal=ANA).secret
    client = TestClient(create_server(app), base_url="http://localhost", headers={"Authorization": f"Bearer {token}"})
    path = "/iceberg/v1/namespaces/sales/tables/orders/credentials"
    assert client.get(path).status_code == 403
    made = ask(app, Privilege.READ, Privilege.EXTERNAL_USE, days=2)
    assert client.get(path).status_code == 403
    with acting(OWNER):
        app.access_requests.approve(made.id)
    assert client.get(path).status_code == 200
    clock.advance(days=3)
    assert client.get(path).status_code == 403
    made = ask(app, Privilege.READ, Privilege.EXTERNAL_USE)
    with acting(OWNER):
        app.access_requests.approve(made.id)
        assert client.get(path).status_code == 200
        app.grants.revoke(ANA, Privilege.EXTERNAL_USE, ORDERS)
    assert client.get(path).status_code == 403


def test_a_view_by_another_name_is_no_dataset(app: Application) -> None:
    with acting(BOB), pytest.raises(ViewNotFoundError):
        app.access_requests.request(parse_securable("view:sales.open"), [Privilege.READ], purpose="x", days=1)
