"""Loads and commits that are answered without the framework are answered as by their routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from cordillera.api.iceberg_rest import direct
from cordillera.app import Application
from cordillera.client import Lake
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from tests.api.iceberg_rest.conftest import Engine, people

ROUTE = {"unknown": "1"}
"""Parameters that nobody knows, and that lead a request to its route."""
SET = {"requirements": [], "updates": [{"action": "set-properties", "updates": {"mark": "x"}}]}
JSON = {"content-type": "application/json"}


def asked(path: str, method: str = "GET", query: str = "", **headers: str) -> Request:
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    path = f"/iceberg/v1/namespaces/{path}"
    return Request({"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": encoded})


@pytest.mark.parametrize(
    "request_",
    [
        asked("a/tables/b"),
        asked("a\x1fb-c/tables/b_v2", query="snapshots=refs", if_none_match='"x"'),
        asked("a/tables/b", "POST", content_type="application/json", content_length="2"),
    ],
)
def test_what_engines_ask_often_is_answered_directly(request_: Request) -> None:
    assert direct.direct(request_) is not None


@pytest.mark.parametrize(
    "request_",
    [
        asked("a/tables"),
        asked("a/tables/b", "HEAD"),
        asked("a/tables/b", query="snapshots=none"),
        asked("a.b/tables/b"),
        asked("a/tables/b\n"),
        asked("a/tables/ü"),
        asked(f"a/tables/{'b' * 256}"),
        asked("a/tables/b", "POST", content_type="application/json"),
        asked("a/tables/b", "POST", content_type="text/plain", content_length="2"),
        asked("a/tables/b", "POST", content_type="application/json", content_length=str(direct.MOST_BYTES + 1)),
        asked("a/tables/b", "POST", content_type="application/json", content_length="2", idempotency_key="k"),
        asked("a/tables/b", "POST", "x=1", content_type="application/json", content_length="2"),
    ],
)
def test_the_rest_is_left_to_its_route(request_: Request) -> None:
    assert direct.direct(request_) is None


def same(iceberg: httpx2.Client, method: str, path: str, **said: Any) -> httpx2.Response:
    """Send a request both ways, and return the answer."""
    direct_answer = iceberg.request(method, path, **said)
    answer = iceberg.request(method, path, params=ROUTE, **said)
    assert direct_answer.status_code == answer.status_code
    assert direct_answer.content == answer.content or "text/html" in answer.headers["content-type"]
    ignored = {"x-trace-id", "date", "content-length"}
    kept = [
        {name: value for name, value in one.headers.items() if name not in ignored} for one in (answer, direct_answer)
    ]
    assert kept[0] == kept[1]
    return answer


def test_loads_are_the_same(iceberg: httpx2.Client, table: str) -> None:
    whole = same(iceberg, "GET", table)
    assert whole.status_code == 200
    assert same(iceberg, "GET", table, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert same(iceberg, "GET", table, headers={"X-Iceberg-Access-Delegation": "vended-credentials"}).status_code == 200
    assert same(iceberg, "GET", f"{table}_v1").json() == whole.json()
    assert same(iceberg, "GET", f"{table}_none").status_code == 404
    assert iceberg.get(f"{table}?snapshots=refs").json() == iceberg.get(f"{table}?snapshots=refs&x=1").json()


def test_refusals_are_the_same(iceberg: httpx2.Client, table: str) -> None:
    stranger = {"Authorization": "Bearer cdl_no"}
    assert same(iceberg, "GET", table, headers=stranger).status_code == 401
    assert same(iceberg, "POST", table, json=SET, headers=stranger).status_code == 401
    assert same(iceberg, "GET", table, headers={"Host": "example.org"}).status_code == 400
    assert same(iceberg, "GET", f"{table}_none", headers={"Accept": "text/html"}).status_code == 404
    gone = {"requirements": [{"type": "assert-table-uuid", "uuid": "x"}], "updates": []}
    assert same(iceberg, "POST", table, json=gone).status_code == 409
    for body in ({}, {**SET, "updates": 1}, {**SET, "identifier": {"name": "x\x00"}}, {**SET, "updates": [{}]}, []):
        assert same(iceberg, "POST", table, json=body).status_code == 400
    for content in (
        b"",
        b"{",
        b'{"requirements": [], "updates": [NaN]}',
        '{"\ud800": 1}'.encode("utf-8", "surrogatepass"),
    ):
        assert same(iceberg, "POST", table, content=content, headers=JSON).status_code == 400


@pytest.fixture
def reader(app: Application, name: str, url: str) -> Iterator[httpx2.Client]:
    """Return a client of somebody who may read the table."""
    app.grants.grant(WantedGrant("user:reader", Privilege.READ, name, reason="test"))
    token = app.access.create_token(f"reader of {name}", principal="user:reader").secret
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"{url}/iceberg/v1", headers=headers, trust_env=False, timeout=60) as client:
        yield client


def test_who_may_not_is_refused_and_noted(reader: httpx2.Client, app: Application, name: str, table: str) -> None:
    assert same(reader, "GET", table).status_code == 200
    before = denied(app, name)
    assert same(reader, "POST", table, json=SET).status_code == 403
    assert denied(app, name) == before + 2
    gone = {"requirements": [{"type": "assert-table-uuid", "uuid": "x"}], "updates": SET["updates"]}
    assert same(reader, "POST", table, json=gone).status_code == 403, "before anything is told of the table"


def denied(app: Application, name: str) -> int:
    with app.store.read() as tx:
        return sum(one.action == "access.denied" for one in tx.audit.page(object_name=name, limit=100))


def test_tokens_for_reading_change_nothing(url: str, app: Application, table: str, name: str) -> None:
    token = app.access.create_token(f"looks at {name}", principal="user:test", read_only=True).secret
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"{url}/iceberg/v1", headers=headers, trust_env=False, timeout=60) as client:
        assert "for reading" in same(client, "POST", table, json=SET).json()["error"]["message"]


def test_commits_are_the_same(iceberg: httpx2.Client, lake: Lake, app: Application, engine: Engine, table: str) -> None:
    for number, params in enumerate(({}, ROUTE), 4):
        answer = iceberg.post(table, json=engine.append(people(number)), params=params)
        assert answer.status_code == 200
        assert answer.json() == iceberg.get(table).json()
    one, other = app.catalog.snapshots(engine._name)[:2]
    assert one.principal == other.principal


def test_a_failure_of_ours_leaves_a_commits_state_unknown(
    iceberg: httpx2.Client, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(direct, "commit", fail)
    answer = iceberg.post(table, json=SET)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "CommitStateUnknownException")
