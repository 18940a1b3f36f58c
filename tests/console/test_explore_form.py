"""The explorer's form: which sensors, called how, and which range, said as people say it."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.stack import RunningStack

from .looks import PHONE, Look
from .test_explore import OpenPage, drawn, state


def test_sensors_are_added_and_removed(open_page: OpenPage) -> None:
    page = open_page("#explore")
    expect(page.get_by_text("Choose a sensor above")).to_be_visible()
    add = page.get_by_label("Sensors", exact=True)
    add.fill("boiler-1")
    expect(page.locator("#suggestions option")).to_have_count(10)
    add.fill("boiler-1*")
    add.press("Enter")
    drawn(page)
    expect(page.locator("#readout tbody tr")).to_have_count(10)
    add.fill("boiler-02")
    add.press("Enter")
    expect(page.locator("#readout tbody tr")).to_have_count(11)
    page.get_by_role("button", name="Remove boiler-1*").click()
    expect(page.locator("#readout tbody tr")).to_have_count(1)


def test_a_calendar_sets_an_end_of_the_range_by_clocks_of_the_plots_zone(open_page: OpenPage) -> None:
    page = open_page(
        "#explore?sensor_id=boiler-01&start=2026-01-31T11:30:00Z&end=2026-02-01T00:00:00Z&tz=Europe/Berlin"
    )
    drawn(page)
    page.get_by_role("button", name="Calendar for the start").click()
    calendar = page.locator(".calendar").first
    expect(calendar).to_have_value("2026-01-31T12:30")
    calendar.fill("2026-01-30T08:15")
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-30 08:15")
    expect(page.locator("#source")).to_contain_text("30 Jan 2026, 08:15")
    page.get_by_role("button", name="Calendar for the end").click()
    expect(page.locator(".calendar").last).to_have_value("2026-02-01T01:00")


def test_labelled_series_are_called_by_name_field_and_labels(open_page: OpenPage) -> None:
    page = open_page("#explore?start=-1h")
    add = page.get_by_label("Sensors", exact=True)
    add.fill("humidity#")
    options = page.locator("#suggestions option")
    expect(options).to_have_count(6)
    labels = {option.get_attribute("label"): option.get_attribute("value") for option in options.all()}
    kitchen = 'humidity{room="kitchen",site="south"}'
    identity = labels[kitchen]
    assert identity
    add.fill(identity)
    add.press("Enter")
    drawn(page)
    chip = page.locator(".chips code")
    expect(chip).to_have_text(kitchen)
    expect(chip).to_have_attribute("title", identity)
    expect(page.get_by_role("button", name=f"Remove {kitchen}")).to_be_visible()
    expect(page.locator("#legend li")).to_have_text(kitchen)


def test_an_id_that_is_no_sensors_is_told_of_beside_others_too(open_page: OpenPage) -> None:
    page = open_page("#explore?start=-1h")
    add = page.get_by_label("Sensors", exact=True)
    add.fill("humidity")
    add.press("Enter")
    said = page.locator(".nothing").filter(has_text="No sensor is called humidity; choose one that is suggested")
    expect(said).to_be_visible()
    add.fill("boiler-05")
    add.press("Enter")
    expect(page.locator("#readout tbody tr")).to_have_count(1)
    expect(said).to_be_visible()
    expect(page.locator(".nothing")).to_have_count(1)
    expect(page.locator(".chips .missing")).to_have_text(re.compile("^humidity"))
    page.get_by_role("button", name="Remove humidity").click()
    expect(said).to_have_count(0)
    expect(page.locator("#readout tbody tr")).to_have_count(1)


def test_what_is_wrong_is_named_as_the_form_calls_it_with_its_own_request(open_page: OpenPage) -> None:
    page = open_page("#explore?sensor_id=boiler-01&start=yesterday")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("From: ")
    shown = set()
    for wrong in ("noon", "evening", "noon"):
        with page.expect_request(re.compile("/series")) as asked:
            page.get_by_label("From").fill(wrong)
            page.get_by_label("From").press("Enter")
        request = asked.value.headers["traceparent"].split("-")[1]
        expect(alert).to_contain_text(f"422 invalid_parameter · request {request}")
        shown.add(request)
    assert len(shown) == 3
    page.get_by_label("Range").select_option("-1h")
    drawn(page)
    expect(alert).to_have_count(0)


@pytest.mark.parametrize(
    ("zone", "typed", "instant"),
    [
        ("Europe/Berlin", "2026-01-27", "2026-01-26T23:00:00.000Z"),
        ("Europe/Berlin", "2026-07-27 03:00", "2026-07-27T01:00:00.000Z"),
        ("Asia/Kolkata", "2026-01-27T03:00:30", "2026-01-26T21:30:30.000Z"),
        ("America/New_York", "2026-11-01 03:00", "2026-11-01T08:00:00.000Z"),
        # Clocks went from 2 to 3, and from midnight to 1.
        ("Europe/Berlin", "2026-03-29 02:30", "2026-03-29T01:30:00.000Z"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00.000Z"),
        ("UTC", "2026-02-31", "2026-02-31"),
        ("Europe/Berlin", "2026-01-27T03:00:00Z", "2026-01-27T03:00:00Z"),
    ],
)
def test_times_without_an_offset_are_those_of_the_zone(
    open_page: OpenPage, zone: str, typed: str, instant: str
) -> None:
    page = open_page("#explore?" + urlencode({"sensor_id": "boiler-01", "start": "-1h", "tz": zone}))
    drawn(page)
    with page.expect_request(re.compile("/series")) as asked:
        page.get_by_label("From").fill(typed)
        page.get_by_label("From").press("Enter")
    assert parse_qs(urlsplit(asked.value.url).query)["start"] == [instant]
    assert state(page)["start"] == [typed]


@pytest.mark.parametrize("look", [Look(), PHONE])
def test_times_have_room_for_a_whole_instant(open_page: OpenPage, look: Look) -> None:
    page = open_page("#explore?sensor_id=boiler-01&start=2026-08-28T08:58:58.888Z&end=2026-08-28T18:58:58.888Z", look)
    drawn(page)
    page.locator("#rest").evaluate("rest => { rest.open = true; }")
    for name in ("start", "end"):
        assert page.locator(f"#{name}").evaluate(
            "field => field.clientWidth > 100 && field.scrollWidth <= field.clientWidth"
        )


@pytest.mark.parametrize(
    ("locale", "text"),
    [("de-DE", r"\d\d\.\d\d\.\d{4}, \d\d:\d\d:\d\d"), ("en-US", r"\w{3} \d+, \d{4}, \d+:\d\d:\d\d\s[AP]M")],
)
def test_dates_are_written_by_the_locale(open_page: OpenPage, locale: str, text: str) -> None:
    page = open_page("#explore?sensor_id=boiler-01&start=-1h", Look(locale=locale))
    drawn(page)
    expect(page.locator("#readout tbody td").last).to_have_text(re.compile(f"^{text}$"))


def test_names_that_stand_twice_or_are_empty_are_asked_for_once(open_page: OpenPage) -> None:
    page = open_page("#explore?sensor_id=boiler-01&sensor_id=&sensor_id=boiler-01&match=&start=-1h")
    drawn(page)
    expect(page.locator(".chips li")).to_have_count(1)
    expect(page.locator("#readout tbody tr")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_id_that_looks_like_a_pattern_can_be_chosen(open_page: OpenPage, stack: RunningStack) -> None:
    url = f"http://127.0.0.1:{stack.settings.ingest.port}/ingest?ack=stored"
    page = open_page("#explore?start=-1h")
    at = page.evaluate("new Date().toISOString()")
    assert httpx.post(url, json=[{"sensor_id": "m{", "timestamp": at, "value": 8.25}]).status_code == 200
    add = page.get_by_label("Sensors", exact=True)
    add.fill("m{")
    add.press("Enter")
    expect(page.locator("#readout tbody td").first).to_have_text("8.25")
    assert state(page)["sensor_id"] == ["m{"]
    # Of a text that is both, a person says what is meant.
    page.get_by_role("button", name="Take m{ as pattern").click()
    expect(page.get_by_role("alert")).to_contain_text("Sensors: m{ goes wrong")
    page.get_by_role("button", name="Take m{ as id").click()
    expect(page.locator("#readout tbody td").first).to_have_text("8.25")
    expect(page.get_by_role("alert")).to_have_count(0)
