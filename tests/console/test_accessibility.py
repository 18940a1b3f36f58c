"""What axe finds on each view, in both schemes and on a phone; and the pictures of the docs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.service import ROOT

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
