"""Search and lists: facets, pages, filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pyarrow as pa
import pytest

import cordillera
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from cordillera.web.home import tally_subscriptions
from tests.web.conftest import read

MANY = 60
SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """The pages of a lake with more of everything than a page shows."""
    folder: Path = tmp_path_factory.mktemp("many")
    with cordillera.create(folder / "lake", name="many") as lake:
        for number in range(MANY):
            lake.create_namespace(f"space{number:02}", owner="team-a")
        for number in range(30):
            tags = [f"tag-{number:02}", "even" if number % 2 == 0 else "odd"]
            lake.create_dataset(f"space00.thing{number:02}", SCHEMA, owner=f"team-{number % 3}", tags=tags)
        server = create_server(lake.backend.app, insecure_local=True)
        with (
            running_server(server) as url,
            httpx2.Client(base_url=url, headers={"Accept": "text/html"}, trust_env=False, timeout=60) as client,
        ):
            yield client


def walk(client: httpx2.Client, path: str) -> list[list[str]]:
    """Follow a list to its end, and return the names of links on each page."""
    found, here = [], path
    while here:
        page = read(client.get(here).text)
        found.append(page.links)
        here = next((str(a["href"]) for tag, a in page.tags if tag == "a" and a.get("rel") == "next"), "")
    return found


def test_namespaces_come_in_pages(many: httpx2.Client) -> None:
    pages = walk(many, "/namespaces")
    assert len(pages) == 2
    listed = [link for links in pages for link in links if link.startswith("/namespaces/")]
    assert listed == [f"/namespaces/space{number:02}" for number in range(MANY)]


@pytest.mark.parametrize("path", ["/search", "/namespaces/space00"])
def test_datasets_come_in_pages(many: httpx2.Client, path: str) -> None:
    pages = walk(many, path)
    assert len(pages) == 2
    listed = [link for links in pages for link in links if link.startswith("/datasets/")]
    assert listed == [f"/datasets/space00.thing{number:02}" for number in range(30)]


@pytest.mark.parametrize(("path", "key"), [("/events", "events"), ("/audit", "audit")])
def test_histories_come_in_pages_newest_first(many: httpx2.Client, path: str, key: str) -> None:
    numbers: list[int] = []
    before = ""
    while True:
        found = many.get(f"{path}.json", params={"before": before}).json()["data"][key]
        numbers += [one["number"] for one in found["items"]]
        before = found["next"]
        if not before:
            break
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(numbers) >= 30


def test_a_later_page_leads_back_to_the_start_and_keeps_the_filters(many: httpx2.Client) -> None:
    first = read(many.get("/search?q=thing&owner=team-1").text)
    assert "10 datasets" in first.text
    second = read(many.get("/search?q=thing&tag=&after=space00.thing20").text)
    assert "/search?q=thing" in second.links
    page = read(many.get("/search?lifecycle=active").text)
    following = next(str(a["href"]) for tag, a in page.tags if tag == "a" and a.get("rel") == "next")
    assert "lifecycle=active" in following


def test_facets_narrow_and_widen(many: httpx2.Client) -> None:
    groups = {one["name"]: one for one in many.get("/search.json").json()["data"]["facets"]}
    assert set(groups) == {"namespace", "owner", "tag", "lifecycle"}
    counts = {choice["value"]: choice["count"] for choice in groups["tag"]["choices"]}
    assert (counts["even"], counts["odd"]) == (15, 15)
    assert groups["tag"]["hidden"] == 20, "twelve of the 32 tags are listed"
    even = next(choice for choice in groups["tag"]["choices"] if choice["value"] == "even")
    narrowed = read(many.get(even["href"]).text)
    assert "15 datasets, narrowed by tag even" in narrowed.text
    chosen = many.get("/search.json?tag=even").json()["data"]["facets"]
    again = next(c for group in chosen if group["name"] == "tag" for c in group["choices"] if c["chosen"])
    assert again["href"] == "/search", "choosing it again takes it away"
    both = many.get("/search.json?tag=even&owner=team-0").json()["data"]
    assert both["total"] == 5


def test_suggestions_are_few_and_lead_to_all(many: httpx2.Client) -> None:
    found = read(many.get("/search/suggestions?q=thing").text)
    assert len([link for link in found.links if link.startswith("/datasets/")]) == 8
    assert "All 30 matches" in found.text
    assert many.get("/search/suggestions?q=zzz").text.count("Nothing matches") == 1
    assert "<html" not in many.get("/search/suggestions?q=thing").text


def test_words_that_match_are_marked(many: httpx2.Client) -> None:
    assert "<mark>thing</mark>" in many.get("/search?q=thing").text


def test_an_empty_lake_says_how_to_begin(tmp_path: Path) -> None:
    with (
        cordillera.create(tmp_path / "lake") as lake,
        running_server(create_server(lake.backend.app, insecure_local=True)) as url,
        httpx2.Client(base_url=url, headers={"Accept": "text/html"}, trust_env=False, timeout=60) as client,
    ):
        for path, command in {
            "/": "cordillera namespace create",
            "/search": "cordillera dataset create",
            "/namespaces": "cordillera namespace create",
            "/subscriptions": "cordillera subscription create",
            "/targets": "cordillera target create",
            "/jobs": "cordillera job create",
        }.items():
            assert command in read(client.get(path).text).text, path


@pytest.mark.parametrize(
    ("there_are", "shown"),
    [
        ({"live": 101, "failed": 3, "approved": 2, "requested": 1}, "100+ live, 3 failed, 3 waiting"),
        ({"live": 100, "paused": 101}, "100 in step, 0 behind, 0 failed, 100+ paused"),
    ],
)
def test_many_live_subscriptions_hide_none_that_failed(there_are: dict[str, int], shown: str) -> None:
    def subscriptions(*, state: str, limit: int) -> list[Any]:
        return [SimpleNamespace(in_step=True)] * min(there_are.get(state, 0), limit)

    tallies = tally_subscriptions(cast(Any, SimpleNamespace(subscriptions=subscriptions)))
    assert ", ".join(f"{one.count}{'+' * one.more} {one.state}" for one in tallies) == shown
