"""Requests that may be signed for somebody without keys: those about a table's own files, of known kinds."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis.strategies import dictionaries, from_regex, lists, one_of, sampled_from, text

from cordillera.errors import AccessDeniedError, InvalidInputError
from cordillera.spec.s3_request import BucketAddress, S3Request, check_s3_request

HOST, BUCKET = "s3.example.com:9000", "lake"
ADDRESS = BucketAddress(BUCKET, frozenset({HOST}), frozenset({f"{BUCKET}.{HOST}"}), frozenset({"https"}))
FOLDER = "s3://lake/data/sales/people/1"
OWN = "data/sales/people/1"


def check(method: str, path: str, query: str = "", **headers: str) -> bool:
    uri = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    sent = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return check_s3_request(S3Request(method, uri, sent), ADDRESS, FOLDER)


@pytest.mark.parametrize(
    ("method", "query", "writes"),
    [
        ("GET", "", False),
        ("GET", "x-id=GetObject", False),
        ("GET", "partNumber=2", False),
        ("HEAD", "", False),
        ("PUT", "", True),
        ("PUT", "x-id=UploadPart&partNumber=1&uploadId=a", True),
        ("POST", "uploads", True),
        ("POST", "uploads=", True),
        ("POST", "uploadId=a", True),
        ("DELETE", "", True),
        ("DELETE", "uploadId=a", True),
    ],
)
def test_an_objects_content_may_be_read_and_written(method: str, query: str, writes: bool) -> None:
    assert check(method, f"/{BUCKET}/{OWN}/data/a%20b.parquet", query) is writes
    request = S3Request(method, f"https://{BUCKET}.{HOST}/{OWN}/data/x" + (f"?{query}" if query else ""))
    assert check_s3_request(request, ADDRESS, FOLDER) is writes


def test_the_tables_files_may_be_listed() -> None:
    assert not check("GET", f"/{BUCKET}", f"list-type=2&prefix={quote(OWN + '/data/', safe='')}&max-keys=9")
    assert not check("GET", f"/{BUCKET}/", f"list-type=2&prefix={OWN}/&delimiter=%2F&encoding-type=url")


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", f"/{BUCKET}/data/sales/people/12/x", ""),
        ("GET", f"/{BUCKET}/data/sales/people/1", ""),
        ("GET", f"/{BUCKET}/{OWN}/../2/x", ""),
        ("GET", f"/{BUCKET}/{OWN}/%2e%2e/2/x", ""),
        ("GET", f"/{BUCKET}/{OWN}/%252e%252e/2/x", ""),
        ("GET", f"/{BUCKET}/{OWN}//x", ""),
        ("GET", f"/{BUCKET}/{OWN}/x%5C..%5Cy", ""),
        ("GET", f"/other/{OWN}/x", ""),
        ("GET", f"/{BUCKET}/{OWN}/x", "acl="),
        ("GET", f"/{BUCKET}/{OWN}/x", "versionId=1"),
        ("PUT", f"/{BUCKET}/{OWN}/x", "acl="),
        ("PUT", f"/{BUCKET}/{OWN}/x", "tagging="),
        ("PUT", f"/{BUCKET}/{OWN}/x", "partNumber=1"),
        ("POST", f"/{BUCKET}/{OWN}/x", "restore="),
        ("POST", f"/{BUCKET}/{OWN}/x", "select=&select-type=2"),
        ("PATCH", f"/{BUCKET}/{OWN}/x", ""),
        ("OPTIONS", f"/{BUCKET}/{OWN}/x", ""),
        ("GET", f"/{BUCKET}", ""),
        ("GET", f"/{BUCKET}", "list-type=2"),
        ("GET", f"/{BUCKET}", "list-type=2&prefix=data%2F"),
        ("GET", f"/{BUCKET}", f"list-type=2&prefix={OWN}"),
        ("GET", f"/{BUCKET}", f"list-type=2&prefix={OWN}/&prefix=data"),
        ("GET", f"/{BUCKET}", f"list-type=2&prefix={OWN}/&versions="),
        ("GET", f"/{BUCKET}", f"prefix={OWN}/&policy="),
        ("POST", f"/{BUCKET}", "delete="),
        ("DELETE", f"/{BUCKET}", ""),
        ("PUT", f"/{BUCKET}", ""),
        ("GET", "/", ""),
        ("GET", "", ""),
        ("GET", f"/{BUCKET}/{OWN}/x#y", ""),
        ("GET", f"/{BUCKET}/{OWN}/%ff", ""),
    ],
)
def test_nothing_else_may_be_done(method: str, path: str, query: str) -> None:
    with pytest.raises((AccessDeniedError, InvalidInputError)):
        check(method, path, query)


@pytest.mark.parametrize(
    "header",
    [
        "x_amz_copy_source",
        "x_amz_copy_source_range",
        "x_amz_acl",
        "x_amz_grant_read",
        "x_amz_tagging",
        "x_amz_metadata_directive",
    ],
)
def test_headers_that_do_more_are_refused(header: str) -> None:
    with pytest.raises(AccessDeniedError):
        check("PUT", f"/{BUCKET}/{OWN}/x", **{header: f"/{BUCKET}/data/sales/others/1/x"})


@pytest.mark.parametrize(
    "host", ["evil.example.com", f"{BUCKET}.evil.com", f"user@{HOST}", f"{HOST}@evil.com", "s3.example.com"]
)
def test_only_requests_to_the_bucket_are_signed(host: str) -> None:
    with pytest.raises(AccessDeniedError):
        check_s3_request(S3Request("GET", f"https://{host}/{BUCKET}/{OWN}/x"), ADDRESS, FOLDER)
    with pytest.raises(AccessDeniedError):
        check_s3_request(S3Request("GET", f"http://{HOST}/{BUCKET}/{OWN}/x"), ADDRESS, FOLDER)


segments = one_of(
    sampled_from([".", "..", "%2e%2e", "", "1", "data/sales/people/1"]),
    from_regex(r"[a-z0-9%/.\\ ]{0,6}", fullmatch=True),
)
paths = lists(segments, max_size=4).map(lambda found: "/".join(["", BUCKET, *found]))
parameters = sampled_from(["x-id", "uploads", "uploadId", "partNumber", "prefix", "list-type", "acl"])


@given(
    method=sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"]),
    path=paths,
    query=dictionaries(parameters, text(max_size=4)),
)
def test_what_is_signed_lies_in_the_folder(method: str, path: str, query: dict[str, str]) -> None:
    uri = f"https://{HOST}{path}" + (f"?{urlencode(query)}" if query else "")
    try:
        check_s3_request(S3Request(method, uri), ADDRESS, FOLDER)
    except (AccessDeniedError, InvalidInputError):
        return
    assert path.startswith(f"/{BUCKET}/{OWN}/") or query.get("prefix", "").startswith(f"{OWN}/")
    assert ".." not in path.split("/")
