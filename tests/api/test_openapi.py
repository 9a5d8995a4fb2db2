"""The API's description is complete, and what it promises holds for requests nobody thought of."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from cordillera.app import Application
from cordillera.server import create_server


@pytest.fixture(scope="module")
def description(app: Application) -> dict[str, Any]:
    return create_server(app).openapi()


def test_every_operation_is_described(description: dict[str, Any]) -> None:
    seen = []
    for path, operations in description["paths"].items():
        shape = {"api": "ErrorAnswer", "iceberg": "IcebergErrorAnswer"}[path.split("/")[1]]
        for method, operation in operations.items():
            seen.append(operation["operationId"])
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert len(operation["tags"]) == 1
            assert "422" not in operation["responses"]
            if operation["operationId"] == "issue_token":  # who asks has no token yet, and errors are those of OAuth
                assert "security" not in operation
                continue
            assert operation["security"] == [{"HTTPBearer": []}]
            errors = {"400", "401", "404", "409", "default"}
            assert errors <= set(operation["responses"]), (method, path)
            for code in errors:
                content = operation["responses"][code]["content"]["application/json"]
                assert content["schema"] == {"$ref": f"#/components/schemas/{shape}"}
    assert len(seen) == len(set(seen)) > 50


def test_every_list_is_a_page(description: dict[str, Any]) -> None:
    pages = [
        operation["get"]
        for path, operation in description["paths"].items()
        if "get" in operation and operation["get"]["operationId"].startswith("list_")
    ]
    assert len(pages) > 10
    for operation in pages:
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"].startswith("#/components/schemas/Page_"), operation["summary"]


def test_the_description_needs_nothing_from_elsewhere(http: httpx2.Client) -> None:
    answer = http.get("/openapi.json", timeout=60)  # it is made now
    assert answer.status_code == 200
    assert "http://" not in answer.text.replace("http://127.0.0.1", "")
    for path in ("/docs", "/redoc", "/api/v1/docs"):
        assert http.get(f"/../..{path}").status_code == 404
