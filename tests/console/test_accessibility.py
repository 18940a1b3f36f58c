"""What axe finds on each view, in both schemes and on a phone; and the pictures of the docs."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.service import ROOT
from tests.support.stack import RunningStack

from .looks import DARK, LIGHT, PHONE, Look

PICTURES = ROOT / "docs" / "pictures" / "console"
VIEWS = {
    "sensors": "#sensors?match=boiler-*",
    "explore": "#explore?sensor_id=boiler-03&sensor_id=boiler-05&start=-24h&agg=avg,min,max&bucket=15m",
    "health": "#health",
}


def settled(page: Page, view: str) -> None:
    """Wait until a view shows what it has."""
    ready = {
        "sensors": "li:nth-child(9) .spark path",
        "explore": "#plot[data-drawn]:not([aria-busy])",
        "health": "#card-stream dd",
    }
    expect(page.locator(ready[view]).first).to_be_attached()
    if view == "health":
        expect(page.locator("#card-dead-letters")).to_contain_text("None: everything that was sent could be stored.")


@pytest.mark.parametrize("look", [LIGHT, DARK, PHONE], ids=["light", "dark", "phone"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(open_page: Callable[..., Page], view: str, look: Look) -> None:
    page = open_page(VIEWS[view], look)
    settled(page, view)
    if view == "explore":
        if look is PHONE:
            page.locator("#rest > summary").click()
        page.locator("#buckets summary").click()
        page.get_by_text("All points as a table").click()
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found] == []


@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_pictures_are_made(open_page: Callable[..., Page], view: str, look: Look) -> None:
    page = open_page(VIEWS[view], look)
    settled(page, view)
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture: Path = PICTURES / f"{view}-{look.scheme}.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000


def test_a_phone_shows_all_without_scrolling_sideways(open_page: Callable[..., Page]) -> None:
    for view, fragment in VIEWS.items():
        page = open_page(fragment, PHONE)
        settled(page, view)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_a_phone_has_room_for_the_longest_id(open_page: Callable[..., Page], stack: RunningStack) -> None:
    name = "long" * 32
    url = f"http://127.0.0.1:{stack.settings.ingest.port}/ingest?ack=stored"
    now = datetime.now(UTC).isoformat()
    assert httpx.post(url, json=[{"sensor_id": name, "timestamp": now, "value": 1}]).status_code == 200
    for view, ready in (("explore?sensor_id", "#plot[data-drawn]"), ("sensors?match", ".row .value")):
        page = open_page(f"#{view}={name}", PHONE)
        expect(page.locator(ready)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_tables_that_go_on_beyond_a_phones_edge_say_so(open_page: Callable[..., Page]) -> None:
    page = open_page("#health", PHONE)
    table = page.get_by_role("region", name="Table")
    beyond = page.locator("#card-tables .beyond")
    expect(beyond).to_be_visible()
    table.evaluate("region => { region.scrollLeft = region.scrollWidth }")
    expect(beyond).to_be_hidden()
    # A look at the newest leaves it where it is.
    with page.expect_response("**/status"):
        pass
    expect(beyond).to_be_hidden()
    assert table.evaluate("region => region.scrollLeft") > 0
    wide = open_page("#health")
    expect(wide.locator("#card-tables table")).to_be_visible()
    expect(wide.locator("#card-tables .beyond")).to_be_hidden()


def test_a_phone_folds_the_question_which_keys_open(open_page: Callable[..., Page]) -> None:
    page = open_page(VIEWS["explore"], PHONE)
    settled(page, "explore")
    plot = page.locator("#plot").bounding_box()
    assert plot
    assert plot["y"] < PHONE.height / 2
    expect(page.get_by_label("Time zone")).to_be_hidden()
    summary = page.locator("#rest > summary")
    expect(summary).to_have_text("last 24 hours, Europe/Berlin, avg, min, max")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Time zone")).to_be_visible()
    # What was opened stays open while questions change.
    page.get_by_label("Range").select_option("-1h")
    expect(summary).to_have_text("last hour, Europe/Berlin, avg, min, max")
    expect(page.get_by_label("Time zone")).to_be_visible()
    # A wide screen has no use for it.
    page.set_viewport_size({"width": 1280, "height": 860})
    expect(summary).to_be_hidden()
    expect(page.get_by_label("Time zone")).to_be_visible()
