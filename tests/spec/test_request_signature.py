"""Signatures are checked as botocore, which is what engines sign with, makes them."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import AuthenticationError
from cordillera.spec.request_signature import ReceivedRequest, RequestSignature

KEY, SECRET = "CDL0123", "a-secret_of-some-length"
URL = "http://127.0.0.1:8470/iceberg/v1/namespaces/a%1Fb/tables?pageSize=2&pageToken=x%20y%2B"


def signed(
    url: str = URL,
    body: bytes = b"",
    method: str = "GET",
    secret: str = SECRET,
    scope: tuple[str, str] = ("eu-west-1", "execute-api"),
    **headers: str,
) -> ReceivedRequest:
    """Return a request as botocore signs it and a client sends it."""
    parts = urlsplit(url)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    plain = url.partition("?")[0]
    request = AWSRequest(method, plain, params=dict(parse_qsl(parts.query)), data=body, headers=given)
    SigV4Auth(Credentials(KEY, secret), scope[1], scope[0]).add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()}
    return ReceivedRequest(method, parts.path, parts.query, tuple({"host": parts.netloc, **sent}.items()))


def check(
    request: ReceivedRequest, body: bytes = b"", *, secret: str = SECRET, at: datetime | None = None, late: float = 0.0
) -> None:
    header = request.header("authorization")
    assert header is not None
    RequestSignature.parse(header).check(request, body, [secret], (at or datetime.now(UTC)) + timedelta(seconds=late))


def changed(request: ReceivedRequest, **headers: str | None) -> ReceivedRequest:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    kept = [(name, value) for name, value in request.headers if name not in given]
    added = [(name, value) for name, value in given.items() if value is not None]
    return ReceivedRequest(request.method, request.path, request.query, (*kept, *added))


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(
    st.lists(WORDS, max_size=4),
    st.dictionaries(WORDS, WORDS, max_size=4),
    st.binary(max_size=50),
    st.text(string.ascii_letters + " ;,=", max_size=20),
)
def test_what_botocore_signs_is_taken(segments: list[str], query: dict[str, str], body: bytes, header: str) -> None:
    path = "".join(f"/{quote(one, safe='')}" for one in segments)
    url = f"http://127.0.0.1:8470{path or '/'}" + (f"?{urlencode(query)}" if query else "")
    check(signed(url, body, "POST", x_note=header), body)


def test_the_body_can_be_hashed_by_the_client() -> None:
    import base64
    import hashlib

    digest = hashlib.sha256(b"body").digest()
    for written in (digest.hex(), base64.b64encode(digest).decode()):
        check(signed(URL, b"body", "POST", x_amz_content_sha256=written), b"body")
    for wrong in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", digest.hex().upper(), ""):
        with pytest.raises(AuthenticationError):
            check(signed(URL, b"body", "POST", x_amz_content_sha256=wrong), b"body")


def test_any_region_and_service_will_do() -> None:
    for scope in (("us-east-1", "s3tables"), ("local", "glue")):
        check(signed(scope=scope))


GOOD_AT = datetime.now(UTC)
GOOD = signed(URL, b"body", "POST", content_type="application/json", x_amz_meta="a")


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (GOOD, b"other"),
        (GOOD, b""),
        (ReceivedRequest("DELETE", GOOD.path, GOOD.query, GOOD.headers), b"body"),
        (ReceivedRequest("POST", "/iceberg/v1/namespaces/b", GOOD.query, GOOD.headers), b"body"),
        (ReceivedRequest("POST", GOOD.path, "pageSize=3&pageToken=x%20y%2B", GOOD.headers), b"body"),
        (ReceivedRequest("POST", GOOD.path, f"{GOOD.query}&purgeRequested=true", GOOD.headers), b"body"),
        (ReceivedRequest("POST", GOOD.path, "", GOOD.headers), b"body"),
        (changed(GOOD, host="other.example"), b"body"),
        (changed(GOOD, content_type="text/plain"), b"body"),
        (changed(GOOD, x_amz_meta="b"), b"body"),
        (changed(GOOD, x_amz_meta=None), b"body"),
        (changed(GOOD, x_amz_new="unsigned"), b"body"),
        (changed(GOOD, x_amz_date="20260101T000000Z"), b"body"),
        (changed(GOOD, x_amz_date="now"), b"body"),
        (changed(GOOD, x_amz_date=None), b"body"),
        (changed(GOOD, host=None), b"body"),
    ],
)
def test_a_request_that_was_changed_is_refused(request_: ReceivedRequest, body: bytes) -> None:
    check(GOOD, b"body", at=GOOD_AT)
    with pytest.raises(AuthenticationError, match="signature"):
        check(request_, body, at=GOOD_AT)


@pytest.mark.parametrize("late", [-310, 310, 86_400, -86_400])
def test_a_signature_holds_for_minutes(late: float) -> None:
    request = signed()
    check(request, late=290)
    check(request, late=-290)
    with pytest.raises(AuthenticationError, match="not of now"):
        check(request, late=late)


def test_another_secret_signs_nothing() -> None:
    with pytest.raises(AuthenticationError, match="does not fit"):
        check(signed(secret="another"))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace("eu-west-1", "us-east-1"),
        lambda header: header.replace("execute-api", "s3"),
        lambda header: header.replace("host;", ""),
        lambda header: header.replace("host;x-amz-date", "x-amz-date;host"),
        lambda header: header.replace("x-amz-date", "x-amz-date;x-other"),
        lambda header: header.replace("aws4_request", "aws5_request"),
        lambda header: header[:-1] + ("0" if header[-1] != "0" else "1"),
        lambda header: header[:-1],
        lambda header: header.replace("Signature=", "signature="),
        lambda header: header.replace(KEY, "../../x"),
        lambda header: "AWS4-HMAC-SHA256 " + "x" * 10_000,
        lambda header: "AWS4-HMAC-SHA256 ",
    ],
)
def test_a_header_that_was_changed_is_refused(change) -> None:
    request = signed()
    header = change(request.header("authorization"))
    with pytest.raises(AuthenticationError):
        check(changed(request, authorization=header))
