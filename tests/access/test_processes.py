"""Two servers on one lake: what is revoked at one is over at the other with the next call."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import cordillera
from cordillera.errors import AccessDeniedError, DatasetNotFoundError
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from tests.reliability.processes import started


def _serve(lake: Path) -> int:
    from cordillera.cli.main import main

    return main(["serve", "--lake", str(lake), "--port", "0", "--workers", "0"])


def test_a_grant_that_is_revoked_at_one_server_is_over_at_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORDILLERA_TOKEN", raising=False)
    path = tmp_path / "lake"
    with cordillera.create(path) as lake:
        lake.create_namespace("sales", owner="user:owner")
        lake.create_dataset("sales.orders", {"id": pa.int64()}, key=["id"]).write([{"id": 1}], "upsert")
        app = lake.backend.app
        app.grants.grant(WantedGrant("user:boss", Privilege.ADMINISTER, "lake"))
        boss, ana = (app.access.create_token(name, principal=f"user:{name}").secret for name in ("boss", "ana"))
    with (
        started(_serve, path, folder=tmp_path) as one,
        started(_serve, path, folder=tmp_path) as other,
        cordillera.connect(one.url(), boss) as here,
        cordillera.connect(other.url(), ana) as there,
    ):
        orders = there.dataset("sales.orders")
        with pytest.raises(DatasetNotFoundError):
            orders.scan().to_arrow()
        here.add_member("role:readers", "user:ana")
        here.grant("role:readers", "read", "namespace:sales")
        assert orders.scan().to_arrow().num_rows == 1
        with pytest.raises(AccessDeniedError, match=r"user:ana may not write to the dataset sales\.orders"):
            orders.write([{"id": 2}], "upsert")
        here.revoke("role:readers", "read", "namespace:sales")
        with pytest.raises(DatasetNotFoundError):
            orders.scan().to_arrow()
        here.grant("role:readers", "read", "namespace:sales")
        here.remove_member("role:readers", "user:ana")
        with pytest.raises(DatasetNotFoundError):
            orders.scan().to_arrow()
        assert list(there.namespaces()) == []
