"""Signatures under HTTP requests (AWS Signature Version 4), checked as by the services that take them.

A request is signed with a secret that does not travel. What is signed: method, path, query, the headers that the
signature names, and the body's hash. The layout is that of services other than S3, whose paths are encoded twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from cordillera.errors import AuthenticationError

SCHEME = "AWS4-HMAC-SHA256"
_HEADER = re.compile(
    rf"{SCHEME} +Credential=([A-Za-z0-9]{{1,128}})/([0-9]{{8}})/([a-z0-9-]{{1,64}})/([a-z0-9-]{{1,64}})/aws4_request"
    " *, *"
    r"SignedHeaders=([a-z0-9;_-]{1,4000}) *, *Signature=([0-9a-f]{64})"
)
_TIME = "%Y%m%dT%H%M%SZ"
_WINDOW = timedelta(minutes=5)
_ALWAYS_SIGNED = frozenset({"host", "x-amz-date"})


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it came.

    Attributes:
        method: In capitals.
        path, query: As they were sent, still encoded.
        headers: Names in small letters, with values; a name may come more than once.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the values of a header with commas between; None if it was not sent."""
        values = [" ".join(value.split()) for key, value in self.headers if key == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """What the header Authorization says of a request's signature.

    Attributes:
        access_key_id: Whose secret it was made with.
        scope: Day, region and service that the secret was narrowed to; any region and service will do.
        signed_headers: What it covers.
    """

    access_key_id: str
    scope: tuple[str, str, str]
    signed_headers: tuple[str, ...]
    signature: str

    @classmethod
    def parse(cls, header: str) -> RequestSignature:
        """Read the header.

        Raises:
            AuthenticationError: If it has another form.
        """
        found = _HEADER.fullmatch(header.strip())
        if found is None:
            raise _refused("has not the form of a signature")
        key, day, region, service, names, signature = found.groups()
        return cls(key, (day, region, service), tuple(names.split(";")), signature)

    def check(self, request: ReceivedRequest, body: bytes, secrets: Sequence[str], now: datetime) -> None:
        """Make sure that a request was signed with one of some secrets, as it is, minutes ago at most.

        Raises:
            AuthenticationError: If not.
        """
        moment = request.header("x-amz-date") or ""
        try:
            signed_at = datetime.strptime(moment, _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise _refused("has no time") from None
        if abs(now - signed_at) > _WINDOW or moment[:8] != self.scope[0]:
            raise _refused("is not of now", hint="Set the clock; they may differ by 5 minutes.")
        if not set(self.signed_headers) >= _ALWAYS_SIGNED | {k for k, _ in request.headers if k.startswith("x-amz-")}:
            raise _refused("leaves out host, or headers that begin with x-amz-")
        text = self._canonical(request, _payload_hash(request, body))
        signed = f"{SCHEME}\n{moment}\n{self._scope_text}\n{_sha256(text.encode())}"
        expected = [_sign(_key(secret, self.scope), signed).hex() for secret in secrets]
        if not any(hmac.compare_digest(one, self.signature) for one in expected):
            raise _refused("does not fit the request")

    @property
    def _scope_text(self) -> str:
        return "/".join((*self.scope, "aws4_request"))

    def _canonical(self, request: ReceivedRequest, payload_hash: str) -> str:
        values = [request.header(name) for name in self.signed_headers]
        if None in values or list(self.signed_headers) != sorted(set(self.signed_headers)):
            raise _refused("covers headers that were not sent")
        lines = "".join(f"{name}:{value}\n" for name, value in zip(self.signed_headers, values, strict=True))
        parts = [request.method, _path(request.path), _query(request.query), lines, ";".join(self.signed_headers)]
        return "\n".join([*parts, payload_hash])


def _path(path: str) -> str:
    """Return a path without empty and dotted segments, encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if path.endswith("/") and kept else ""
    return quote(f"/{'/'.join(kept)}{end}", safe="/~")


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, v in pairs))


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _payload_hash(request: ReceivedRequest, body: bytes) -> str:
    """Return the body's hash as the client writes it; Java's engines write it in base 64."""
    digest = hashlib.sha256(body).digest()
    given = request.header("x-amz-content-sha256")
    if given is None:
        return digest.hex()
    if given not in (digest.hex(), base64.b64encode(digest).decode()):
        raise _refused("has another body's hash")
    return given


def _key(secret: str, scope: Iterable[str]) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = _sign(key, part)
    return key


def _sign(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refused(what: str, *, hint: str = "See: cordillera token signing-key.") -> AuthenticationError:
    return AuthenticationError(f"The request's signature {what}.", hint=hint)
