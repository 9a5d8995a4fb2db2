"""Every page: it renders, it answers as JSON, it shows what was written as text, and it needs nobody else's server."""

from __future__ import annotations

import re
from collections import Counter, deque

import httpx2
import pytest

from cordillera.client.lake import Lake
from cordillera.web.dataset_tabs import TABS
from tests.web.conftest import read
from tests.web.sample_lake import SCRIPT

NAMED = ("flights.flights", "flights.delays", "weather.weather", "weather.weather_v2")
PATHS = (
    "/",
    "/search",
    "/search?q=departures",
    "/search?q=nothing-like-it",
    "/search?namespace=flights&tag=departures",
    "/search/suggestions?q=fli",
    "/search/suggestions?q=",
    "/namespaces",
    "/namespaces/flights",
    "/namespaces/scratch",
    *(f"/datasets/{name}?tab={tab}" for name in NAMED for tab in TABS),
    "/datasets/flights.flights/edit",
    "/datasets/flights.flights/snapshots/1",
    "/subscriptions",
    "/subscriptions?state=paused",
    "/targets",
    "/jobs",
    "/jobs/flights.delays",
    "/runs",
    "/runs?job=flights.delays&state=succeeded",
    "/runs?state=failed",
    "/access",
    "/access?show=waiting",
    "/access?show=mine",
    "/access?state=approved",
    "/access/ask",
    "/access/ask?on=flights.flights",
    "/access/explain",
    "/access/explain?principal=user:dan&privilege=read&on=weather.weather",
    "/access/explain?principal=user:ben&privilege=write&on=flights.flights",
    "/events",
    "/events?dataset=flights.flights",
    "/audit",
    "/audit?object=flights.flights",
    "/health",
)
MOST_ALIKE = 2
"""Pages of one kind that the crawl looks at."""


def as_json(path: str) -> str:
    place, mark, query = path.partition("?")
    return f"{place}.json{mark}{query}" if place != "/" else f"/.json{mark}{query}"


@pytest.mark.parametrize("path", PATHS)
def test_a_page_renders_and_needs_nothing_from_elsewhere(pages: httpx2.Client, path: str) -> None:
    response = pages.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = read(response.text)
    assert [address for address in page.addresses if not address.startswith(("/", "#"))] == []
    assert [address for address in page.addresses if address.startswith("//")] == []
    assert SCRIPT not in response.text


@pytest.mark.parametrize("path", PATHS)
def test_a_page_answers_as_json_too(pages: httpx2.Client, path: str) -> None:
    by_ending = pages.get(as_json(path))
    assert by_ending.status_code == 200
    assert by_ending.headers["content-type"] == "application/json"
    by_header = pages.get(path, headers={"Accept": "application/json"})
    assert by_header.headers["content-type"] == "application/json"
    for response in (by_ending, by_header):
        assert set(response.json()) == {"title", "data"}
    assert set(by_ending.json()["data"]) == set(by_header.json()["data"])


@pytest.mark.parametrize("path", ["/", "/datasets/flights.flights", "/login", "/nowhere"])
def test_pages_let_no_script_in_and_nobody_keep_them(pages: httpx2.Client, path: str) -> None:
    response = pages.get(path)
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"
    assert "no-store" in response.headers["cache-control"]
    page = read(response.text)
    assert all(page.values("script", "src")), "the policy allows no script within a page"
    assert not [tag for tag, _ in page.tags if tag == "style"]
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]


def kind(address: str) -> str:
    """Return what pages of one kind have in common."""
    path, _, query = address.partition("?")
    path = re.sub(r"/[0-9a-f-]{36}", "/ID", re.sub(r"/snapshots/\d+", "/snapshots/N", path))
    return f"{path}?{re.sub(r'=[^&]*', '=', query) if 'tab=' not in query else re.sub('=[^&]{20,}', '=', query)}"


def test_every_link_leads_somewhere(pages: httpx2.Client) -> None:
    waiting, seen, looked_at = deque(["/"]), {"/"}, Counter[str]()
    while waiting:
        address = waiting.popleft()
        looked_at[kind(address)] += 1
        if looked_at[kind(address)] > MOST_ALIKE:
            continue
        response = pages.get(address)
        assert response.status_code == 200, address
        if response.headers["content-type"].startswith("text/html"):
            new = [link for link in read(response.text).links if link and link not in seen]
            seen.update(new)
            waiting += new
    for part in (
        "/runs/ID?",
        "/subscriptions/ID?",
        "/datasets/flights.flights/snapshots/N?",
        "/access/requests/ID?",
        "/targets?",
        "/health?",
    ):
        assert looked_at[part], f"{part} cannot be reached by links"


def test_what_people_write_is_shown_as_text(pages: httpx2.Client) -> None:
    overview = read(pages.get("/datasets/flights.flights").text)
    assert f"one row for each flight. {SCRIPT}" in overview.text
    namespace = read(pages.get("/namespaces/flights").text)
    assert f"Departures. {SCRIPT}" in namespace.text
    assert "cost <b>" in namespace.text
    assert namespace.text.count(SCRIPT) > 1
    preview = read(pages.get("/datasets/flights.flights?tab=preview").text)
    assert SCRIPT in preview.text
    assert "note <b>" in preview.text
    assert "b" not in {tag for tag, _ in preview.tags}
    found = read(pages.get("/search", params={"q": '"><script>alert(1)</script>'}).text)
    assert 'matching “"><script>alert(1)</script>”' in found.text
    assert found.values("script", "src") == preview.values("script", "src")


def test_the_navigation_marks_where_one_is(pages: httpx2.Client) -> None:
    def current(path: str) -> list[str]:
        tags = read(pages.get(path).text).tags
        return [str(a["href"]) for tag, a in tags if tag == "a" and a.get("aria-current") == "page"]

    assert current("/") == ["/"]
    assert current("/runs") == ["/jobs"]
    assert current("/datasets/flights.flights?tab=schema") == ["/search", "/datasets/flights.flights?tab=schema"]


def test_the_overview_tells_whether_to_trust_the_dataset(pages: httpx2.Client) -> None:
    data = pages.get("/datasets/flights.flights.json").json()["data"]
    assert [part["name"] for part in data["health"]["parts"]] == ["Freshness", "Deliveries", "Contract"]
    assert data["health"]["word"] == "Healthy"
    assert data["version"]["rows"] == 240
    text = read(pages.get("/datasets/flights.flights").text).text
    for expected in ("team-departures", "carrier, flight, day", "month(day)", "every day, complete by 06:00"):
        assert expected in text
    assert pages.get("/datasets/weather.weather.json").json()["data"]["health"]["word"] == "Needs attention"
    assert pages.get("/datasets/weather.weather_v2.json").json()["data"]["health"]["word"] == "Not measured"


def test_the_code_on_the_overview_runs(pages: httpx2.Client, url: str, token: str, monkeypatch) -> None:
    snippets = pages.get("/datasets/flights.flights.json").json()["data"]["content"]["snippets"]
    python, sql, cli = (snippet["code"] for snippet in snippets)
    monkeypatch.setenv("CORDILLERA_TOKEN", token)
    made: dict[str, object] = {}
    exec(python, made)
    assert made["frame"].shape == (240, 3)
    rows = made["lake"].sql(sql).read_all()
    assert rows.num_rows == 240
    made["lake"].close()
    assert f"CORDILLERA_URL={url}" in cli


def test_the_snapshot_tells_what_it_changed(pages: httpx2.Client, sample: Lake) -> None:
    data = pages.get("/datasets/flights.flights/snapshots/2.json").json()["data"]
    assert (data["snapshot"]["rows_inserted"], data["snapshot"]["rows"]) == (60, 120)
    (entry,) = data["entries"]
    assert (entry["added"], entry["rows"]) == (True, 60)
    day = sample.dataset("flights.flights").scan(["day"]).to_arrow()["day"].unique().to_pylist()
    assert entry["statistics"]["day"][0] in {one.isoformat() for one in day}
    assert "upsert" in read(pages.get("/datasets/flights.flights/snapshots/2").text).text


def test_the_calendar_tells_who_waits_for_a_partition_and_why(pages: httpx2.Client, sample: Lake) -> None:
    days = {one.partition for one in sample.dataset("flights.flights").completions()}
    (missing,) = days - {one.partition for one in sample.dataset("weather.weather").completions()}
    place = f"/datasets/weather.weather?tab=completions&partition={missing}"
    page = read(pages.get(place).text)
    assert f"Calendar: {missing[:7]}" in page.text
    assert f"{missing}: waiting" in page.text
    assert "flights.delays" in page.text
    assert f"waiting for weather.weather {missing}" in page.text
    calendar = pages.get(place.replace("?", ".json?")).json()["data"]["content"]["calendar"]
    assert [one for one, cell in calendar["cells"].items() if cell["state"] in ("complete", "late", "restated")] == [
        one for one in sorted(days - {missing}) if one.startswith(missing[:7])
    ]
    earlier = pages.get("/datasets/weather.weather.json?tab=completions&period=2013-02").json()["data"]["content"]
    assert {cell["state"] for cell in earlier["calendar"]["cells"].values()} == {"before"}
    assert pages.get("/datasets/weather.weather?tab=completions&period=2013").status_code == 400
    assert pages.get("/datasets/weather.weather.json?tab=completions&partition=<b>").status_code == 200


def test_completions_show_what_came_late_and_again(pages: httpx2.Client) -> None:
    content = pages.get("/datasets/flights.flights.json?tab=completions").json()["data"]["content"]
    assert len(content["strip"]) == 30
    assert "restated" in {cell["state"] for cell in content["strip"]}
    assert [one["revision"] for one in content["completions"]["items"]] == [1, 1, 2, 1]


def test_the_graph_can_be_opened_further_and_along_its_edges(pages: httpx2.Client) -> None:
    path = "/datasets/weather.weather?tab=lineage"
    data = pages.get(as_json(path)).json()["data"]["content"]
    assert {box["node"]["name"] for box in data["drawing"]["boxes"]} == {
        "weather.weather", "flights.delays", "warehouse:weather",
    }  # fmt: skip
    upstream = pages.get("/datasets/flights.delays.json?tab=lineage").json()["data"]["content"]
    edge = next(curve for curve in upstream["drawing"]["curves"] if curve["columns"])
    opened = pages.get(edge["href"])
    assert "made from columns of" in read(opened.text).text
    focus = "/datasets/flights.flights"
    assert pages.get(f"{focus}?tab=lineage&expand=dataset:flights.delays&expand=nonsense&edge=x").status_code == 200


def test_a_job_shows_what_it_waits_for_and_a_run_what_it_did(pages: httpx2.Client) -> None:
    assert "waiting for weather.weather" in read(pages.get("/jobs/flights.delays").text).text
    run = pages.get("/runs.json").json()["data"]["runs"]["items"][0]
    page = read(pages.get(f"/runs/{run['id']}").text)
    assert f"for {run['partition']}" in page.text
    assert f"/datasets/flights.delays/snapshots/{run['output_sequence']}" in page.links


def test_static_files_are_kept_and_pages_name_their_content(pages: httpx2.Client) -> None:
    page = read(pages.get("/").text)
    files = [str(address) for address in page.addresses if address.startswith("/static/")]
    assert len(files) >= 4
    for address in files:
        response = pages.get(address)
        assert response.status_code == 200
        assert re.fullmatch(r"/static/[\w./]+\?[0-9a-f]{12}", address)
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "http" not in pages.get("/static/app.css").text.lower()
    assert pages.get("/static/../pages.py").status_code == 404


def test_the_health_page_lists_no_storage(pages: httpx2.Client) -> None:
    checks = {finding["check"] for finding in pages.get("/health.json").json()["data"]["findings"]}
    assert "storage" in checks
    assert "orphans" not in checks
