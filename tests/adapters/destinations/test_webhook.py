"""Sending to a real receiver: what it answers, how slow it is, and where its name leads."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cordillera.adapters.destinations.addresses import look_up
from cordillera.adapters.destinations.webhook import WebhookSender
from cordillera.errors import InvalidInputError
from cordillera.spec.destination import Failure
from cordillera.spec.endpoint import EndpointRules
from tests.destinations.receiver import Receiver, receiving

TRYING = EndpointRules(loopback=True)
HEADERS = {
    "content-type": "application/cloudevents+json",
    "webhook-id": "1",
    "webhook-timestamp": "2",
    "webhook-signature": "v1,x",
}


@pytest.fixture(scope="module")
def started() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def receiver(started: Receiver) -> Receiver:
    started.received.clear()
    started.answer, started.headers, started.drip = (lambda _: 204), {}, False
    return started


def sender(seconds: float = 5.0, rules: EndpointRules = TRYING, **hosts: Sequence[str]) -> WebhookSender:
    return WebhookSender(rules, lambda host, port: hosts.get(host) or look_up(host, port), seconds)


def test_a_body_arrives_whole_with_its_headers(receiver: Receiver) -> None:
    body = b"x" * 100_000
    attempt = sender().post(f"{receiver.url}?a=b", HEADERS, body)
    (came,) = receiver.received
    assert (attempt.status, attempt.error, came.body) == (204, "", body)
    assert came.headers["content-type"] == "application/cloudevents+json"
    assert came.headers["host"] == receiver.url.split("/")[2]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 429, 500])
def test_only_a_success_is_one(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: status
    attempt = sender().post(receiver.url, HEADERS, b"{}")
    assert attempt.status == status
    assert str(status) in attempt.error


def test_redirections_are_not_followed(receiver: Receiver) -> None:
    """Neither to an address inside a network nor to any other."""
    receiver.answer, receiver.headers = (lambda _: 307), {"location": receiver.url}
    attempt = sender().post(receiver.url, HEADERS, b"{}")
    assert len(receiver.received) == 1
    assert "does not follow" in attempt.error


def test_what_a_receiver_asks_to_wait_is_told(receiver: Receiver) -> None:
    receiver.answer, receiver.headers = (lambda _: 429), {"retry-after": "120"}
    assert sender().post(receiver.url, HEADERS, b"{}").retry_after == timedelta(minutes=2)
    receiver.headers = {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}
    assert sender().post(receiver.url, HEADERS, b"{}").retry_after is None


def test_slow_receivers_are_given_up(receiver: Receiver) -> None:
    done = threading.Event()
    receiver.answer = lambda _: 204 if done.wait(10) else 500
    attempt = sender(seconds=0.3).post(receiver.url, HEADERS, b"{}")
    done.set()
    assert (attempt.status, attempt.error) == (None, "There was no answer within 0.3 s.")
    assert attempt.seconds < 5


def test_receivers_that_trickle_are_given_up(receiver: Receiver) -> None:
    """Each byte comes in time, the whole does not."""
    receiver.drip = True
    attempt = sender(seconds=0.5).post(receiver.url, HEADERS, b"{}")
    assert (attempt.status, attempt.error) == (None, "There was no answer within 0.5 s.")
    assert attempt.seconds < 5


def test_what_is_no_answer_is_a_failure(receiver: Receiver) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    attempt = sender().post(f"https://127.0.0.1:{port}/", HEADERS, b"{}")
    assert attempt.status is None
    assert "failed" in attempt.error


def test_nobody_at_the_address_is_a_failure() -> None:
    attempt = sender().post("http://127.0.0.1:9/", HEADERS, b"{}")
    assert (attempt.status, attempt.error) == (None, "The connection failed: Connection refused.")


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["10.1.2.3"], ["::ffff:127.0.0.1"], ["93.184.216.34", "192.168.0.1"]],
)
def test_names_that_lead_inside_are_not_called(receiver: Receiver, addresses: list[str]) -> None:
    """Also if only one of the addresses of a name is inside."""
    port = receiver.url.split(":")[2].split("/")[0]
    attempt = sender(rules=EndpointRules(), hostile=addresses).post(f"https://hostile:{port}/", HEADERS, b"{}")
    assert attempt.status is None
    assert "inside a network" in attempt.error
    assert receiver.received == []


def test_a_name_is_looked_up_once_so_that_leading_elsewhere_later_does_not_help(receiver: Receiver) -> None:
    """The first answer is what is checked and called; a second one, which would lead inside, is never asked for."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    attempt = WebhookSender(TRYING, rebinding).post(receiver.url.replace("127.0.0.1", "rebind"), HEADERS, b"{}")
    assert (attempt.status, asked) == (204, ["rebind"])


def test_unencrypted_is_for_this_machine_alone(receiver: Receiver) -> None:
    with pytest.raises(InvalidInputError, match="not encrypted"):
        sender(rules=EndpointRules()).check({"url": receiver.url})
    attempt = sender(elsewhere=["93.184.216.34"]).post("http://elsewhere/", HEADERS, b"{}")
    assert "not encrypted" in attempt.error


def test_an_unknown_host_is_a_failure() -> None:
    attempt = sender().post("https://nowhere.invalid/", HEADERS, b"{}")
    assert attempt.status is None
    assert "cannot be found" in attempt.error


def test_a_host_that_is_looked_up_for_too_long_is_a_failure() -> None:
    """The system's search cannot be broken off; nobody waits for it."""
    done = threading.Event()
    attempt = WebhookSender(TRYING, lambda *_: ["127.0.0.1"] if done.wait(10) else [], 0.2).post(
        "https://slow.example.com/", HEADERS, b"{}"
    )
    done.set()
    assert (attempt.status, attempt.error) == (None, "There was no answer within 0.2 s.")
    assert attempt.seconds < 5


def test_who_is_gone_says_so(receiver: Receiver) -> None:
    receiver.answer = lambda _: 410
    attempt = sender().post(receiver.url, HEADERS, b"{}")
    assert (attempt.status, attempt.failure) == (410, Failure.DESTINATION)


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A receiver behind TLS, and the certificate that it shows, which nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*private))
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/", tmp_path / "cert.pem"
    server.shutdown()
    server.server_close()
    thread.join()


def test_certificates_are_checked(encrypted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    url, certificate = encrypted
    refused = sender().post(url, HEADERS, b"{}")
    assert (refused.status, "certificate" in refused.error) == (None, True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert sender().post(url, HEADERS, b"{}").status == 200
