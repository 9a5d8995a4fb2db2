"""Deputies: what they may decide for an owner, what not, and when that ends. Abuse comes first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cordillera.app import Application, create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import (
    AccessDeniedError,
    AccessRequestNotFoundError,
    DatasetNotFoundError,
    NotAllowedError,
    NotFoundError,
)
from cordillera.server import create_server
from cordillera.spec.access_request import AccessRequest, RequestState
from cordillera.spec.contract_proposal import ProposalState
from cordillera.spec.deputy import Deputy
from tests.access.reading import client_of
from tests.conftest import MovableClock
from tests.contracts.test_proposals import without

OLGA, BEN, CARL, ANA, PIA, ADMIN = (f"user:{name}" for name in ("olga", "ben", "carl", "ana", "pia", "admin"))


class House:
    """A lake with what is Olga's, and somebody who asks for it."""

    def __init__(self, app: Application, clock: MovableClock) -> None:
        self.app, self.clock, self.lake = app, clock, Lake(LocalBackend(app))
        self.lake.create_namespace("sales", owner=OLGA)
        self.lake.create_namespace("hr")
        for name in ("sales.orders", "sales.prices", "hr.people"):
            self.lake.create_dataset(name, {"id": pa.int64(), "note": pa.string()}, key=["id"])
        self.lake.create_view("sales.open", "SELECT id FROM sales.orders")
        self.lake.grant(ADMIN, "administer", "lake")
        for who in (ANA, BEN, PIA):
            self.lake.grant(who, "discover", "lake")

    def name(self, deputy: str = BEN, by: str = OLGA, days: float = 14, **more: Any) -> Deputy:
        with acting(by):
            return self.lake.add_deputy(deputy, self.clock.now() + timedelta(days=days), **more)

    def ask(self, on: str = "sales.orders", *privileges: str, by: str = ANA) -> AccessRequest:
        with acting(by):
            return self.lake.request_access(on, privileges or ("read",), purpose="weekly report", days=30)

    def approve(self, asked: AccessRequest, by: str = BEN, **more: Any) -> AccessRequest:
        with acting(by):
            return self.lake.approve_access(asked.id, **more)

    def waiting(self, who: str = BEN) -> list[str]:
        with acting(who):
            return [one.on for one in self.lake.access_requests(waiting=True)]

    def seen(self, who: str = BEN) -> list[str]:
        with acting(who):
            return sorted(one.on for one in self.lake.access_requests())


@pytest.fixture
def house(tmp_path: Path, clock: MovableClock) -> Iterator[House]:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        yield House(app, clock)


def test_a_deputy_of_a_deputy_has_no_say(house: House) -> None:
    asked = house.ask()
    house.name()
    house.name(CARL, by=BEN)
    assert (house.waiting(CARL), house.seen(CARL)) == ([], [])
    with pytest.raises(AccessRequestNotFoundError):
        house.approve(asked, by=CARL)
    with pytest.raises(AccessDeniedError):
        house.name(CARL, by=BEN, owner=OLGA)
    with pytest.raises(AccessDeniedError):
        house.name(BEN, by=BEN, owner="group:privacy")


def test_nobody_decides_as_a_deputy_about_what_he_or_the_owner_asks_for(house: House) -> None:
    house.lake.add_approver("level is null", PIA)
    house.name()
    house.name(BEN, by=PIA)
    house.name(CARL, by=PIA)
    mine, pias = house.ask(by=BEN), house.ask(by=PIA)
    assert house.waiting() == ["dataset:sales.orders"], "Pia's, for Olga; his own not"
    with pytest.raises(NotAllowedError, match="Nobody approves his own request"):
        house.approve(mine)
    with acting(BEN), pytest.raises(NotAllowedError, match="own request"):
        house.lake.refuse_access(mine.id, "no")
    half = house.approve(pias)
    assert half.waiting_for == (PIA,), "not as Pia's deputy, who asks"
    assert (house.waiting(CARL), house.seen(CARL)) == (["dataset:sales.orders"], ["dataset:sales.orders"]), "Ben's"
    with pytest.raises(AccessRequestNotFoundError):
        house.approve(pias, by=CARL)


def test_a_deputy_has_nothing_else_of_the_owners(house: House) -> None:
    house.lake.revoke(BEN, "discover", "lake")
    house.name(duties=["contract_proposals"])
    asked, twice = house.ask(), house.ask("sales.prices", "read", "administer")
    assert (house.waiting(), house.seen()) == ([], []), "another duty"
    with pytest.raises(AccessRequestNotFoundError):
        house.approve(asked)
    house.name(duties=["access_requests"])
    with acting(BEN):
        with pytest.raises(DatasetNotFoundError):
            house.lake.dataset("sales.orders").scan().to_arrow()
        with pytest.raises(DatasetNotFoundError):
            house.lake.grant(BEN, "read", "sales.orders")
        assert (list(house.lake.grants()), house.lake.backend.search("").total) == ([], 0)
        with pytest.raises(NotAllowedError, match="a deputy gives nobody"):
            house.lake.approve_access(twice.id)
        assert house.lake.approve_access(twice.id, privileges=["read"]).granted == ("read",)


def test_a_deputy_has_a_say_about_what_is_inside_and_the_owners(house: House) -> None:
    inside = ("sales.orders", "sales.orders_v1", "sales.prices", "namespace:sales", "view:sales.open")
    asked = {on: house.ask(on) for on in (*inside, "hr.people")} | {"lake": house.ask("lake", "write")}
    ons = {one.on: on for on, one in asked.items()}
    scopes = {"sales.orders": {"sales.orders", "sales.orders_v1"}, "namespace:sales": set(inside), "lake": set(inside)}
    for scope, expected in scopes.items():
        named = house.name(on=scope)
        assert {ons[on] for on in house.waiting()} == {ons[on] for on in house.seen()} == expected, scope
        for on in asked.keys() - expected:
            with pytest.raises(AccessRequestNotFoundError):
                house.approve(asked[on])
        with acting(OLGA):
            house.lake.end_deputy(named.id)
    house.name(on="namespace:sales")
    for on in inside:
        assert house.approve(asked[on]).state is RequestState.APPROVED


def test_a_say_ends_by_date_by_word_and_with_the_owners_own(house: House, clock: MovableClock) -> None:
    asked = house.ask()
    later = house.name(starts_at=clock.now() + timedelta(days=1), days=3)
    assert house.waiting() == [], "it has not begun"
    clock.advance(days=1)
    assert house.waiting() == [asked.on]
    with acting(BEN):
        assert house.lake.end_deputy(later.id).ends_at < clock.now()
    assert (house.waiting(), house.seen()) == ([], []), "he would not any more"
    with pytest.raises(AccessRequestNotFoundError):
        house.approve(asked)
    with acting(OLGA), pytest.raises(NotAllowedError, match="was a deputy"):
        house.lake.end_deputy(later.id)
    house.name(days=2)
    clock.advance(days=2)
    assert house.waiting() == [], "its time is over"
    house.name()
    assert house.waiting() == [asked.on]
    for name in ("sales.orders", "sales.prices"):
        house.lake.dataset(name).update(owner="user:next")
    house.lake.backend.update_namespace("sales", owner="user:next")
    assert (house.waiting(), house.seen()) == ([], []), "it is Olga's no more"
    with pytest.raises(AccessRequestNotFoundError):
        house.approve(asked)


def test_what_a_deputy_decides_is_told_as_his_and_the_owners(house: House) -> None:
    house.name(reason="on leave")
    asked = house.ask()
    done = house.approve(asked, reason="fine")
    assert (done.state, done.steps[-1].by, done.steps[-1].deputy_of) == (RequestState.APPROVED, BEN, (OLGA,))
    [given] = [one for one in house.lake.grants(principal=ANA) if one.privilege == "read"]
    assert (given.granted_by, given.deputy_of) == (BEN, (OLGA,))
    told = {one.action: one for one in reversed(house.lake.backend.audit(limit=10))}
    for action in ("access_request.approve", "access.grant"):
        assert (told[action].principal, told[action].details["deputy_of"]) == (BEN, [OLGA])
    assert told["access.add_deputy"].details["reason"] == "on leave"
    why = house.lake.explain_access(ANA, "read", "sales.orders")
    assert [one.note for one in why.reasons if one.holds] == [f"granted by {BEN}, as a deputy of {OLGA}: weekly report"]
    may = house.lake.explain_access(BEN, "administer", "sales.orders")
    assert not may.allowed
    assert any("a deputy of user:olga decides about access requests and contract" in one.note for one in may.reasons)
    with acting(BEN), pytest.raises(AccessDeniedError):
        house.lake.revoke(ANA, "read", "sales.orders")
    with acting(OLGA):
        house.lake.revoke(ANA, "read", "sales.orders")


def test_a_deputy_speaks_for_the_approver_whom_a_rule_names(house: House) -> None:
    house.lake.add_approver("level is null", "group:privacy")
    house.lake.add_member("group:privacy", PIA)
    asked = house.ask()
    house.name("group:desk", by=PIA, on="sales.orders")
    house.lake.add_member("group:desk", CARL)
    half = house.approve(asked, by=CARL)
    assert (half.waiting_for, half.steps[-1].deputy_of) == (("administrators",), (PIA,))
    with pytest.raises(NotAllowedError, match="on your side already"):
        house.approve(asked, by=CARL)
    house.lake.remove_member("group:privacy", PIA)
    assert house.seen(CARL) == []


def test_deputies_are_named_ended_and_seen_by_those_concerned(house: House) -> None:
    mine = house.name(on="sales.orders")
    others = house.name(CARL, by=ADMIN, owner="group:privacy")
    assert (others.owner, others.named_by) == ("group:privacy", ADMIN)

    def listed(who: str, **more: str) -> list[Deputy]:
        with acting(who):
            return sorted(house.lake.deputies(**more), key=lambda one: one.named_at)

    assert [listed(who) for who in (OLGA, BEN, CARL, ANA)] == [[mine], [mine], [others], []]
    assert (listed(ADMIN), listed(ADMIN, owner=OLGA), listed(ADMIN, deputy=BEN)) == ([mine, others], [mine], [mine])
    for who, problem in ((ANA, NotFoundError), (CARL, NotFoundError)):
        with acting(who), pytest.raises(problem, match="There is no deputy"):
            house.lake.end_deputy(mine.id)
    house.lake.add_member("group:privacy", PIA)
    with acting(PIA), pytest.raises(AccessDeniedError):
        house.lake.end_deputy(others.id)
    house.lake.revoke(BEN, "discover", "lake")
    house.lake.dataset("sales.orders").rename("sales.renamed")
    assert [one.on for one in listed(BEN)] == ["dataset:sales.orders"], "he may not know its new name"
    assert [one.on for one in listed(OLGA)] == ["dataset:sales.renamed"]
    with acting(OLGA), pytest.raises(DatasetNotFoundError):
        house.lake.add_deputy(BEN, house.clock.now() + timedelta(days=1), on="hr.people")
    for _ in range(19):
        house.name()
    with pytest.raises(NotAllowedError, match="has 20 deputies already"):
        house.name()


def test_a_deputy_acknowledges_changes_of_contracts(house: House, tmp_path: Path) -> None:
    house.lake.create_target("files", "duckdb", path=str(tmp_path / "t.db"))
    house.lake.grant(PIA, "read", "namespace:sales")
    house.lake.grant(PIA, "write", "target:files")
    orders = house.lake.dataset("sales.orders")
    orders.put_contract(house.lake.backend.draft_contract(orders.name))
    with acting(PIA):
        orders.subscribe("files", purpose="x")
    house.name(by=PIA, on="sales.prices")
    house.name(OLGA, by=PIA)
    with acting(OLGA):
        made = orders.propose_contract(without(orders, "note"), reason="never filled")

    def awaited(who: str) -> list[list[str]]:
        with acting(who):
            found = house.lake.awaited_proposals()
            return [[asked.consumer for asked in one.proposal.consumers] for one in found]

    assert awaited(OLGA) == awaited(BEN) == awaited(CARL) == [], "she proposed it; his deputyship is about prices"
    for who in (OLGA, BEN):
        with acting(who), pytest.raises(AccessDeniedError, match="speaks for nobody"):
            orders.acknowledge_proposal(made.id)
    house.name(by=PIA, on="namespace:sales", duties=["contract_proposals"])
    assert awaited(BEN) == [[PIA]]
    house.lake.revoke(BEN, "discover", "lake")
    assert awaited(BEN) == [], "what he may not discover himself he does not hear of"
    house.lake.grant(BEN, "discover", "sales.orders")
    with acting(BEN):
        done = orders.acknowledge_proposal(made.id, "fine")
    assert done.state is ProposalState.IN_FORCE
    [asked] = orders.contract_proposals()[0].consumers
    assert (asked.acknowledged_by, asked.deputy_of) == (BEN, PIA)
    [told] = [one for one in house.lake.backend.audit(limit=20) if one.action == "contract.acknowledge"]
    assert (told.principal, told.details["deputy_of"]) == (BEN, [PIA])


def test_a_deputy_overrides_and_withdraws_what_the_owner_has_proposed(house: House, tmp_path: Path) -> None:
    house.lake.create_target("files", "duckdb", path=str(tmp_path / "t.db"))
    for on in ("read", "namespace:sales"), ("write", "target:files"):
        house.lake.grant(PIA, *on)
    orders = house.lake.dataset("sales.orders")
    orders.put_contract(house.lake.backend.draft_contract(orders.name))
    with acting(PIA):
        orders.subscribe("files", purpose="x")
    with acting(OLGA):
        made = orders.propose_contract(without(orders, "note"), reason="never filled")

    server = create_server(house.app)
    house.clock.moment = datetime.now(UTC)  # which is when pages are shown

    def refused(who: str = BEN) -> None:
        for decide in (orders.override_proposal, orders.withdraw_proposal):
            with acting(who), pytest.raises(AccessDeniedError):
                decide(made.id, "no")

    refused()
    house.name(duties=["contract_proposals"])
    house.name(on="sales.prices")
    house.name(by=PIA, duties=["contract_overrides"])
    refused()
    with acting(BEN):
        assert orders.contract_proposals()[0].consumers == (), "he is told of nobody whom he does not decide about"
    house.name(on="namespace:sales", duties=["contract_overrides"])
    house.name(CARL, by=BEN)
    house.lake.grant(CARL, "discover", "lake")
    refused(CARL)
    for who, decides in ((BEN, True), (CARL, False), (PIA, False)):
        shown = client_of(server, house.app, who).get("/datasets/sales.orders?tab=contract").text
        assert "never filled" in shown
        assert ("Override consumers" in shown) is decides
    with acting(BEN):
        assert [one.consumer for one in orders.contract_proposals()[0].consumers] == [PIA]
        assert orders.withdraw_proposal(made.id, "not now").state is ProposalState.WITHDRAWN
        with pytest.raises(AccessDeniedError):
            orders.propose_contract(without(orders, "note"), reason="again")
    with acting(OLGA):
        made = orders.propose_contract(without(orders, "note"), reason="again")
    with acting(BEN):
        done = orders.override_proposal(made.id, "a legal order")
    assert (done.state, done.outcome) == (ProposalState.IN_FORCE, f"Overridden for {OLGA}: a legal order")
    told = {one.action: one for one in house.lake.backend.audit(limit=20) if one.principal == BEN}
    for action in ("contract.withdraw", "contract.override", "contract.take_effect", "contract.put"):
        assert told[action].details["deputy_of"] == [OLGA], action


def test_nobody_overrides_as_a_deputy_what_he_has_proposed(house: House, tmp_path: Path) -> None:
    house.lake.create_target("files", "duckdb", path=str(tmp_path / "t.db"))
    orders = house.lake.dataset("sales.orders")
    orders.put_contract(house.lake.backend.draft_contract(orders.name))
    for on in ("read", "namespace:sales"), ("write", "target:files"):
        house.lake.grant(PIA, *on)
    with acting(PIA):
        orders.subscribe("files", purpose="x")
    house.lake.grant(BEN, "administer", "sales.orders")
    with acting(BEN):
        made = orders.propose_contract(without(orders, "note"), reason="never filled")
    house.lake.revoke(BEN, "administer", "sales.orders")
    house.name()
    with acting(BEN), pytest.raises(AccessDeniedError):
        orders.override_proposal(made.id, "it is mine")
