"""The connection: what it leads to, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection
from cordillera_airflow.errors import LakeRefusedError, LakeUnreachableError
from cordillera_airflow.hook import CordilleraHook
from cordillera_airflow.server import Server
from lake_server import LakeServer


def test_airflow_knows_the_provider_and_its_kind_of_connection() -> None:
    found = ProvidersManager()
    assert found.providers["airflow-provider-cordillera"].version
    kind = found.hooks["cordillera"]
    assert kind is not None
    assert (kind.hook_class_name, kind.hook_name) == ("cordillera_airflow.hook.CordilleraHook", "Cordillera")


def test_a_connection_that_works_says_to_which_lake_and_as_whom(lake: LakeServer) -> None:
    works, message = CordilleraHook().test_connection()
    assert works, message
    assert "Connected to the lake" in message
    assert lake.token not in message


def test_a_wrong_token_is_named_by_its_connection_and_not_shown(connection: Callable[..., None]) -> None:
    connection(token="cdl_wrong")
    works, message = CordilleraHook().test_connection()
    assert not works
    assert "'cordillera_default'" in message
    assert "cdl_wrong" not in message
    with pytest.raises(LakeRefusedError, match="token"):
        CordilleraHook().completion("sales.orders", "2026-01-31")


def test_a_server_that_is_not_there_may_come_back(connection: Callable[..., None]) -> None:
    connection(url="http://127.0.0.1:9")
    works, message = CordilleraHook().test_connection()
    assert not works
    assert "http://127.0.0.1:9" in message
    with pytest.raises(LakeUnreachableError):
        CordilleraHook().completion("sales.orders", "2026-01-31")


@pytest.mark.parametrize("host", ["", "ftp://lake.example.com", "https://user@lake.example.com"])
def test_a_host_that_is_no_server_is_refused(host: str, connection: Callable[..., None]) -> None:
    connection(url=host)
    with pytest.raises(LakeRefusedError, match="names no lake"):
        CordilleraHook().completion("sales.orders", "2026-01-31")


@pytest.mark.parametrize("token", ["", "cdl_a b", "cdl_a\n", "cdl_…"])
def test_a_token_that_can_be_none_is_refused_unshown(token: str, connection: Callable[..., None]) -> None:
    connection(token=token)
    with pytest.raises(LakeRefusedError, match="API token") as error:
        CordilleraHook().completion("sales.orders", "2026-01-31")
    assert not token or token not in str(error.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"host": "lake.example.com"}, "https://lake.example.com"),
        ({"host": "lake.example.com", "port": 8470}, "https://lake.example.com:8470"),
        ({"host": "lake.example.com", "schema": "http"}, "http://lake.example.com"),
        ({"host": "https://example.com/lake/"}, "https://example.com/lake"),
    ],
)
def test_the_server_is_named_as_in_other_connections(given: dict[str, object], url: str) -> None:
    found = Server.of(Connection(conn_id="mine", conn_type="cordillera", password="cdl_secret", **given))
    assert found.url == url
    assert "cdl_secret" not in repr(found)


def test_what_may_not_be_discovered_is_not_there(
    lake: LakeServer, orders: str, connection: Callable[..., None]
) -> None:
    connection(token=lake.create_token("service:stranger")[1])
    with pytest.raises(LakeRefusedError, match=orders):
        CordilleraHook().completion(orders, "2026-01-31")


def test_odd_names_lead_nowhere_else(lake: LakeServer, orders: str) -> None:
    for partition in ("../../../lake", "..", "2026-01-31?wait=30", "a/b"):
        with pytest.raises(LakeRefusedError):
            CordilleraHook().completion(orders, partition)
