"""Every route that reads, asked by somebody: what the tests share that look for what leaks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import UUID

from fastapi import FastAPI
from starlette.testclient import TestClient

from cordillera.app import Application
from tests.access.test_routes import ROUTES

ENDLESS = "GET /api/v1/events/stream"
"""Answers for as long as somebody listens; tests/api/test_event_streams.py shows what it tells whom."""
READING = [
    route for route, needs in ROUTES.items() if route.startswith("GET") and needs.on != "public" and route != ENDLESS
]


def client_of(server: FastAPI, app: Application, principal: str) -> TestClient:
    """Return a client that asks a server in the name of a principal."""
    token = app.access.create_token(f"of {principal} {app.clock.new_id()}", principal=principal)
    headers = {"Authorization": f"Bearer {token.secret}"}
    return TestClient(server, base_url="http://localhost", headers=headers)


def address(route: str, dataset: str, places: Mapping[str, object]) -> str:
    """Return the path of a route about a dataset.

    Args:
        route: The method and the path with its placeholders.
        dataset: Goes where a dataset's name does, or its namespace's or table's.
        places: Besides, or instead: placeholder, or what stands before it too → what goes there.
    """
    namespace, _, table = dataset.rpartition(".")
    path = route.split(" ")[1]
    known = {
        "namespaces/{name}": f"namespaces/{namespace}",
        "{name}": dataset,
        "{name:qualified}": dataset,
        "{namespace}": namespace,
        "{table}": table,
        "{view}": table,
        "{partition:path}": "all",
        "{sequence_number}": "1",
        "{sequence}": "1",
        "{branch}": "candidate-1",
    }
    for placeholder, value in {**places, **known}.items():
        path = path.replace(placeholder, str(value))
    path = re.sub(r"\{\w+_id\}", str(UUID(int=0)), path)  # of whatever else has an id there is none
    assert "{" not in path, f"say what stands for the placeholders of {route}"
    return path
