"""The principal and the trace of a request reach everything that is done for it, in whatever thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest

from cordillera.app import Application
from cordillera.arrow_stream import ARROW_STREAM, encoded
from cordillera.client.local import LocalBackend
from cordillera.client.remote import RemoteBackend
from cordillera.context import acting
from cordillera.testing.backend_suite import orders
from tests.tokens import administrators_token

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", True),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-comes-later", True),
        (f"ff-{TRACE}-b7ad6b7169203331-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", False),
        (TRACE, False),
        ("", False),
    ],
)
def test_a_valid_trace_is_kept(http: httpx2.Client, header: str, kept: bool) -> None:
    answer = http.get("/lake", headers={"traceparent": header})
    assert (answer.headers["x-trace-id"] == TRACE) is kept
    assert len(answer.headers["x-trace-id"]) == 32


@pytest.fixture
def callers(app: Application) -> dict[str, str]:
    """Tokens of several principals."""
    return {f"user:{name}": administrators_token(app, f"user:{name}") for name in ("ann", "ben", "cleo", "dan")}


def test_the_audit_log_names_who_called(
    url: str, app: Application, backend: LocalBackend, dataset: str, callers: dict[str, str]
) -> None:
    """Many callers at once, on more requests than the server has threads warm, over every kind of handler."""
    body = b"".join(encoded(orders().schema, orders(1)))

    def call(number: int) -> tuple[str, str]:
        principal, token = list(callers.items())[number % len(callers)]
        trace = uuid4().hex
        headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        address = f"{url}/api/v1/datasets/{dataset}"
        with httpx2.Client(base_url=address, headers=headers, trust_env=False, timeout=120) as client:
            if number % 2:
                answer = client.post("/rows?operation=upsert", content=body, headers={"Content-Type": ARROW_STREAM})
            else:
                answer = client.post("/completions", json={"partition": "2013-01-31"})
        assert answer.is_success, answer.text
        assert answer.headers["x-trace-id"] == trace
        return trace, principal

    with ThreadPoolExecutor(8) as pool:
        expected = set(pool.map(call, range(32)))
    entries = [entry for entry in backend.audit(object_name=dataset) if entry.action != "dataset.create"]
    assert {(entry.trace_id, entry.principal) for entry in entries} == expected
    assert len(entries) == 32
    traces = {event.trace_id for event in backend.events(dataset=dataset, limit=1000)}
    assert {trace for trace, _ in expected} <= traces


def test_a_client_hands_its_trace_on(url: str, token: str, backend: LocalBackend) -> None:
    name = f"t{uuid4().hex[:12]}"
    remote = RemoteBackend(url, token)
    with acting(trace_id=TRACE):
        remote.create_namespace(name)
    remote.close()
    (entry,) = backend.audit(object_name=name)
    assert (entry.trace_id, entry.principal) == (TRACE, "user:tester")
