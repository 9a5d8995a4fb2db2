"""A served lake as people start one, and a real browser in front of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from cordillera.api.auth import COOKIE
from tests.web.sample_lake import build_sample_lake

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
_STOP_TIMEOUT_S = 60
_PATIENCE_MS = 30_000
"""How long something on a page may take; only a test that fails waits so long."""


@dataclass(frozen=True)
class Served:
    """A running server: where it is, and the token it introduced itself with."""

    url: str
    token: str


@dataclass
class Watched:
    """A page that remembers what went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The sample lake, served by the command line's own process."""
    folder = tmp_path_factory.mktemp("served")
    build_sample_lake(folder).close()
    command = [sys.executable, "-m", "cordillera.cli.main", "serve", "--lake", str(folder / "lake")]
    log = folder / "server.log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [*command, "--port", "0", "--workers", "0"], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        try:
            yield _introduced(server, log)
        finally:
            server.terminate()
            code = server.wait(_STOP_TIMEOUT_S)
    assert code == 0, log.read_text()


def _introduced(server: subprocess.Popen[str], log: Path) -> Served:
    """Wait until the server has said its token and its address."""
    said = ""
    assert server.stdout is not None
    for line in server.stdout:
        said += line
        if address := re.search(r"Log in at (http://\S+)/login", said):
            token = re.search(r"cdl_\S+", said)
            assert token, said
            return Served(address[1], token[0])
    pytest.fail(f"The server ended instead of serving:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, or the one that Playwright has installed."""
    arguments = ["--no-proxy-server"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses its sandbox to root
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield launched
        launched.close()


Visit = Callable[..., Watched]


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    """Return what opens a window; in the end nothing may have gone wrong in any of them."""
    opened: list[tuple[BrowserContext, Watched]] = []

    def open_window(*, logged_in: bool = True, **options: object) -> Watched:
        context = browser.new_context(base_url=served.url, **options)
        context.set_default_timeout(_PATIENCE_MS)
        if logged_in:
            context.add_cookies([{"name": COOKIE, "value": served.token, "url": served.url}])
        watched = Watched(context.new_page())
        _watch(context, watched, served.url)
        opened.append((context, watched))
        return watched

    yield open_window
    for context, _ in opened:
        context.close()
    assert [problem for _, watched in opened for problem in watched.problems] == []


def _watch(context: BrowserContext, watched: Watched, url: str) -> None:
    def asked(address: str) -> None:
        if not address.startswith((f"{url}/", "data:")):
            watched.problems.append(f"a request left for {address}")

    def said(kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            watched.problems.append(f"console {kind} on {watched.page.url}: {text}")

    context.on("request", lambda request: asked(request.url))
    context.on("console", lambda message: said(message.type, message.text))
    context.on("weberror", lambda error: watched.problems.append(f"script failed: {error.error}"))


@contextmanager
def expected_problem(watched: Watched, words: str) -> Iterator[None]:
    """Let one kind of problem pass within the block, and insist that it occurs."""
    before = list(watched.problems)
    yield
    new = watched.problems[len(before) :]
    assert new, f"expected: {words}"
    assert all(words in problem for problem in new), new
    watched.problems[:] = before
