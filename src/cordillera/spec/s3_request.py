"""What a request to S3 touches: decided before it is signed for somebody who has no keys of his own.

Known are the requests by which engines read and write files, and nothing else: what S3 may be asked to do by other
parameters or headers (copies of other objects, access lists, tags) is refused without knowing what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from cordillera.errors import AccessDeniedError, InvalidInputError
from cordillera.spec.object_uri import folder_key, object_key

_HEADERS = frozenset({
    "x-amz-content-sha256", "x-amz-date", "x-amz-user-agent", "x-amz-decoded-content-length", "x-amz-trailer",
    "x-amz-sdk-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-algorithm", "x-amz-checksum-type",
    "x-amz-mp-object-size",
})  # fmt: skip
_HEADER_PREFIXES = ("x-amz-checksum-",)
_NAME_OF_OPERATION = "x-id"
"""A parameter by which clients tell what they mean to do; it does nothing."""
_OBJECT: Mapping[str, Sequence[frozenset[str]]] = {
    "GET": (frozenset(), frozenset({"partNumber"})),
    "HEAD": (frozenset(), frozenset({"partNumber"})),
    "PUT": (frozenset(), frozenset({"partNumber", "uploadId"})),
    "POST": (frozenset({"uploads"}), frozenset({"uploadId"})),
    "DELETE": (frozenset(), frozenset({"uploadId"})),
}
"""By method, the sets of parameters with which a request is about one object's content."""
_LIST = frozenset({
    "list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class S3Request:
    """A request that a client is about to make.

    Attributes:
        method, uri: In full, as it goes over the wire.
        headers: By lower-case name.
    """

    method: str
    uri: str
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where requests to a bucket go.

    Attributes:
        bucket: Its name.
        hosts: ``host[:port]`` that have buckets in the path.
        own_hosts: ``host[:port]`` that are the bucket's own.
        schemes: Of URIs.
    """

    bucket: str
    hosts: frozenset[str]
    own_hosts: frozenset[str]
    schemes: frozenset[str]


def check_s3_request(request: S3Request, address: BucketAddress, folder: str) -> bool:
    """Make sure that a request reads, writes or lists objects in a folder, and does nothing else.

    Args:
        request: The request.
        address: Where the lake's bucket is.
        folder: URI of the folder.

    Returns:
        Whether it writes.

    Raises:
        AccessDeniedError: If it is about something else, or of an unknown kind.
        InvalidInputError: If it names no possible object.
    """
    key, query = _parts(request, address)
    foreign = [name for name in request.headers if name.startswith("x-amz-") and not _is_known(name)]
    if foreign:
        raise _refused(request, f"has the header {foreign[0][:60]}")
    parameters = frozenset(query) - {_NAME_OF_OPERATION}
    if not key:
        _check_listing(request, query, parameters, address, folder)
        return False
    object_key(folder, f"s3://{address.bucket}/{key}")
    if parameters not in _OBJECT.get(request.method, ()):
        raise _refused(request, "is none that reads or writes an object's content")
    return request.method not in ("GET", "HEAD")


def _parts(request: S3Request, address: BucketAddress) -> tuple[str, Mapping[str, str]]:
    """Return the key that a request is about, empty for the bucket, and its parameters."""
    try:
        parts = urlsplit(request.uri)
        pairs = parse_qsl(parts.query, keep_blank_values=True, errors="strict")
        path = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise InvalidInputError("The URI of the request to sign cannot be read.") from error
    if parts.fragment or parts.scheme not in address.schemes or len(dict(pairs)) < len(pairs):
        raise _refused(request, "has a URI of another form")
    if parts.netloc in address.own_hosts:
        return path.removeprefix("/"), dict(pairs)
    bucket, _, key = path.removeprefix("/").partition("/")
    if parts.netloc not in address.hosts or bucket != address.bucket:
        raise _refused(request, "goes to another bucket")
    return key, dict(pairs)


def _check_listing(
    request: S3Request, query: Mapping[str, str], parameters: frozenset[str], address: BucketAddress, folder: str
) -> None:
    listing = request.method == "GET" and query.get("list-type") == "2" and parameters <= _LIST
    if not listing:
        raise _refused(request, "is about the bucket")
    prefix, own = query.get("prefix", ""), folder_key(f"s3://{address.bucket}", folder)
    if not prefix.startswith(f"{own}/"):
        raise _refused(request, "lists objects of others")


def _is_known(header: str) -> bool:
    return header in _HEADERS or header.startswith(_HEADER_PREFIXES)


def _refused(request: S3Request, what: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"The request to sign, {request.method[:10]} {request.uri[:200]!r}, {what}.",
        hint="Signed are requests that read, write, delete or list the table's own files, one at a time.",
    )
