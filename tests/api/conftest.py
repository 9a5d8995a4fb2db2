"""A real server on an empty lake, and a plain HTTP client with a token, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest

from cordillera.client.local import LocalBackend
from cordillera.testing.backend_suite import make_orders
from tests.client.conftest import app, token, url

__all__ = ["app", "token", "url"]


@pytest.fixture
def http(url: str, token: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    ) as client:
        yield client


@pytest.fixture
def anonymous(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def backend(app) -> LocalBackend:
    return LocalBackend(app)


@pytest.fixture
def dataset(backend: LocalBackend) -> str:
    namespace = backend.create_namespace(f"t{uuid4().hex[:12]}").name
    return make_orders(backend, namespace)
