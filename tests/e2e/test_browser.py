"""The pages in a real browser, from the login to the last tab, on a desk and on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import DESKTOP, PHONE, Served, Visit, expected_problem
from tests.web.test_pages import PATHS

TABS = (
    "Schema",
    "Preview",
    "Snapshots",
    "Layout",
    "Contract",
    "Completions",
    "Subscriptions",
    "Lineage",
    "Access",
    "Activity",
    "Overview",
)
SKIPPED = ("/search/suggestions", "/datasets/flights.delays?", "/datasets/weather.weather?")
LOOKED_AT = [path for path in PATHS if not path.startswith(SKIPPED)]
"""One page of every kind, with and without something on it."""
MISFITS = """() => {
    const misfits = [...document.querySelectorAll('body *')]
        .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
        .filter(element => !element.closest('.table-box, .graph-box, .tabs, .sections, .facets, .skip, .sr-only'))
        .map(element => `${element.tagName}.${element.getAttribute('class')} sticks out`);
    if (document.documentElement.scrollWidth > innerWidth) misfits.push('the page scrolls sideways');
    if (document.querySelectorAll('h1').length !== 1) misfits.push('there is not one heading');
    return misfits;
}"""


def test_from_the_login_to_an_edited_description(visit: Visit, served: Served) -> None:
    window = visit(logged_in=False, viewport=DESKTOP)
    page = window.page
    page.goto("/datasets/flights.flights?tab=schema")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    expect(page.get_by_role("navigation")).to_have_count(0)
    with expected_problem(window, "401"):
        page.get_by_label("Token").fill("cdl_wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token").fill(served.token)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{served.url}/datasets/flights.flights?tab=schema")

    page.get_by_role("link", name="Datasets", exact=True).click()
    page.get_by_role("complementary", name="Filters").get_by_role("link", name="flights", exact=False).first.click()
    expect(page).to_have_url(re.compile("namespace=flights"))
    expect(page.locator(".hits > li")).to_have_count(2)
    page.get_by_label("Search datasets").fill("departures")
    page.get_by_label("Search datasets").press("Enter")
    expect(page.locator(".hits mark").first).to_have_text(re.compile("departures", re.I))
    page.locator(".hits").get_by_role("link", name="flights.flights").click()
    expect(page.get_by_role("heading", name="flights.flights")).to_be_visible()
    for tab in TABS:
        page.get_by_role("navigation", name="Dataset").get_by_role("link", name=tab, exact=True).click()
        expect(page.locator(".tabs [aria-current]")).to_have_text(tab)

    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Description").fill("Written in a browser.\n\n<b>Not bold.</b>")
    page.get_by_label("Tags").fill("departures, edited")
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(f"{served.url}/datasets/flights.flights")
    expect(page.locator(".prose")).to_have_text("Written in a browser.\n\n<b>Not bold.</b>")
    expect(page.get_by_role("link", name="edited")).to_be_visible()

    page.locator("summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{served.url}/login")
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))


def test_suggestions_by_keyboard(visit: Visit, served: Served) -> None:
    page = visit(viewport=DESKTOP).page
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("wea")
    expect(page.locator("#suggestions li")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#suggestions li")).to_have_count(0)
    expect(page.get_by_label("Search datasets")).to_have_value("wea")
    page.keyboard.type("ther")
    expect(page.locator("#suggestions mark").first).to_have_text("weather")  # the answer to the last letter
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{served.url}/datasets/weather.weather")


def test_what_is_typed_before_the_page_is_ready_is_suggested_for(visit: Visit) -> None:
    page = visit(viewport=DESKTOP).page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/htmx.min.js*", hold)
    with page.expect_request("**/htmx.min.js*"):
        page.goto("/", wait_until="commit")
    page.get_by_label("Search datasets").fill("wea")
    for route in held:
        route.continue_()
    expect(page.locator("#suggestions li")).to_have_count(1)


def test_access_is_asked_for_and_decided_about(visit: Visit, served: Served) -> None:
    page = visit(viewport=PHONE).page
    page.goto("/access?show=waiting")
    page.get_by_role("link", name="dataset:flights.flights").click()
    expect(page.get_by_role("heading", name="Access to flights.flights")).to_be_visible()
    check_fit(page)
    approving = page.get_by_role("form", name="Approve")
    approving.get_by_label("external_use").uncheck()
    approving.get_by_label("Days").fill("7")
    approving.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved in part")).to_be_visible()
    expect(page.get_by_text("read for 7 days")).to_be_visible()

    page.goto("/access/ask?on=weather.weather")
    page.get_by_label("write").check()
    page.get_by_label("Purpose").fill("Corrections")
    page.get_by_role("button", name="Ask for access").click()
    expect(page).to_have_url(re.compile(r"/access/requests/[0-9a-f-]{36}$"))
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("withdrawn", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Ask again")).to_be_visible()


def test_a_run_its_snapshot_and_a_subscription(visit: Visit) -> None:
    page = visit(viewport=DESKTOP).page
    page.goto("/jobs")
    page.get_by_role("row", name="flights.delays").get_by_role("link", name="flights.delays").first.click()
    page.get_by_role("region", name="Runs").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Run of flights.delays")).to_be_visible()
    page.get_by_role("link", name="snapshot").click()
    expect(page.get_by_role("region", name="Manifest entries").get_by_text("+ added").first).to_be_visible()

    page.goto("/subscriptions")
    page.get_by_role("link", name="warehouse · flights").click()
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#verification")).to_contain_text("equal")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("listitem").filter(has_text="Paused")).to_contain_text("by user:root")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_the_graph_is_walked_by_clicking(visit: Visit, served: Served) -> None:
    page = visit(viewport=DESKTOP).page
    page.goto("/datasets/flights.delays?tab=lineage")
    graph = page.get_by_role("region", name="Lineage graph")
    graph.get_by_role("link", name="Columns of flights.flights → flights.delays").click()
    expect(page.get_by_role("region", name="Columns of the edge")).to_contain_text("dep_delay")
    graph.get_by_role("link", name="dataset flights.flights").click()
    expect(page).to_have_url(f"{served.url}/datasets/flights.flights?tab=lineage")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_fits_the_screen(visit: Visit, viewport: dict[str, int]) -> None:
    page = visit(viewport=viewport).page
    for path in LOOKED_AT:
        page.goto(path)
        check_fit(page)
    run = page.request.get("/runs.json").json()["data"]["runs"]["items"][0]["id"]
    page.goto(f"/runs/{run}")
    check_fit(page)
    page.goto("/subscriptions")
    page.get_by_role("link", name="warehouse · flights").click()
    expect(page.get_by_role("button", name="Verify now")).to_be_visible()
    check_fit(page)


def check_fit(page: Page) -> None:
    """Check that nothing sticks out of the window, and that the page says what it is."""
    assert page.evaluate(MISFITS) == [], page.url


def test_dark_is_dark(visit: Visit) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = visit(viewport=DESKTOP, color_scheme=scheme).page
        page.goto("/")
        red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        shades[scheme] = red + green + blue
    assert shades["dark"] < 150 < 600 < shades["light"]


def test_what_is_not_there(visit: Visit) -> None:
    window = visit(viewport=PHONE)
    with expected_problem(window, "404"):
        window.page.goto("/datasets/no.such")
        expect(window.page.get_by_role("heading", name="Not found")).to_be_visible()
        check_fit(window.page)
    window.page.get_by_role("main").get_by_role("link", name="Search").click()
    expect(window.page.get_by_role("heading", name="Datasets")).to_be_visible()


def test_without_scripts_everything_but_the_type_ahead_works(visit: Visit, served: Served) -> None:
    page = visit(viewport=DESKTOP, java_script_enabled=False).page
    page.goto("/")
    page.get_by_label("Search datasets").fill("weather")
    page.get_by_label("Search datasets").press("Enter")
    page.locator(".hits").get_by_role("link", name="weather.weather").click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Owner").fill("team-storm")
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(f"{served.url}/datasets/weather.weather")
    expect(page.get_by_text("team-storm").first).to_be_visible()
