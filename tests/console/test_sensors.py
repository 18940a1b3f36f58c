"""The list of sensors, looked at in Chromium."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx
from playwright.sync_api import Page, expect

from tests.support.stack import RunningStack

from .conftest import FLEET

OpenPage = Callable[..., Page]


def counted(page: Page, number: int | None = None) -> None:
    """Wait until so many are told of; where no number is said, all of them, whatever other tests sent."""
    told = r"100,\d{3}" if number is None else f"{number:,}"
    expect(page.locator("#count")).to_have_text(re.compile(rf"^{told} sensors?$"), timeout=20_000)


def test_all_are_there_with_value_age_and_course(open_page: OpenPage) -> None:
    page = open_page("")
    expect(page).to_have_title(re.compile("^Sensors "))
    counted(page)
    first = page.locator(".row").first
    expect(first.locator(".id")).to_have_text("boiler-01")
    expect(first.locator(".value")).to_have_text(re.compile(r"^[\d.]+ °C$"))
    expect(first.locator(".age")).to_have_text(re.compile(r"^\d+ (s|min) ago$"))
    expect(first.locator(".spark path")).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+h0(L[\d.]+ [\d.]+)+"))


def test_text_globs_selectors_and_labels_narrow_it(open_page: OpenPage) -> None:
    page = open_page("")
    search = page.get_by_label("Search")
    for typed, number in (("iler-1", 10), ("boiler-0?", 9), ('temperature{site="north"}', 3), ("hum", 6)):
        search.fill(typed)
        counted(page, number)
    room = page.get_by_label("room")
    room.focus()
    expect(page.locator(f"#{room.get_attribute('list')} option")).to_have_count(6)
    room.fill("kitchen")
    room.press("Enter")
    counted(page, 1)
    expect(page.locator(".row .id small")).to_have_text("room=kitchen site=south")
    assert "label=room%3Dkitchen" in page.url
    search.fill("")
    counted(page, 2)
    page.reload()
    counted(page, 2)
    expect(room).to_have_value("kitchen")


def test_a_selector_in_the_making_is_an_error_in_words_with_the_requests_id(open_page: OpenPage) -> None:
    page = open_page("#sensors?match=temperature%7Bsite%3D")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("match")
    expect(alert).to_contain_text(re.compile(r"422 invalid_parameter · request [0-9a-f]{32}"))


def test_silent_ones_come_first_by_choice(open_page: OpenPage) -> None:
    page = open_page("#sensors?match=boiler-*")
    counted(page, 20)
    page.get_by_label("silent ones first").check()
    expect(page.locator(".row .id").first).to_have_text("boiler-07")
    expect(page.locator(".row .age").first).to_have_text("30 h ago")
    # What is silent is looked at where it was heard last.
    page.locator(".row").first.click()
    expect(page.locator("#plot[data-drawn]")).to_be_visible()
    expect(page.locator(".nothing")).to_have_count(0)


def test_a_hundred_thousand_scroll_with_few_rows_at_a_time(open_page: OpenPage) -> None:
    page = open_page("")
    counted(page)
    scroller = page.locator("#sensors")
    most = 0
    for share in (0.2, 0.5, 0.9, 1):
        scroller.evaluate("(node, share) => { node.scrollTop = share * node.scrollHeight }", share)
        expect(page.locator(".row .value", has_text="…")).to_have_count(0)
        most = max(most, page.locator(".row").count())
    assert most < 60
    expect(page.locator(".row .id").last).to_have_text(f"unit-{FLEET - 1:06}")
    expect(page.locator(".row .value").last).to_have_text(f"{FLEET - 1:,}")


def test_picked_sensors_of_several_searches_lead_to_one_plot(open_page: OpenPage) -> None:
    page = open_page("#sensors?match=boiler-0*")
    counted(page, 9)
    page.get_by_label("Pick boiler-03").check()
    search = page.get_by_label("Search")
    search.fill("boiler-1*")
    counted(page, 10)
    page.get_by_label("Pick boiler-11").focus()
    page.keyboard.press("Space")
    page.get_by_label("Pick boiler-12").check()
    page.get_by_label("Pick boiler-12").uncheck()
    search.fill("boiler-0*")
    counted(page, 9)
    expect(page.get_by_label("Pick boiler-03")).to_be_checked()
    page.get_by_role("link", name="Plot the 2 picked together").click()
    expect(page.locator("#plot[data-drawn]")).to_be_visible()
    expect(page.locator(".chips code")).to_have_text(["boiler-03", "boiler-11"])


def test_a_picked_row_keeps_the_focus_while_rows_are_made_anew(open_page: OpenPage) -> None:
    page = open_page("#sensors?match=boiler-0*")
    counted(page, 9)
    box = page.get_by_label("Pick boiler-03")
    box.focus()
    page.keyboard.press("Space")
    page.locator(".rows").evaluate("(list) => { list.firstChild.dataset.old = 'yes' }")
    # Rows are looked at afresh every five seconds.
    expect(page.locator(".rows li[data-old]")).to_have_count(0, timeout=15_000)
    expect(box).to_be_focused()
    expect(box).to_be_checked()
    page.get_by_role("button", name="Pick none").click()
    expect(box).not_to_be_checked()


def test_what_a_search_finds_leads_to_one_plot(open_page: OpenPage) -> None:
    page = open_page("")
    counted(page)
    expect(page.locator("#together a")).to_have_count(0)
    page.get_by_label("Search").fill("iler-1")
    counted(page, 10)
    page.get_by_role("link", name="Plot all of these together").click()
    expect(page.locator("#plot[data-drawn]")).to_be_visible()
    expect(page.locator(".chips code")).to_have_text("*iler-1*")
    expect(page.locator("#readout tbody tr")).to_have_count(10)


def test_it_is_used_by_keys_alone(open_page: OpenPage) -> None:
    page = open_page("")
    counted(page)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.get_by_label("Search").focus()
    page.keyboard.type("boiler-05")
    counted(page, 1)
    for _ in range(10):
        if page.locator(".row:focus").count():
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#explore.*boiler-05"))


def test_back_and_forward_lead_through_the_views(open_page: OpenPage) -> None:
    page = open_page("#sensors?match=boiler-01")
    counted(page, 1)
    page.locator(".row").click()
    expect(page).to_have_title(re.compile("^Explore "))
    page.go_back()
    expect(page.get_by_label("Search")).to_have_value("boiler-01")
    page.go_forward()
    expect(page.locator(".chips")).to_have_text(re.compile("boiler-01"))


def test_what_is_called_like_a_part_of_every_object_is_called_so(open_page: OpenPage, stack: RunningStack) -> None:
    names = ("__proto__", "constructor", "toString")
    now = datetime.now(UTC).isoformat()
    readings: list[dict[str, object]] = [{"sensor_id": name, "timestamp": now, "value": 1.5} for name in names]
    readings.append({"name": "odd", "labels": dict.fromkeys(names, "x"), "timestamp": now, "value": 2.5})
    url = f"http://127.0.0.1:{stack.settings.ingest.port}/ingest?ack=stored"
    assert httpx.post(url, json=readings, timeout=30).status_code == 200
    page = open_page("#sensors?match=odd")
    captions = page.locator(".facets label > span")
    expect(captions.first).to_be_attached()
    assert {*names} <= {*captions.all_inner_texts()}
    for name in names:
        plotted = open_page("#explore?" + urlencode({"sensor_id": name, "start": "-1h"}))
        expect(plotted.locator("#readout tbody th")).to_have_text(name)
        expect(plotted.locator("#readout tbody td").first).to_have_text("1.5")
    expect(open_page("#constructor").get_by_role("alert")).to_contain_text("There is no view constructor.")
