"""Every error has the one shape, whoever raises it, and tells nothing it should not."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from cordillera.api.errors import ErrorAnswer
from cordillera.app import Application
from cordillera.metrics import ERRORS
from cordillera.server import create_server

TRACE = re.compile(r"[0-9a-f]{32}")


def shape_of(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check an error's shape, and return what it says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["error"]
    error: dict[str, Any] = answer["error"]
    assert list(error) == ["code", "message", "hint", "details", "trace_id"]
    assert error["code"] == code
    assert error["message"]
    assert TRACE.fullmatch(error["trace_id"])
    assert response.headers["x-trace-id"] == error["trace_id"]
    ErrorAnswer.model_validate(answer)
    return error


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/datasets/no.where", 404, "dataset_not_found"),
        ("GET", "/datasets/nowhere", 400, "invalid_name"),
        ("DELETE", "/namespaces/nowhere", 404, "namespace_not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/datasets/", 404, "not_found"),
        ("PUT", "/lake", 405, "method_not_allowed"),
        ("GET", "/datasets?limit=many", 400, "invalid_input"),
        ("GET", "/runs/no-uuid", 400, "invalid_input"),
        ("GET", "/datasets/a.b/snapshots/99999999999999999999", 400, "invalid_input"),
        ("GET", "/datasets?after=%00", 400, "invalid_input"),
        ("GET", "/search?colour=red", 400, "invalid_input"),
        ("POST", "/namespaces", 400, "invalid_input"),
        ("GET", "/lineage?kind=dataset&name=a.b&upstream=11", 400, "invalid_input"),
    ],
)
def test_what_goes_wrong_is_told_in_one_shape(
    http: httpx2.Client, method: str, path: str, status: int, code: str
) -> None:
    shape_of(http.request(method, path), status, code)


def test_a_field_that_does_not_fit_is_named(http: httpx2.Client) -> None:
    error = shape_of(http.post("/namespaces", json={"name": 5, "owner": "\x00"}), 400, "invalid_input")
    assert [problem["field"] for problem in error["details"]["fields"]] == ["body.name", "body.owner"]
    assert "body.name" in error["message"]
    error = shape_of(http.get("/datasets", params={"limit": 0}), 400, "invalid_input")
    assert "query.limit" in error["message"]


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"name": "\xff"}', b'{"name": "\\ud800"}'])
def test_a_body_that_is_no_json_is_refused(http: httpx2.Client, body: bytes) -> None:
    response = http.post("/namespaces", content=body, headers={"Content-Type": "application/json"})
    shape_of(response, 400, "invalid_input")


def test_an_allowed_method_is_named(http: httpx2.Client) -> None:
    response = http.put("/lake")
    assert response.headers["allow"] == "GET"
    assert "GET" in response.json()["error"]["hint"]


def test_a_bug_tells_nothing_but_its_trace(
    app: Application, token: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    server = create_server(app)

    @server.get("/broken")
    def broken() -> None:
        raise RuntimeError("password=hunter2")

    client = TestClient(server, base_url="http://localhost")
    response = client.get("/broken", headers={"Authorization": f"Bearer {token}"})
    error = shape_of(response, 500, "internal")
    assert "hunter2" not in response.text
    assert "RuntimeError" not in response.text
    logged = capsys.readouterr()
    assert "RuntimeError" in logged.out + logged.err + caplog.text  # where it goes depends on who set up logging first
    assert error["details"] == {}


def test_errors_are_counted_by_code(http: httpx2.Client) -> None:
    def count() -> float:
        return ERRORS.labels("dataset_not_found")._value.get()

    before = count()
    http.get("/datasets/no.where")
    assert count() == before + 1
