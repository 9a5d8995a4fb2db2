"""The pages of a small real lake behind a real server, and a browser's requests to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser

import httpx2
import pytest

from cordillera.api.auth import COOKIE
from cordillera.client.lake import Lake
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.tokens import administrators_token
from tests.web.sample_lake import build_sample_lake

PERSON = "user:ana"


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """The sample lake, open in this process."""
    with build_sample_lake(tmp_path_factory.mktemp("sample")) as lake:
        yield lake


@pytest.fixture(scope="session")
def token(sample: Lake) -> str:
    return administrators_token(sample.backend.app, PERSON)


@pytest.fixture(scope="session")
def url(sample: Lake) -> Iterator[str]:
    with running_server(create_server(sample.backend.app)) as url:
        yield url


@pytest.fixture(scope="session")
def pages(url: str, token: str) -> Iterator[httpx2.Client]:
    """Somebody who is logged in, on the server's own pages."""
    headers = {"Accept": "text/html", "Origin": url}
    with httpx2.Client(base_url=url, cookies={COOKIE: token}, headers=headers, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def stranger(url: str) -> Iterator[httpx2.Client]:
    """Somebody who is not logged in."""
    with httpx2.Client(
        base_url=url, headers={"Accept": "text/html", "Origin": url}, trust_env=False, timeout=60
    ) as client:
        yield client


@dataclass
class Markup:
    """What is in a page: every address it refers to, every tag with its attributes, and its text."""

    addresses: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    @property
    def links(self) -> list[str]:
        """The links a person can follow, without fragments."""
        return [attributes["href"].partition("#")[0] for tag, attributes in self.tags if tag == "a"]

    def values(self, tag: str, attribute: str) -> list[str | None]:
        """Return an attribute of every tag of a kind."""
        return [attributes.get(attribute) for name, attributes in self.tags if name == tag]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.markup = Markup()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._part_words(tag)
        attributes = dict(attrs)
        self.markup.tags.append((tag, attributes))
        referring = ("href", "src", "action", "hx-get", "hx-post", "srcset", "data", "poster", "formaction")
        self.markup.addresses += [attributes[name] or "" for name in referring if name in attributes]

    def handle_endtag(self, tag: str) -> None:
        self._part_words(tag)

    def _part_words(self, tag: str) -> None:
        if tag not in ("mark", "wbr"):  # they stand within words
            self.markup.text += " "

    def handle_data(self, data: str) -> None:
        self.markup.text += data


def read(html: str) -> Markup:
    """Take a page apart."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.markup.text = " ".join(unescape(reader.markup.text).split())
    return reader.markup
