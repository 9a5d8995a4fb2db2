"""What is made of a provider's answers, honest or not. (tests/web/test_sign_in.py has a real provider.)"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from cordillera.adapters.identity import build_identity_provider, documents
from cordillera.adapters.identity.oidc import OidcProvider
from cordillera.errors import AuthenticationError, IdentityProviderError, InvalidConfigurationError

ISSUER = "https://people.example.com"
BACK = "http://127.0.0.1:8470/login/done"
RSA, OTHER_RSA, EC = (
    RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
    RSAKey.generate_key(2048, {"kid": "rsa"}),
    ECKey.generate_key("P-256", {"kid": "ec"}),
)


class Provider:
    """A provider whose answers a test decides on."""

    def __init__(self) -> None:
        self.keys = [RSA, EC]
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "rsa"}
        self.sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(self.header, claims, RSA)
        self.described: dict[str, Any] = {}
        self.user: dict[str, Any] = {"sub": "1"}
        self.asked: list[httpx2.Request] = []
        self.failing: dict[str, httpx2.Response] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        path = request.url.path
        if path in self.failing:
            return self.failing[path]
        match path:
            case "/.well-known/openid-configuration":
                endpoints = {
                    name: f"{ISSUER}/{name}"
                    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
                }
                return httpx2.Response(200, json={"issuer": ISSUER, **endpoints, **self.described})
            case "/jwks_uri":
                return httpx2.Response(200, json=KeySet(self.keys).as_dict(private=False))
            case "/token_endpoint":
                now = int(time.time())
                claims = {
                    "iss": ISSUER,
                    "aud": "lake",
                    "sub": "1",
                    "exp": now + 300,
                    "iat": now,
                    "nonce": "n",
                    "email": "ana@example.com",
                    "email_verified": True,
                    "groups": ["sales", "eu"],
                    **self.claims,
                }
                given = {name: value for name, value in claims.items() if value is not None}
                return httpx2.Response(200, json={"access_token": "at", "id_token": self.sign(given)})
            case "/userinfo_endpoint":
                return httpx2.Response(200, json=self.user)
        return httpx2.Response(404)

    def times(self, path: str) -> int:
        return sum(request.url.path == path for request in self.asked)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def oidc(provider: Provider) -> OidcProvider:
    return OidcProvider(ISSUER, "lake", "s:cret %", transport=httpx2.MockTransport(provider))


def identify(oidc: OidcProvider) -> tuple[str, list[str]]:
    who = oidc.identify("code", BACK, nonce="n", verifier="v")
    assert who.issuer == ISSUER
    return who.name, sorted(who.groups)


def test_a_browser_is_sent_to_the_provider(oidc: OidcProvider, provider: Provider) -> None:
    parts = urlsplit(oidc.authorization_url(BACK, state="s&s", nonce="n", verifier="v"))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{ISSUER}/authorization_endpoint"
    assert dict(parse_qsl(parts.query)) == {
        "response_type": "code",
        "client_id": "lake",
        "redirect_uri": BACK,
        "scope": "openid email profile",
        "state": "s&s",
        "nonce": "n",
        "code_challenge": urlsafe_b64encode(hashlib.sha256(b"v").digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    oidc.authorization_url(BACK, state="s", nonce="n", verifier="v")
    assert provider.times("/.well-known/openid-configuration") == 1, "it is kept"


@pytest.mark.parametrize(("alg", "key"), [("RS256", RSA), ("PS512", RSA), ("ES256", EC)])
def test_a_person_is_identified(oidc: OidcProvider, provider: Provider, alg: str, key: Any) -> None:
    provider.sign = lambda claims: jwt.encode({"alg": alg, "kid": key.kid}, claims, key, [alg])
    assert identify(oidc) == ("ana@example.com", ["eu", "sales"])
    asked = next(request for request in provider.asked if request.url.path == "/token_endpoint")
    assert asked.headers["authorization"] == "Basic bGFrZTpzJTNBY3JldCslMjU="
    form = parse_qs(asked.content.decode())
    assert form == {
        "grant_type": ["authorization_code"],
        "code": ["code"],
        "redirect_uri": [BACK],
        "code_verifier": ["v"],
    }


def test_the_secret_goes_where_the_provider_wants_it(provider: Provider) -> None:
    provider.described = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    oidc = OidcProvider(ISSUER, "lake", "secret", transport=httpx2.MockTransport(provider))
    identify(oidc)
    public = OidcProvider(ISSUER, "lake", transport=httpx2.MockTransport(provider))
    identify(public)
    first, second = (request for request in provider.asked if request.url.path == "/token_endpoint")
    assert parse_qs(first.content.decode())["client_secret"] == ["secret"]
    assert "authorization" not in second.headers
    assert parse_qs(second.content.decode())["client_id"] == ["lake"]
    assert "client_secret" not in parse_qs(second.content.decode())
    assert "secret" not in repr(oidc)


def test_what_the_id_token_leaves_out_the_provider_is_asked_for(oidc: OidcProvider, provider: Provider) -> None:
    provider.claims = {"email": None, "groups": None, "email_verified": None}
    provider.user = {"sub": "1", "email": "ben@example.com", "email_verified": True, "groups": ["x"], "iss": "evil"}
    assert identify(oidc) == ("ben@example.com", ["x"])
    provider.user["sub"] = "2"
    with pytest.raises(AuthenticationError, match="somebody else"):
        identify(oidc)


@pytest.mark.parametrize("groups", [None, "sales", {"sales": 1}, 5])
def test_groups_that_are_no_list_are_none(oidc: OidcProvider, provider: Provider, groups: Any) -> None:
    provider.claims = {"groups": groups}
    assert identify(oidc) == ("ana@example.com", [])


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"email": None}, "does not tell your email"),
        ({"email": ["a"]}, "does not tell your email"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
        ({"email_verified": None}, "not verified"),
    ],
)
def test_a_name_has_to_be_sure(oidc: OidcProvider, provider: Provider, claims: dict[str, Any], said: str) -> None:
    provider.claims = claims
    with pytest.raises(AuthenticationError, match=said):
        identify(oidc)


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example.com"},
        {"iss": f"{ISSUER}/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": ["another"]},
        {"aud": ["lake", "another"]},
        {"aud": ["lake", "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": NOW - 120},
        {"exp": None},
        {"exp": "never"},
        {"iat": NOW + 3600},
        {"iat": None},
        {"nbf": NOW + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
    ],
)
def test_claims_that_are_not_for_this_sign_in_are_refused(
    oidc: OidcProvider, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    with pytest.raises(AuthenticationError, match="cannot be trusted"):
        identify(oidc)


def test_clocks_may_differ_a_little(oidc: OidcProvider, provider: Provider) -> None:
    now = int(time.time())
    provider.claims = {"exp": now - 20, "iat": now + 20, "aud": ["lake", "other"], "azp": "lake"}
    assert identify(oidc)


def encoded(part: dict[str, Any]) -> str:
    return urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode()


def tampered(claims: dict[str, Any]) -> str:
    header, _, signature = jwt.encode({"alg": "RS256", "kid": "rsa"}, claims, RSA).split(".")
    return f"{header}.{encoded({**claims, 'email': 'root@example.com'})}.{signature}"


def shared_with(key: bytes) -> Callable[[dict[str, Any]], str]:
    """Return what signs with a key that everybody knows, as if it were a shared one."""

    def sign(claims: dict[str, Any]) -> str:
        signed = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{encoded(claims)}"
        mac = hmac.digest(key, signed.encode(), hashlib.sha256)
        return f"{signed}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    return sign


@pytest.mark.parametrize(
    "sign",
    [
        lambda claims: jwt.encode({"alg": "RS256", "kid": "rsa"}, claims, OTHER_RSA),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "unknown"}, claims, OTHER_RSA),
        lambda claims: jwt.encode({"alg": "RS256"}, claims, OTHER_RSA),
        lambda claims: jwt.encode({"alg": "ES256", "kid": "rsa"}, claims, EC),
        lambda claims: f"{encoded({'alg': 'none', 'kid': 'rsa'})}.{encoded(claims)}.",
        lambda claims: f"{encoded({'alg': 'none'})}.{encoded(claims)}.",
        tampered,
        shared_with(RSA.as_pem(private=False)),
        shared_with(orjson.dumps(RSA.as_dict(private=False))),
        shared_with(b"s:cret %"),
        lambda claims: "a.b.c",
        lambda claims: "",
        lambda claims: "é" * 10,
        encoded,
    ],
)
def test_a_signature_that_is_not_the_providers_is_refused(
    oidc: OidcProvider, provider: Provider, sign: Callable[[dict[str, Any]], str]
) -> None:
    provider.sign = sign
    with pytest.raises(AuthenticationError, match="cannot be trusted"):
        identify(oidc)


def test_a_shared_key_among_the_providers_signs_nothing(oidc: OidcProvider, provider: Provider) -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    provider.failing["/jwks_uri"] = httpx2.Response(200, json={"keys": [shared.as_dict(), RSA.as_dict(private=False)]})
    provider.sign = lambda claims: jwt.encode({"alg": "HS256", "kid": "shared"}, claims, shared, ["HS256"])
    with pytest.raises(AuthenticationError, match="cannot be trusted"):
        identify(oidc)


def test_new_keys_are_found_and_not_looked_for_too_often(
    oidc: OidcProvider, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify(oidc)
    identify(oidc)
    assert provider.times("/jwks_uri") == 1
    fresh = RSAKey.generate_key(2048, {"kid": "fresh"})
    provider.keys, provider.sign = [fresh], lambda claims: jwt.encode({"alg": "RS256", "kid": "fresh"}, claims, fresh)
    with pytest.raises(AuthenticationError):
        identify(oidc)
    assert provider.times("/jwks_uri") == 1, "whoever sends unknown keys makes no requests"
    monkeypatch.setattr(documents, "_LEAST_SECONDS", 0.0)
    assert identify(oidc)
    provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "rsa"}, claims, RSA)
    with pytest.raises(AuthenticationError):
        identify(oidc)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(500),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json=[1]),
        httpx2.Response(302, headers={"Location": "https://evil.example"}),
        httpx2.Response(200, content=b" " * 1_000_001),
        httpx2.Response(200, json={"issuer": "https://evil.example"}),
    ],
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks_uri", "/token_endpoint"])
def test_a_provider_that_does_not_answer_well_is_named(
    oidc: OidcProvider, provider: Provider, path: str, answer: httpx2.Response
) -> None:
    provider.failing[path] = answer
    with pytest.raises((IdentityProviderError, AuthenticationError), match=r"people\.example\.com"):
        identify(oidc)


def test_a_code_that_is_not_taken_lets_nobody_in(oidc: OidcProvider, provider: Provider) -> None:
    provider.failing["/token_endpoint"] = httpx2.Response(400, json={"error": "invalid_grant"})
    with pytest.raises(AuthenticationError, match="did not take"):
        identify(oidc)


@pytest.mark.parametrize("url", ["http://evil.example/token", "ftp://x", "", None, 5, "//x"])
def test_secrets_travel_encrypted(oidc: OidcProvider, provider: Provider, url: Any) -> None:
    provider.described = {"token_endpoint": url}
    with pytest.raises(IdentityProviderError, match="token_endpoint"):
        identify(oidc)


def test_a_provider_that_is_down_is_named() -> None:
    oidc = OidcProvider("http://127.0.0.1:9", "lake")
    with pytest.raises(IdentityProviderError, match=r"127\.0\.0\.1:9 does not answer"):
        oidc.authorization_url(BACK, state="s", nonce="n", verifier="v")


@pytest.mark.parametrize(
    ("issuer", "client"),
    [
        ("http://people.example.com", "lake"),
        ("people", "lake"),
        (f"{ISSUER}?x=1", "lake"),
        (ISSUER, ""),
        ("http://[", "x"),
    ],
)
def test_settings_that_cannot_work_are_refused(issuer: str, client: str) -> None:
    with pytest.raises(InvalidConfigurationError):
        build_identity_provider(issuer, client, "", scopes="", name_claim="", groups_claim="")
    assert build_identity_provider("", "", "", scopes="", name_claim="", groups_claim="") is None
