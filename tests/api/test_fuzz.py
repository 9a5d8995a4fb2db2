"""Requests made from the API's own description, sensible and not: each is answered, and none by a failure of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis import Case
from schemathesis.schemas import APIOperation

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.errors import AlreadyExistsError
from cordillera.server import create_server
from cordillera.testing.running_server import running_server

EXAMPLES = 25
"""Requests to each route."""
PEOPLE = pa.table({"id": [1, 2], "name": ["a", "b"]})
REAL = {"namespace": "sales", "table": "people", "view": "open", "name": "sales.people"}
"""What path parameters are called that stand for something there is; the other half of requests have any text there."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder: Path = tmp_path_factory.mktemp("lake")
    with create_lake(folder / "lake") as app:
        yield app


@pytest.fixture(scope="module")
def url(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield url


@pytest.fixture(scope="module")
def token(app: Application) -> str:
    return app.access.create_token("fuzz", principal="user:fuzz").secret


def furnish(app: Application) -> None:
    """Put back what a request has removed."""
    lake = Lake(LocalBackend(app))
    with suppress(AlreadyExistsError):
        lake.create_namespace("sales")
    with suppress(AlreadyExistsError):
        lake.create_dataset("sales.people", PEOPLE.schema, key=["id"]).write(PEOPLE, "upsert")
    with suppress(AlreadyExistsError):
        lake.create_view("sales.open", "SELECT id FROM sales.people")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_request_makes_the_server_fail(app: Application, url: str, token: str) -> None:
    description = schemathesis.openapi.from_dict(create_server(app).openapi())
    operations = [found.ok() for found in description.exclude(path="/api/v1/events/stream").get_all_operations()]
    assert len(operations) > 100
    for operation in operations:
        requests_to(operation, app, url, token)()


def requests_to(operation: APIOperation, app: Application, url: str, token: str) -> Callable[[], None]:
    """Return a test of one route."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), real=booleans())
    def test(case: Case, real: bool) -> None:
        furnish(app)
        if real:
            case.path_parameters = {name: REAL.get(name, given) for name, given in case.path_parameters.items()}
        case.headers = {**case.headers, "Authorization": f"Bearer {token}"}
        answer = case.call(base_url=url, timeout=60)
        assert answer.status_code < 500, answer.text

    return test
