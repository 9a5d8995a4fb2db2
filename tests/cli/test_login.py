"""People log in at a terminal by their browser, and out again."""

from __future__ import annotations

import html
import re
import stat
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import httpx2
import pytest

import cordillera
from cordillera.api.auth import COOKIE
from cordillera.app import Application, create_lake
from cordillera.client.login import LoginBegun
from cordillera.client.saved_logins import saved_login
from cordillera.errors import AuthenticationError, InvalidConfigurationError, WaitTimeoutError
from cordillera.server import create_server
from cordillera.spec.access import Privilege
from cordillera.spec.proof_key import challenge_of
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.testing.running_server import running_server
from tests.api.test_auth import LateClock, bearer
from tests.cli.harness import Cli

PAGE = "/login/terminal"


@pytest.fixture(scope="module")
def clock() -> LateClock:
    return LateClock()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, clock: LateClock) -> Iterator[Application]:
    with create_lake(tmp_path_factory.mktemp("login") / "lake", clock=clock) as app:
        app.grants.grant(WantedGrant("role:analysts", Privilege.DISCOVER, "lake"))
        app.roles.add("role:analysts", "user:ana")
        yield app


@pytest.fixture(scope="module")
def url(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield url


@pytest.fixture(autouse=True)
def on_time(clock: LateClock) -> None:
    clock.late = timedelta()


def browser_of(app: Application, url: str, days: int | None = 1, *, read_only: bool = False) -> httpx2.Client:
    """Return a browser in which user:ana is logged in."""
    name = f"browser {app.clock.new_id()}"
    made = app.access.create_token(name, principal="user:ana", days=days, read_only=read_only)
    headers = {"Accept": "text/html", "Origin": url}
    return httpx2.Client(base_url=url, cookies={COOKIE: made.secret}, headers=headers, trust_env=False, timeout=60)


def let_in(browser: httpx2.Client, page: str) -> str:
    """Look at the page that a terminal opens, let it in, and return the page after that."""
    asked = browser.get(page)
    assert asked.status_code == 200, asked.text
    assert "user:ana" in asked.text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    answer = browser.post(PAGE, data=form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return answer.text


def led_to(page: str) -> str:
    """Return where a page leads the browser by itself."""
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page)
    assert found, page
    return html.unescape(found[1])


def shown_code(page: str) -> str:
    found = re.search(r"<code[^>]*>([\w.-]{100,})</code>", page)
    assert found, page
    return found[1]


Open = Callable[[httpx2.Client], None]


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Return what makes a person's browser open the pages that programs want opened, and let terminals in there."""
    threads: list[Thread] = []

    def use(browser: httpx2.Client) -> None:
        def visit(page: str) -> None:
            back = led_to(let_in(browser, page))
            assert back.startswith("http://127.0.0.1:")
            with suppress(httpx2.HTTPError):
                wrong = re.sub("state=[^&]*", "state=x", back)
                assert httpx2.get(wrong, trust_env=False, timeout=60).status_code == 404, (
                    "others know the port, not the state"
                )
            assert httpx2.get(back, trust_env=False, timeout=60).status_code == 200

        def open_page(page: str) -> bool:
            threads.append(Thread(target=visit, args=(page,)))
            threads[-1].start()
            return True

        monkeypatch.setattr(webbrowser, "open", open_page)

    yield use
    for thread in threads:
        thread.join(60)


def test_commands_act_as_whoever_is_logged_in_until_he_logs_out(
    app: Application, url: str, cli: Cli, opens: Open
) -> None:
    before = cli("whoami", "--url", url)
    assert (before.code, "cordillera login" in before.err) == (6, True)
    with browser_of(app, url) as browser:
        opens(browser)
        done = cli("login", "--url", url, "--output", "json")
    assert done.code == 0, done.err
    assert f"Logged in at {url} as user:ana until " in done.err
    assert done.json().keys() == {"url", "principal", "expires_at"}
    login = saved_login(url)
    assert login is not None
    assert login.secret not in f"{done.out}{done.err}{login!r}"
    who = cli("whoami", "--url", url, "--output", "json").json()
    assert (who["principal"], who["member_of"], who["operator"]) == ("user:ana", ["role:analysts"], False)
    assert datetime.fromisoformat(who["expires_at"]) <= datetime.now(UTC) + timedelta(hours=12)
    with cordillera.connect(url) as lake:
        assert lake.whoami().principal == "user:ana", "Python uses it as well"
    assert cli("logout", "--url", url).code == 0
    assert saved_login(url) is None
    assert (
        httpx2.get(f"{url}/api/v1/session", headers=bearer(login.secret), trust_env=False, timeout=60).status_code
        == 401
    )
    again = cli("logout", "--url", url)
    assert (again.code, "You are not logged in" in again.err) == (3, True)
    actions = [(one.action, one.principal) for one in app.operations.audit()]
    assert ("access.terminal", "user:ana") in actions


def test_a_code_can_be_typed_where_there_is_no_browser(app: Application, url: str, cli: Cli) -> None:
    begun = LoginBegun(url)
    with browser_of(app, url) as browser:
        code = shown_code(let_in(browser, begun.page()))
    wrong = cli("login", "--url", url, "--no-browser", stdin=code.encode())
    assert (wrong.code, "was given to another terminal" in wrong.err) == (6, True)
    assert saved_login(url) is None
    login, _ = begun.complete(code)
    assert login.principal == "user:ana"
    with pytest.raises(AuthenticationError, match="has been used"):
        begun.complete(code)
    nothing = cli("login", "--url", url, "--no-browser")
    assert (nothing.code, PAGE in nothing.err) == (2, True)


def test_an_ended_login_says_how_to_log_in_again(app: Application, url: str, cli: Cli, clock: LateClock) -> None:
    begun = LoginBegun(url)
    with browser_of(app, url, days=None) as browser:
        login, _ = begun.complete(shown_code(let_in(browser, begun.page())))
    assert login.expires_at is not None
    assert login.expires_at - datetime.now(UTC) > timedelta(hours=11)
    assert cli("whoami", "--url", url).code == 0
    clock.late = timedelta(hours=12, seconds=1)
    ended = cli("dataset", "list", "--url", url)
    assert ended.code == 6
    assert f"Your login at {url} as user:ana has ended. " in ended.err.replace("\n", " ")
    assert f"cordillera login --url {url}" in ended.err


def test_a_session_may_do_no_more_than_the_browsers_and_ends_with_it(
    app: Application, url: str, clock: LateClock
) -> None:
    begun = LoginBegun(url)
    clock.late = timedelta(hours=-20)
    browser = browser_of(app, url, read_only=True)
    clock.late = timedelta()
    with browser:
        login, _ = begun.complete(shown_code(let_in(browser, begun.page())))
    assert login.expires_at is not None
    assert timedelta(hours=3) < login.expires_at - datetime.now(UTC) < timedelta(hours=4)
    with cordillera.connect(url) as lake:
        assert lake.whoami().read_only
    made = httpx2.post(
        f"{url}/api/v1/tokens", json={"name": "x"}, headers=bearer(login.secret), trust_env=False, timeout=60
    )
    assert made.status_code == 403
    ended = httpx2.post(f"{url}/api/v1/session/end", headers=bearer(login.secret), trust_env=False, timeout=60)
    assert ended.status_code == 204, "who may change nothing may log out"


def test_codes_end_soon_and_with_the_browsers_session(app: Application, url: str, clock: LateClock) -> None:
    begun = LoginBegun(url)
    with browser_of(app, url) as browser:
        code = shown_code(let_in(browser, begun.page()))
        for wrong in ("", "x", "x.y", f"{code}x", code[:-3] + ("AAA" if code[-3:] != "AAA" else "BBB")):
            with pytest.raises(AuthenticationError, match="not valid"):
                begun.complete(wrong)
        clock.late = timedelta(minutes=2, seconds=1)
        with pytest.raises(AuthenticationError, match="too old"):
            begun.complete(code)
        clock.late = timedelta()
        app.access.revoke_token(app.access.identify(browser.cookies[COOKIE]).id)
    with pytest.raises(AuthenticationError, match="token is not valid"):
        begun.complete(code)


@pytest.mark.parametrize(
    "query",
    [
        {"challenge": "x"},
        {"challenge": challenge_of("x"), "port": "80", "state": "s" * 20},
        {"challenge": challenge_of("x"), "port": "99999", "state": "s" * 20},
        {"challenge": challenge_of("x"), "port": "5000"},
        {"challenge": challenge_of("x"), "port": "5000@evil.example", "state": "s" * 20},
        {"challenge": challenge_of("x"), "port": "5000", "state": "<script>"},
        {"challenge": challenge_of("x"), "state": "s" * 20},
    ],
)
def test_a_terminal_that_cannot_be_one_gets_no_code(app: Application, url: str, query: dict[str, str]) -> None:
    with browser_of(app, url) as browser:
        for answer in (browser.get(PAGE, params=query), browser.post(PAGE, data=query)):
            assert answer.status_code == 400
            assert "<script>" not in answer.text.partition("</head>")[2]


def test_other_sites_and_strangers_let_no_terminal_in(app: Application, url: str) -> None:
    form = {"challenge": challenge_of("x")}
    with browser_of(app, url) as browser:
        assert browser.post(PAGE, data=form, headers={"Origin": "https://evil.example"}).status_code == 403
        browser.cookies.clear()
        asked = browser.get(PAGE, params=form)
        assert asked.status_code == 303
        assert asked.headers["location"].startswith("/login?next=/login/terminal")
        secret = app.access.create_token("header", principal="user:ana").secret
        refused = browser.post(PAGE, data=form, headers=bearer(secret))
        assert (refused.status_code, "Nobody is logged in here" in refused.text) == (409, True)


def test_a_login_that_others_can_read_is_not_used(app: Application, url: str, cli: Cli) -> None:
    begun = LoginBegun(url)
    with browser_of(app, url) as browser:
        _, file = begun.complete(shown_code(let_in(browser, begun.page())))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    file.chmod(0o644)
    refused = cli("whoami", "--url", url)
    assert (refused.code, "Others can read the login" in refused.err) == (2, True)
    file.chmod(0o600)
    file.write_text("{}")
    with pytest.raises(InvalidConfigurationError, match="is damaged"):
        saved_login(url)


def test_a_named_token_goes_before_a_login(
    app: Application, url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun = LoginBegun(url)
    with browser_of(app, url) as browser:
        begun.complete(shown_code(let_in(browser, begun.page())))
    app.grants.grant(WantedGrant("service:etl", Privilege.DISCOVER, "lake"))
    secret = app.access.create_token("etl", principal="service:etl").secret
    (tmp_path / "token").write_text(secret)
    for arguments, variable in ((["--token-file", tmp_path / "token"], ""), ([], secret)):
        monkeypatch.setenv("CORDILLERA_TOKEN", variable)
        assert cli("whoami", "--url", url, "--output", "json", *arguments).json()["principal"] == "service:etl"


def test_a_login_needs_a_server(cli: Cli) -> None:
    for command in ("login", "logout"):
        nowhere = cli(command)
        assert (nowhere.code, "No server is named" in nowhere.err) == (2, True)
        assert cli("--lake", "x", command).code == 2
    down = cli("login", "--url", "http://127.0.0.1:1", "--no-browser", stdin=b"x")
    assert down.code == 75


def test_a_terminal_does_not_wait_for_ever() -> None:
    from cordillera.cli.loopback import Loopback

    with Loopback("state") as waiting, pytest.raises(WaitTimeoutError, match="--no-browser"):
        waiting.wait(0.0)
