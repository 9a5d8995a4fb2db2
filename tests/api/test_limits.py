"""Who asks too often, sends too much, too slowly, or compressed."""

from __future__ import annotations

import gzip
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from cordillera.api import connections
from cordillera.api.auth import COOKIE
from cordillera.api.limits import Rate, RequestLimit, SignInLimits
from cordillera.app import Application, create_lake
from cordillera.arrow_stream import ARROW_STREAM
from cordillera.errors import AuthenticationError, InvalidConfigurationError, RateLimitedError
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.api.iceberg_rest.test_commits import refused
from tests.api.test_auth import bearer
from tests.api.test_errors import shape_of
from tests.tokens import administrators_token


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- how often ------------------------------------------------------------------------------------------------------


def test_turns_come_back_one_by_one() -> None:
    clock = Seconds()
    rate = Rate(3, 10.0, clock)
    assert [rate.take("a") for _ in range(4)] == [0, 0, 0, 10.0]
    assert rate.take("b") == 0, "keys are counted apart"
    clock.now += 9
    assert (rate.wait("a"), rate.take("a")) == (1.0, 1.0), "a refusal costs nothing"
    clock.now += 1
    assert [rate.take("a"), rate.take("a")] == [0, 10.0]
    clock.now += 1000
    assert [rate.take("a") for _ in range(4)] == [0, 0, 0, 10.0], "no more than so many at once, however long ago"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordillera.api.limits._MOST_KEYS", 100)
    rate = Rate(1, 1e9, Seconds())
    rate.take("used again")
    for number in range(99):
        rate.take(str(number))
    rate.take("one more")
    assert len(rate._free_at) == 100
    assert rate.take("used again") == 0, "the one not used for longest was forgotten"
    assert rate.take("98") > 0


def fail(limits: SignInLimits, address: str, secret: str) -> bool:
    """Tell whether a sign-in was tried, in vain."""
    try:
        with limits.attempt(address, secret):
            raise AuthenticationError("wrong")
    except RateLimitedError:
        return False
    except AuthenticationError:
        return True


def test_one_who_tries_secret_after_secret_is_refused_for_his_address() -> None:
    limits = SignInLimits(clock := Seconds())
    assert sum(fail(limits, "192.0.2.1", f"cdl_{number:08}") for number in range(500)) == 100
    assert fail(limits, "192.0.2.2", "cdl_00000001")
    with pytest.raises(RateLimitedError), limits.attempt("192.0.2.1", "cdl_good"):
        raise AssertionError("not entered")
    clock.now += 2
    with limits.attempt("192.0.2.1", "cdl_good"):
        pass
    assert fail(limits, "192.0.2.1", "cdl_again")


def test_a_program_that_repeats_an_expired_token_shuts_out_nobody_else() -> None:
    limits = SignInLimits(clock := Seconds())
    tried = 0
    for _ in range(10_000):
        clock.now += 0.1
        tried += fail(limits, "192.0.2.1", "eyJhbGciOiJIUzI1NiJ9.expired")
    assert 100 <= tried <= 112
    with limits.attempt("192.0.2.1", "eyJhbGciOiJIUzI1NiJ9.good"):
        pass


def test_the_beginning_of_a_secret_counts_wherever_it_is_tried_from() -> None:
    limits = SignInLimits(Seconds())
    assert sum(fail(limits, f"192.0.2.{number}", f"cdl_abcdefgh{number}") for number in range(20)) == 10


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
    ],
)
def test_an_address_counts_with_its_network(one: str, other: str, same: bool) -> None:
    limits = SignInLimits(Seconds())
    for number in range(100):
        fail(limits, one, f"cdl_{number:08}")
    assert fail(limits, other, "cdl_other") is not same


def test_requests_are_limited_only_where_that_is_wanted() -> None:
    RequestLimit(0.0).check("user:x")
    limit = RequestLimit(2.0, clock := Seconds())
    for _ in range(10):
        limit.check("user:x")
    with pytest.raises(RateLimitedError, match="user:x") as caught:
        limit.check("user:x")
    assert caught.value.details == {"retry_after_seconds": 1}
    limit.check("user:y")
    clock.now += 0.5
    limit.check("user:x")


# --- over HTTP ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[TestClient]:
    with TestClient(create_server(app), base_url="http://127.0.0.1", follow_redirects=False) as client:
        yield client


@pytest.fixture
def fresh(client: TestClient) -> TestClient:
    """Return a client of a server at which nobody has failed yet, and nothing is forgiven with time."""
    state = client.app.state
    state.access_rules = replace(state.access_rules, sign_ins=SignInLimits(Seconds()))
    client.cookies.clear()
    return client


def test_guessing_ends_everywhere(fresh: TestClient, token: str) -> None:
    for number in range(100):
        assert fresh.get("/api/v1/lake", headers=bearer(f"cdl_{number:08}")).status_code == 401
    answer = fresh.get("/api/v1/lake", headers=bearer("cdl_x"))
    assert 1 <= int(answer.headers["retry-after"]) <= 2
    shape_of(answer, 429, "rate_limited")
    answer = fresh.get("/iceberg/v1/config", headers=bearer("cdl_x"))
    refused(answer, "TooManyRequestsException", 429)
    assert "retry-after" in answer.headers
    form = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "cdl_x"}
    refused(fresh.post("/iceberg/v1/oauth/tokens", data=form), "TooManyRequestsException", 429)
    page = fresh.post("/login", data={"token": "cdl_x"}, headers={"Accept": "text/html"})
    assert (page.status_code, "Too many sign-ins" in page.text) == (429, True)
    assert "retry-after" in page.headers
    shape_of(fresh.get("/api/v1/lake", headers={"Cookie": f"{COOKIE}={token}"}), 429, "rate_limited")
    assert fresh.get("/healthz").status_code == 200
    shape_of(fresh.get("/api/v1/lake"), 401, "authentication")


def test_failures_count_wherever_they_happen(fresh: TestClient) -> None:
    form = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "cdl_same-one"}
    for _ in range(5):
        assert fresh.post("/login", data={"token": "cdl_same-one"}).status_code == 401
        assert fresh.post("/iceberg/v1/oauth/tokens", data=form).status_code == 401
    shape_of(fresh.get("/api/v1/lake", headers=bearer("cdl_same-one")), 429, "rate_limited")


def test_a_setting_limits_requests(tmp_path: Path) -> None:
    with create_lake(tmp_path / "lake", requests_per_second="0.4") as app:
        first, second = administrators_token(app, "user:a"), administrators_token(app, "user:b")
        client = TestClient(create_server(app), base_url="http://127.0.0.1")
        codes = [client.get("/api/v1/lake", headers=bearer(first)).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert client.get("/iceberg/v1/config", headers=bearer(first)).headers["retry-after"] in ("1", "2", "3")
        assert client.get("/api/v1/lake", headers=bearer(second)).status_code == 200
        assert client.get("/healthz").status_code == 200


# --- whom to believe ------------------------------------------------------------------------------------------------

POSING = {
    "X-Forwarded-User": "user:root",
    "X-Forwarded-Email": "root@example.com",
    "X-Remote-User": "user:root",
    "Remote-User": "user:root",
    "X-Cordillera-Principal": "user:root",
    "X-Cordillera-Operator": "true",
    "X-Auth-Request-User": "user:root",
    "X-Forwarded-For": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;by=user:root;host=localhost",
    "X-Iceberg-User": "root",
}


def test_headers_do_not_say_who_somebody_is(anonymous: httpx2.Client, app: Application) -> None:
    shape_of(anonymous.get("/api/v1/lake", headers=POSING), 401, "authentication")
    own = app.access.create_token(f"poser {uuid4()}", principal="user:poser").secret
    answer = anonymous.post("/api/v1/namespaces", json={"name": "posed"}, headers={**POSING, **bearer(own)})
    shape_of(answer, 403, "access_denied")
    assert "user:poser" in answer.text
    assert "root" not in answer.text


def test_only_a_proxy_that_is_trusted_says_where_requests_come_from(tmp_path: Path) -> None:
    def refused(client: httpx2.Client) -> int:
        answers = (
            client.get("/api/v1/lake", headers={**bearer(f"cdl_{n:08}"), "X-Forwarded-For": f"198.51.100.{n}"})
            for n in range(120)
        )
        return sum(answer.status_code == 401 for answer in answers)

    for number, (trusted, some) in enumerate({"127.0.0.1": [120], "192.0.2.0/24": range(100, 113)}.items()):
        with (
            create_lake(tmp_path / str(number), trusted_proxies=trusted) as app,
            running_server(create_server(app)) as url,
            httpx2.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            assert refused(client) in some  # one more for every two seconds that it takes


def test_proxies_have_addresses(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError, match="trusted_proxies"):
        create_lake(tmp_path / "lake", trusted_proxies="somewhere")


# --- how much, and how slowly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/namespaces", "/iceberg/v1/namespaces"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused(fresh: TestClient, token: str, path: str, announced: bool) -> None:
    body = b'{"name": "' + b"x" * 10_000_000 + b'"}'
    content = body if announced else iter([body[:5_000_000], body[5_000_000:]])
    answer = fresh.post(path, content=content, headers={**bearer(token), "Content-Type": "application/json"})
    assert answer.status_code == 413, answer.text
    assert "10.0 MB" in answer.json()["error"]["message"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "GZIP"])
def test_a_compressed_body_is_refused(fresh: TestClient, token: str, encoding: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    headers = {**bearer(token), "Content-Type": "application/json", "Content-Encoding": encoding}
    shape_of(fresh.post("/api/v1/namespaces", content=bomb, headers=headers), 415, "unsupported_encoding")
    assert fresh.post("/iceberg/v1/namespaces", content=bomb, headers=headers).status_code == 415
    headers["Content-Encoding"] = "identity"
    assert fresh.post("/api/v1/namespaces", content=b'{"name": ""}', headers=headers).status_code == 400


def stream(codec: str, claim: int | None) -> bytes:
    table = pa.table({"id": pa.array(range(1000), pa.int64()), "note": pa.array(["x"] * 1000).dictionary_encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    return data if claim is None else data.replace(struct.pack("<q", 8000), struct.pack("<q", claim), 1)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_rows_that_expand_without_end_are_refused(http: httpx2.Client, dataset: str, codec: str) -> None:
    rows, headers = f"/datasets/{dataset}/rows?operation=append", {"Content-Type": ARROW_STREAM}
    answer = http.post(rows, content=stream(codec, 2**40), headers=headers)
    shape_of(answer, 413, "request_too_large")
    shape_of(http.post(rows, content=stream(codec, 2**62), headers=headers), 413, "request_too_large")
    assert http.post(rows, content=stream(codec, None), headers=headers).status_code == 200


def test_what_really_expands_is_refused_like_what_only_claims_to(http: httpx2.Client, dataset: str) -> None:
    zeros = pa.table({"id": pa.nulls(36_000_000, pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, zeros.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(zeros)
    headers = {"Content-Type": ARROW_STREAM}
    answer = http.post(f"/datasets/{dataset}/rows?operation=append", content=bytes(sink.getvalue()), headers=headers)
    shape_of(answer, 413, "request_too_large")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_HEADER_SECONDS", "_BODY_SECONDS", "_UNREAD_SECONDS"):
        monkeypatch.setattr(connections, name, 0.4)


def trickle(sock: socket.socket, data: bytes) -> bytes:
    """Send one byte after the other until the other side has enough, and return what it said."""
    said = b""
    sock.settimeout(0.05)
    for number in range(400):
        try:
            sock.send(data[number % len(data)].to_bytes())
            if not (part := sock.recv(65536)):
                return said
            said += part
        except TimeoutError:
            continue
        except OSError:
            return said
    raise AssertionError(f"the connection is still open; it said {said!r}")


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port))


def test_a_head_that_trickles_in_does_not_hold_a_connection(url: str, hurry: None) -> None:
    with connected(url) as sock:
        assert trickle(sock, b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"x" * 1000) == b""
    with connected(url) as sock:
        sock.settimeout(10)
        assert sock.recv(1) == b"", "nor does one who says nothing"
    with connected(url) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.settimeout(10)
        said = b""
        while not said.endswith(b'{"status":"ok"}'):
            said += sock.recv(65536)
        assert trickle(sock, b"GET /x" + b"x" * 1000) == b"", "nor the second request of a connection"


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("endless", [b"GET /", HEAD + b"X-Long: ", HEAD + b"X"])
def test_a_head_that_has_no_end_is_refused(url: str, endless: bytes) -> None:
    with connected(url) as sock:
        sock.settimeout(10)
        said = b""
        with suppress(ConnectionError):
            sock.sendall(endless)
            for _ in range(64):
                sock.sendall(b"x" * 4096)
        with suppress(ConnectionError):
            said = sock.recv(65536)
        assert said.startswith(b"HTTP/1.1 400 ") or said == b""
    with connected(url) as sock:
        sock.settimeout(10)
        sock.sendall(HEAD + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 "), "a long one is taken"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length : 2\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\x00b\r\n",
    ],
)
def test_a_head_that_others_could_read_otherwise_is_refused(url: str, head: bytes) -> None:
    with connected(url) as sock:
        sock.settimeout(10)
        sock.sendall(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\nxx")
        assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_trickles_in_is_refused(url: str, token: str, hurry: None) -> None:
    head = f"POST /api/v1/namespaces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    with connected(url) as sock:
        sock.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n".encode())
        said = trickle(sock, b" ")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"wait_timeout" in said


def test_many_slow_clients_leave_room_for_others(url: str, token: str) -> None:
    head = "POST /api/v1/datasets/a.b/rows?operation=append HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Authorization: Bearer {token}\r\n"
    slow = [connected(url) for _ in range(100)]
    try:
        for sock in slow:
            sock.sendall(f"{head}Content-Type: {ARROW_STREAM}\r\nContent-Length: 9000\r\n\r\nx".encode())
        assert httpx2.get(f"{url}/api/v1/lake", headers=bearer(token), trust_env=False, timeout=60).status_code == 200
    finally:
        for sock in slow:
            sock.close()
