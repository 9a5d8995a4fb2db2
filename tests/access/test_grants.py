"""Who may give and take privileges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.app import Application, create_lake
from cordillera.client.lake import Lake
from cordillera.client.local import LocalBackend
from cordillera.context import acting
from cordillera.errors import AccessDeniedError
from cordillera.spec.access import Grant, Privilege, parse_securable
from cordillera.spec.wanted_grant import WantedGrant
from tests.conftest import MovableClock

OWNER, DELEGATE, ANA, BOB = "user:owner", "user:delegate", "user:ana", "user:bob"
ORDERS = parse_securable("sales.orders")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    with create_lake(tmp_path / "lake") as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales", owner=OWNER)
        lake.create_dataset("sales.orders", pa.schema([("id", pa.int64())]))
        app.grants.grant(WantedGrant(DELEGATE, Privilege.READ, str(ORDERS), grant_option=True))
        yield app


def of(app: Application, principal: str) -> list[Grant]:
    return app.grants.page(principal=principal)


def test_who_may_grant_on_gives_what_he_has(app: Application) -> None:
    with acting(DELEGATE):
        app.grants.grant(WantedGrant(ANA, Privilege.READ, str(ORDERS)))
        app.grants.grant(WantedGrant(ANA, Privilege.DISCOVER, str(ORDERS)))
        for privilege in set(Privilege) - {Privilege.READ, Privilege.DISCOVER, Privilege.CREATE}:
            with pytest.raises(AccessDeniedError):
                app.grants.grant(WantedGrant(ANA, privilege, str(ORDERS)))
        with pytest.raises(AccessDeniedError):
            app.grants.grant(WantedGrant(ANA, Privilege.READ, "namespace:sales"))
    with acting(ANA), pytest.raises(AccessDeniedError):
        app.grants.grant(WantedGrant(BOB, Privilege.READ, str(ORDERS)))
    assert {one.privilege for one in of(app, ANA)} == {Privilege.READ, Privilege.DISCOVER}


def test_what_somebody_may_no_longer_discover_keeps_its_name(tmp_path: Path, clock: MovableClock) -> None:
    with create_lake(tmp_path / "lake", clock=clock) as app:
        lake = Lake(LocalBackend(app))
        lake.create_namespace("sales", owner=OWNER)
        orders = lake.create_dataset("sales.orders", pa.schema([("id", pa.int64())]))
        app.grants.grant(WantedGrant(ANA, Privilege.READ, str(ORDERS), expires_at=clock.now() + timedelta(days=1)))
        orders = orders.rename("sales.purchases")
        with acting(ANA):
            assert [one.on for one in of(app, ANA)] == ["dataset:sales.purchases"]
        clock.advance(days=2)
        orders.rename("sales.layoffs")
        with acting(ANA):
            assert [one.on for one in of(app, ANA)] == ["dataset:sales.orders"]
        assert [one.on for one in of(app, ANA)] == ["dataset:sales.layoffs"]


def test_who_may_grant_on_does_not_end_what_others_gave(app: Application) -> None:
    given = app.grants.grant(WantedGrant(ANA, Privilege.READ, str(ORDERS)))
    soon = app.clock.now() + timedelta(seconds=1)
    with acting(DELEGATE):
        with pytest.raises(AccessDeniedError):
            app.grants.grant(WantedGrant(ANA, Privilege.READ, str(ORDERS), expires_at=soon))
        with pytest.raises(AccessDeniedError):
            app.grants.revoke(ANA, Privilege.READ, ORDERS)
        app.grants.grant(WantedGrant(BOB, Privilege.READ, str(ORDERS)))
        app.grants.grant(WantedGrant(BOB, Privilege.READ, str(ORDERS), expires_at=soon))
    assert of(app, ANA) == [given]
    assert [one.expires_at for one in of(app, BOB)] == [soon]
    with acting(OWNER):
        app.grants.grant(WantedGrant(BOB, Privilege.READ, str(ORDERS)))
        app.grants.revoke(ANA, Privilege.READ, ORDERS)
    assert (of(app, ANA), [one.expires_at for one in of(app, BOB)]) == ([], [None])
