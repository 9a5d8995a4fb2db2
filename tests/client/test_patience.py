"""A client that is told to come back later does."""

from __future__ import annotations

import httpx2
import pytest

from cordillera.client import connection
from cordillera.client.connection import Connection
from cordillera.errors import RateLimitedError

LATER = {"error": {"code": "rate_limited", "message": "Too much.", "hint": "", "details": {}, "trace_id": ""}}


class Server:
    """Takes a request only after some were refused."""

    def __init__(self, refusals: int, retry_after: str) -> None:
        self.refusals, self.retry_after, self.bodies = refusals, retry_after, []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(request.read())
        if len(self.bodies) <= self.refusals:
            return httpx2.Response(429, json=LATER, headers={"Retry-After": self.retry_after})
        return httpx2.Response(200, json={"done": "yes"})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(connection.time, "sleep", slept.append)
    return slept


def post(server: Server) -> dict[str, str]:
    lake = Connection("http://127.0.0.1:1", "cdl_x", httpx2.MockTransport(server))
    return lake.post(dict[str, str], "/things", {"a": 1})


def test_a_client_waits_as_it_is_told(slept: list[float]) -> None:
    server = Server(2, "3")
    assert post(server) == {"done": "yes"}
    assert slept == [3, 3]
    assert server.bodies == [b'{"a":1}'] * 3, "a request that was not taken was not done, so it can be sent again"


@pytest.mark.parametrize(
    ("refusals", "retry_after", "tries"), [(9, "1", 4), (9, "3600", 1), (9, "soon", 1), (9, "", 1)]
)
def test_a_client_does_not_wait_for_ever(slept: list[float], refusals: int, retry_after: str, tries: int) -> None:
    server = Server(refusals, retry_after)
    with pytest.raises(RateLimitedError, match="Too much"):
        post(server)
    assert (len(server.bodies), len(slept)) == (tries, tries - 1)


def test_rows_are_waited_for_too(slept: list[float]) -> None:
    server = Server(9, "1")
    with pytest.raises(RateLimitedError):
        Connection("http://127.0.0.1:1", "x", httpx2.MockTransport(server)).read_rows("GET", "/rows")
    assert slept == [1, 1, 1]
