"""Who is calling: API tokens in a header or a cookie, and what a browser may do with them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.requests import Request

from cordillera.access.service import AccessService
from cordillera.access.workloads import WorkloadService
from cordillera.api.iceberg_rest.errors import PREFIX as ICEBERG
from cordillera.api.limits import RequestLimit, SignInLimits
from cordillera.codec import API_PREFIX
from cordillera.context import local_principal
from cordillera.errors import AccessDeniedError, AuthenticationError, InvalidConfigurationError, InvalidInputError
from cordillera.ports.metadata.access import Token
from cordillera.spec.request_signature import SCHEME, ReceivedRequest, RequestSignature

COOKIE = "cordillera_token"
"""Holds a person's token: HttpOnly, SameSite=Strict."""

_PUBLIC_PATHS = frozenset(
    {"/healthz", "/readyz", "/login", "/login/begin", "/login/done"}
    | {f"{API_PREFIX}/session/code", f"{ICEBERG}/oauth/tokens"}
)
_ASSETS = "/static/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_READING_POSTS = re.compile(
    rf"{API_PREFIX}/(query|datasets/[^/]+/(rows|merges)/(deletion-)?explanation|session/end)|/logout|/login/terminal"
    rf"|{ICEBERG}/namespaces/[^/]+/tables/[^/]+/(plan|tasks|metrics|sign)"
)
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, whether that is the lake's operator, whether it must change nothing, and when that ends."""

    principal: str
    operator: bool = False
    read_only: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccessRules:
    """How a server recognises its callers.

    Attributes:
        access: Knows the tokens.
        workloads: Knows those that platforms elsewhere have signed.
        loopback: Whether the server is bound to loopback, so that only this machine's names for it are genuine.
        insecure_local: Whether requests without a token act as the user who runs the server, the lake's operator.
        requests: How many each principal may make.
        sign_ins: How often they may fail.
    """

    access: AccessService
    workloads: WorkloadService
    loopback: bool
    insecure_local: bool = False
    requests: RequestLimit = field(default_factory=RequestLimit)
    sign_ins: SignInLimits = field(default_factory=SignInLimits)

    def __post_init__(self) -> None:
        if self.insecure_local and not self.loopback:
            raise InvalidConfigurationError(
                "Requests without a token can only be let in on a server that is bound to loopback.",
                hint="Bind it to 127.0.0.1, or leave --insecure-local out.",
            )

    def authenticate(self, request: Request, secret: str) -> Caller:
        """Return whom a secret in a request stands for.

        Raises:
            AuthenticationError: If it stands for nobody.
            RateLimitedError: If there were too many like it.
        """
        with self.sign_ins.attempt(address_of(request), secret):
            if self.workloads.claims(secret):
                found = self.workloads.identify(secret)
                return Caller(found.principal, expires_at=found.expires_at)
            token = self.access.identify(secret)
        return Caller(token.principal, read_only=token.read_only, expires_at=token.expires_at)

    def signer(self, request: Request, signature: RequestSignature) -> tuple[Token, list[str]]:
        """Return the token in whose name a request seems to be signed, and its secrets; see ``authenticate``."""
        with self.sign_ins.attempt(address_of(request), signature.access_key_id):
            return self.access.signed_by(signature.access_key_id)

    def authenticate_signed(
        self, request: Request, signature: RequestSignature, body: bytes, signer: tuple[Token, list[str]]
    ) -> Caller:
        """Return who has signed a request with this body; see ``authenticate``."""
        token, secrets = signer
        scope = request.scope
        received = ReceivedRequest(
            request.method,
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        )
        with self.sign_ins.attempt(address_of(request), signature.access_key_id):
            signature.check(received, body, secrets, datetime.now(UTC))
        self.access.note_use(token)
        return Caller(token.principal, read_only=token.read_only)


def is_loopback(host: str) -> bool:
    """Tell whether a server bound to a host name or address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_of(request: Request) -> str:
    """Return where a request comes from; behind a proxy that is trusted, what the proxy says."""
    return request.client.host if request.client is not None else ""


def is_public(path: str) -> bool:
    """Tell whether a path is for everybody."""
    return path in _PUBLIC_PATHS or is_asset(path)


def is_asset(path: str) -> bool:
    """Tell whether a path is one of the pages' files, which say nothing about the lake."""
    return path.startswith(_ASSETS)


def caller_of(request: Request) -> Caller:
    """Return who makes a request.

    Raises:
        AuthenticationError: If it carries no token, or one that is not valid.
        RateLimitedError: If too many were not.
    """
    return _identify(request, request.app.state.access_rules)


def secret_of(request: Request) -> str | None:
    """Return the token that a request carries; None for none.

    Raises:
        AuthenticationError: If its header holds something else.
    """
    header = request.headers.get("authorization")
    if header is None:
        return request.cookies.get(COOKIE) or None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationError("The header Authorization holds no bearer token.", hint=_HOW)
    return token.strip()


def signature_of(request: Request) -> RequestSignature | None:
    """Return the signature of a request to the Iceberg REST catalog that carries one instead of a token.

    Raises:
        AuthenticationError: If it has another form.
    """
    header = request.headers.get("authorization", "")
    signed = header.startswith(f"{SCHEME} ") and request.scope["path"].startswith(f"{ICEBERG}/")
    return RequestSignature.parse(header) if signed else None


def check_reads(request: Request, caller: Caller) -> None:
    """Refuse a request that may change something, if it is made with a token that is for reading.

    Raises:
        AccessDeniedError: If so.
    """
    path = request.scope["path"]
    reads = request.method in _SAFE_METHODS or (request.method == "POST" and _READING_POSTS.fullmatch(path))
    if caller.read_only and not reads:
        raise AccessDeniedError(
            f"The token of {caller.principal} is for reading; {request.method} {path[:200]} may change something.",
            hint="Use another; one that may is made with: cordillera token create NAME.",
        )


def check_origin(request: Request, rules: AccessRules) -> None:
    """Refuse a request that a page of another site makes a browser send.

    A server bound to loopback answers to no other name: a name that an attacker's DNS points at it ("rebinding") would
    make the attacker's page count as the server's own.

    Raises:
        InvalidInputError: If the Host header names another server.
        AccessDeniedError: If a request that changes something comes from another site's page.
    """
    host = request.headers.get("host", "")
    if rules.loopback and _hostname(host) not in _LOCAL_NAMES:
        raise InvalidInputError(
            f"This server does not answer to the name {host[:100]!r}.", hint="Use http://127.0.0.1 or http://localhost."
        )
    if request.method in _SAFE_METHODS or "authorization" in request.headers:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    foreign = site is not None and site != "same-origin"
    foreign = foreign or (origin is not None and urlsplit(origin).netloc != host)
    unproven = site is None and origin is None and COOKIE in request.cookies
    if foreign or unproven:
        raise AccessDeniedError(
            "The request does not come from a page of this server.",
            hint="Programs send their token in the header Authorization: Bearer.",
        )


def _identify(request: Request, rules: AccessRules) -> Caller:
    secret = secret_of(request)
    if secret is not None:
        return rules.authenticate(request, secret)
    if rules.insecure_local:
        return Caller(local_principal(), operator=True)
    raise AuthenticationError("The request carries no token.", hint=_HOW)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


_HOW = (
    "Send Authorization: Bearer cdl_…; make a token with: cordillera token create NAME. At a terminal, log in with: "
    "cordillera login."
)
