"""What the console says while the service or its database is away, and that it comes back by itself."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from .conftest import Narrow

OpenPage = Callable[..., Page]

AGAIN = re.compile(r"asked again every \d s, by itself")


def test_sensors_come_back_by_themselves(open_page: OpenPage, narrow: Narrow) -> None:
    with narrow.without_database():
        page = open_page("#sensors?match=room-none", at=narrow.console)
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text(AGAIN, timeout=20_000)
        page.get_by_label("Search").fill("boiler-0")
        expect(alert).to_contain_text(AGAIN, timeout=20_000)
    expect(page.locator(".row .value").first).to_have_text(re.compile("°C"), timeout=20_000)
    expect(alert).to_have_count(0)
    # Labels that could not be had come too.
    expect(page.get_by_label("room")).to_be_visible()


def test_a_list_that_is_out_of_date_says_so(open_page: OpenPage, narrow: Narrow) -> None:
    page = open_page("#sensors?match=boiler-*", at=narrow.console)
    expect(page.locator(".row .value").first).to_have_text(re.compile("°C"), timeout=20_000)
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text(AGAIN, timeout=20_000)
    expect(page.locator(".row .value").first).to_have_text(re.compile("°C"))
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_have_count(0, timeout=20_000)


def test_a_plot_comes_back_by_itself(open_page: OpenPage, narrow: Narrow) -> None:
    plots = [open_page(f"#explore?sensor_id=boiler-01&start=-1h{live}", at=narrow.console) for live in ("", "&live=1")]
    for page in plots:
        expect(page.locator("#plot[data-drawn]")).to_be_visible()
    with narrow.without_database():
        plots[0].get_by_role("button", name="Earlier").click()
        for page in plots:
            expect(page.get_by_role("alert")).to_contain_text(AGAIN, timeout=20_000)
    for page in plots:
        # A question that failed slowly is not taken for a dear one, which would wait ten times as long.
        expect(page.get_by_role("alert")).to_have_count(0, timeout=20_000)
