"""Privileges on subscriptions: what each lets somebody see and do, and that none shows what its dataset hides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from fastapi import FastAPI

from cordillera.app import Application, create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError, InvalidInputError, InvalidNameError, SubscriptionNotFoundError
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.delivery_cost import CostQuery, CostsBy
from cordillera.spec.subscription import Subscription, SubscriptionState
from cordillera.spec.wanted_subscription import WantedSubscription
from tests.access.reading import client_of


class House:
    """A subscription that a consumer asked for, and that has run into something; with people of its own."""

    def __init__(self, app: Application, folder: Path) -> None:
        self.app, self.lake, mark = app, Lake(LocalBackend(app)), uuid4().hex[:8]
        self.space, self.target = f"sales{mark}", f"reports{mark}"
        self.orders, self.reports = f"{self.space}.orders", f"target:{self.target}"
        self.consumer, self.helper, self.stranger, self.guide, self.publisher, self.steward = (
            f"user:{who}{mark}" for who in ("consumer", "helper", "stranger", "guide", "publisher", "steward")
        )
        self.lake.create_namespace(self.space, owner=self.publisher)
        self.lake.create_dataset(self.orders, {"id": pa.int64()}, key=["id"])
        self.lake.dataset(self.orders).write([{"id": 1}], "upsert")
        self.lake.create_target(self.target, "duckdb", path=str(folder / f"{mark}.duckdb"))
        self.lake.grant(self.consumer, "read", self.orders)
        self.lake.grant(self.consumer, "write", self.reports)
        for helper in (self.helper, self.guide):
            self.lake.grant(helper, "discover", self.orders)
        with acting(self.consumer):
            self.id = self.lake.backend.subscribe(WantedSubscription(self.orders, self.target, purpose="reports")).id
        self.lake.run_pending()
        with app.store.write() as tx:
            tx.subscriptions.note_error(self.id, "the disk is full", app.clock.now(), error_code="target_unreachable")
        self.on = f"subscription:{self.id}"

    def seen(self, principal: str) -> list[UUID]:
        with acting(principal):
            return [one.subscription.id for one in self.lake.backend.subscriptions()]

    def shown(self, principal: str) -> Subscription:
        with acting(principal):
            return self.lake.backend.subscription(self.id).subscription


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with create_lake(tmp_path_factory.mktemp("subscriptions") / "lake") as app:
        yield app


@pytest.fixture(scope="module")
def server(app: Application) -> FastAPI:
    return create_server(app)


@pytest.fixture
def house(app: Application, tmp_path: Path) -> House:
    return House(app, tmp_path)


def test_each_privilege_shows_and_allows_more(house: House) -> None:
    backend = house.lake.backend
    assert house.seen(house.helper) == []
    singly = CostQuery(by=CostsBy.SUBSCRIPTION, subscription_id=house.id)
    with acting(house.helper):
        with pytest.raises(SubscriptionNotFoundError):
            backend.subscription_deliveries(house.id)
        with pytest.raises(SubscriptionNotFoundError):
            backend.delivery_costs(singly)

    house.lake.grant(house.helper, "discover", house.on)
    assert house.seen(house.helper) == [house.id]
    assert "disk" not in house.shown(house.helper).last_error
    with acting(house.helper):
        assert backend.subscription_history(house.id)[0].state is SubscriptionState.LIVE
        with pytest.raises(AccessDeniedError, match=f"read the subscription {house.id}") as refused:
            backend.subscription_deliveries(house.id)
        assert house.consumer in str(refused.value.hint)
        assert backend.delivery_costs(CostQuery()) == []  # its costs are in no sum
        with pytest.raises(AccessDeniedError, match=f"read the subscription {house.id}"):
            backend.delivery_costs(singly)

    house.lake.grant(house.helper, "read", house.on)
    house.lake.grant(house.helper, "read", house.orders)  # else what errors say can quote rows that he may not see
    assert house.shown(house.helper).last_error == "the disk is full"
    with acting(house.helper):
        assert len(backend.subscription_deliveries(house.id)) == 1
        assert [one.subscription_id for one in backend.delivery_costs(singly)] == [house.id]
        assert sum(one.deliveries for one in backend.delivery_costs(CostQuery())) == 1
        with pytest.raises(AccessDeniedError, match="alter"):
            backend.pause_subscription(house.id)
        with pytest.raises(AccessDeniedError, match="alter"):
            backend.verify_subscription(house.id)

    house.lake.grant(house.helper, "alter", house.on)
    with acting(house.helper):
        assert backend.pause_subscription(house.id).state is SubscriptionState.PAUSED
        assert backend.verify_subscription(house.id).equal
    house.lake.grant(house.helper, "discover", house.reports)
    with acting(house.helper):
        with pytest.raises(AccessDeniedError, match="write to the target"):
            backend.resume_subscription(house.id)  # it would be on his behalf
        with pytest.raises(AccessDeniedError, match="administer"):
            backend.revoke_subscription(house.id)

    house.lake.grant(house.helper, "administer", house.on)
    with acting(house.helper):
        house.lake.grant(house.guide, "discover", house.on)
        assert backend.revoke_subscription(house.id).state is SubscriptionState.REVOKED
    assert house.seen(house.guide) == [house.id]
    house.lake.revoke(house.guide, "discover", house.on)
    assert house.seen(house.guide) == []


def test_a_grant_shows_nothing_of_a_dataset_that_is_hidden(house: House, server: FastAPI) -> None:
    with acting(house.consumer):  # he may grant what is his, but not make the dataset known
        house.lake.grant(house.stranger, "administer", house.on)
    client = client_of(server, house.app, house.stranger)
    assert client.get("/api/v1/subscriptions").json()["items"] == []
    for tail in ("", "/history", "/deliveries"):
        answer = client.get(f"/api/v1/subscriptions/{house.id}{tail}")
        assert (answer.status_code, house.space in answer.text) == (404, False)
    assert client.get(f"/subscriptions/{house.id}").status_code == 404
    assert client.post(f"/api/v1/subscriptions/{house.id}/pause", json={}).status_code == 404
    grants = client.get("/api/v1/access/grants").json()["items"]
    assert [(one["kind"], one["securable_name"]) for one in grants] == [("subscription", str(house.id))]
    explained = house.lake.backend.explain_access(house.stranger, "read", house.on)
    assert not explained.allowed
    assert [one.note for one in explained.reasons] == ["he may not discover the dataset that it follows"]
    house.lake.grant(house.stranger, "discover", house.orders)
    assert client.get(f"/api/v1/subscriptions/{house.id}").status_code == 200


def test_only_administering_reaches_the_subscriptions_of_a_dataset_or_a_target(house: House) -> None:
    for privilege in ("read", "alter", "write"):
        house.lake.grant(house.helper, privilege, house.orders)
    house.lake.grant(house.helper, "write", house.reports)
    assert house.seen(house.helper) == []
    house.lake.grant(house.helper, "administer", house.reports)
    assert house.seen(house.helper) == [house.id]
    house.lake.grant(house.stranger, "administer", house.reports)
    assert house.seen(house.stranger) == []  # the dataset is hidden from him
    house.lake.grant(house.steward, "administer", f"namespace:{house.space}")
    house.lake.grant(house.helper, "read", house.on)
    found = {(one.principal, one.privilege.value, one.on) for one in house.lake.holders(house.on)}
    assert found == {
        (house.helper, "administer", house.reports),
        (house.helper, "read", house.on),
        (house.stranger, "administer", house.reports),
        (house.steward, "administer", f"namespace:{house.space}"),
    }


@pytest.mark.parametrize("privilege", [Privilege.READ, Privilege.ALTER])
def test_explanations_agree_with_what_is_decided(house: House, privilege: Privilege) -> None:
    house.lake.grant(house.helper, "read", house.orders)
    house.lake.grant(house.helper, "read", house.on)
    house.lake.grant(house.stranger, "administer", house.reports)
    for principal in (house.consumer, house.publisher, house.helper, house.stranger):
        with acting(principal):
            explained = (
                house.lake.backend.explain_access(principal, privilege.value, house.on)
                if house.seen(principal)
                else None
            )
        by_operator = house.lake.backend.explain_access(principal, privilege.value, house.on)
        assert explained in (None, by_operator)
        assert by_operator.allowed is any(one.holds for one in by_operator.reasons)
        with house.app.store.read() as tx, acting(principal):
            held = house.app.authorizer.on_subscriptions(tx, [house.id]).get(house.id, ())
        assert by_operator.allowed is (privilege in held)


def test_the_grant_option_goes_with_one_privilege(house: House) -> None:
    house.lake.grant(house.helper, "read", house.on, grant_option=True)
    with acting(house.helper):
        house.lake.grant(house.guide, "read", house.on)
        with pytest.raises(AccessDeniedError):
            house.lake.grant(house.guide, "alter", house.on)
    house.lake.grant(house.guide, "read", house.orders, grant_option=True)
    with acting(house.guide), pytest.raises(AccessDeniedError):
        house.lake.grant(house.helper, "alter", house.on)


def test_access_to_a_subscription_is_asked_for_and_approved_by_its_consumer(house: House) -> None:
    house.lake.grant(house.helper, "discover", house.on)
    with acting(house.helper):
        asked = house.lake.request_access(house.on, "read", purpose="on call", days=5)
    with acting(house.consumer):
        assert [(one.id, one.on) for one in house.lake.access_requests(waiting=True)] == [(asked.id, house.on)]
        house.lake.approve_access(asked.id)
    with acting(house.helper):
        assert len(house.lake.backend.subscription_deliveries(house.id)) == 1


def test_what_was_granted_goes_with_the_dataset(house: House) -> None:
    house.lake.grant(house.helper, "read", house.on)
    with acting(house.helper):
        asked = house.lake.request_access(house.on, "alter", purpose="on call", days=5)
    with house.app.store.write() as tx:
        dataset = tx.datasets.get(house.space, "orders")
        assert dataset is not None
        tx.datasets.purge(dataset.id)
    assert [one for one in house.lake.grants(principal=house.helper) if one.kind == "subscription"] == []
    house.app.access_requests.follow_up()
    assert house.lake.access_request(asked.id).state.value == "refused"


@pytest.mark.parametrize("privilege", ["create", "write", "external_use"])
def test_what_means_nothing_on_a_subscription_is_not_granted(house: House, privilege: str) -> None:
    with pytest.raises(InvalidInputError, match=r"means nothing|Nothing is created"):
        house.lake.grant(house.helper, privilege, house.on)


def test_a_subscription_has_no_rows_and_no_tags_to_grant_by(house: House) -> None:
    with pytest.raises(InvalidInputError, match="no row filter"):
        house.lake.grant(house.helper, "read", house.on, row_filter="id > 1")
    with pytest.raises(InvalidInputError, match="no policy tags"):
        house.lake.grant(house.helper, "read", house.on, tags="a = b")
    with pytest.raises(InvalidNameError, match="no subscription's id"):
        house.lake.grant(house.helper, "read", "subscription:orders")


def test_the_page_shows_and_offers_what_somebody_may(house: House, server: FastAPI) -> None:
    client = client_of(server, house.app, house.helper)
    house.lake.grant(house.helper, "discover", house.on)
    page = client.get(f"/subscriptions/{house.id}").text
    assert "Deliveries and errors are shown to those who may read" in page
    assert ("Pause" in page, 'id="deliveries"' in page) == (False, False)
    house.lake.grant(house.helper, "read", house.on)
    house.lake.grant(house.helper, "alter", house.on)
    page = client.get(f"/subscriptions/{house.id}").text
    assert "Deliveries and errors are shown to those who may read" not in page
    assert ("Pause" in page, 'id="deliveries"' in page) == (True, True)
