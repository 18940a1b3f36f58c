"""The explorer, looked at in Chromium."""

import io
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import FloatRect, Page, expect

from tests.support.stack import RunningStack

from .conftest import MILLION, Narrow
from .looks import Look

OpenPage = Callable[..., Page]


def drawn(page: Page, times: int = 1) -> None:
    """Wait until the plot was drawn so often, and is not on its way to another time."""
    page.wait_for_function("(times) => Number(document.getElementById('plot')?.dataset.drawn ?? 0) >= times", arg=times)
    expect(page.locator("#plot[aria-busy]")).to_have_count(0)


def state(page: Page) -> dict[str, list[str]]:
    """Return the parameters of the address."""
    return parse_qs(urlsplit(page.url).fragment.partition("?")[2])


def box(page: Page) -> FloatRect:
    found = page.locator("#plot .u-over").bounding_box()
    assert found
    return found


def test_dragging_zooms_asks_anew_and_the_address_leads_back(open_page: OpenPage) -> None:
    page = open_page(f"#explore?sensor_id={MILLION}&start=-12d")
    drawn(page)
    whole = page.url
    area = box(page)
    with page.expect_request(re.compile("/series")) as asked:
        page.mouse.move(area["x"] + 0.5 * area["width"], area["y"] + 50)
        page.mouse.down()
        page.mouse.move(area["x"] + 0.6 * area["width"], area["y"] + 60, steps=5)
        page.mouse.up()
    drawn(page, 2)
    parameters = parse_qs(urlsplit(asked.value.url).query)
    start, end = (re.sub(r"\.\d+Z$", "Z", parameters[name][0]) for name in ("start", "end"))
    assert start.startswith("20")
    assert end > start
    # Of readings four of each pixel are asked for: what is drawn is as exact as all of them.
    assert int(parameters["points"][0]) == pytest.approx(4 * area["width"], abs=8)
    expect(page.get_by_label("From")).to_have_value(re.compile(r"^\d{4}-\d\d-\d\dT"))
    page.go_back()
    drawn(page, 3)
    assert page.url == whole
    page.go_forward()
    drawn(page, 4)
    assert state(page)["start"] == parameters["start"]


def test_keys_read_pan_and_zoom_and_what_is_read_is_said(open_page: OpenPage) -> None:
    page = open_page("#explore?sensor_id=boiler-05&start=-6h&tz=Europe/Berlin")
    drawn(page)
    page.locator("#plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#read")).to_have_text(re.compile(r"^boiler-05: [\d.]+ °C at \d+ \w+ 20\d\d, \d\d:\d\d:\d\d$"))
    page.keyboard.press("+")
    drawn(page, 2)
    first = state(page)
    page.keyboard.press("Shift+ArrowLeft")
    drawn(page, 3)
    second = state(page)
    assert second["start"] < first["start"]
    assert second["end"] < first["end"]
    page.keyboard.press("-")
    drawn(page, 4)
    assert state(page)["start"] < second["start"]


def test_the_reading_under_the_cursor_is_a_reading(open_page: OpenPage, stack: RunningStack) -> None:
    page = open_page("#explore?sensor_id=boiler-05&start=-2h&tz=UTC")
    drawn(page)
    area = box(page)
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    cells = page.locator("#readout tbody td")
    expect(cells.nth(1)).to_have_text("°C")
    value = float(cells.nth(0).inner_text())
    readings = httpx.get(
        f"http://127.0.0.1:{stack.settings.query.port}/series", params={"sensor_id": "boiler-05", "start": "-3h"}
    ).json()["data"]
    assert value in {reading["value"] for reading in readings}
    page.get_by_text("All points as a table").click()
    expect(page.locator("#points tbody tr").nth(100)).to_be_attached()


def test_buckets_bands_two_units_and_the_period_before(open_page: OpenPage) -> None:
    page = open_page("#explore?" + urlencode({"match": '{room="hall"}', "start": "-12h"}))
    drawn(page)
    expect(page.locator("#readout tbody tr")).to_have_count(2)
    assert page.locator("#plot .u-axis").count() == 3
    expect(page.locator("#readout tbody th").first).to_have_text('humidity{room="hall",site="north"}')
    page.get_by_text("choose aggregates").click()
    for name in ("min", "max"):
        page.get_by_label(name, exact=True).check()
    page.locator("#bucket").select_option("1h")
    page.get_by_label("period before").check()
    expect(page.locator("#readout tbody tr")).to_have_count(8)
    expect(page.locator("#readout tbody tr").last).to_contain_text("(before)")
    expect(page.locator("#source")).to_contain_text("buckets of 1h")
    assert state(page) | {"tz": [""]} == {
        "match": ['{room="hall"}'], "start": ["-12h"], "agg": ["min,max"], "bucket": ["1h"], "tz": [""],
        "compare": ["previous"],
    }  # fmt: skip


def test_a_gap_is_a_gap(open_page: OpenPage) -> None:
    page = open_page("#explore?sensor_id=boiler-03&sensor_id=boiler-04&start=-24h")
    drawn(page)
    column = page.evaluate(
        """async () => {
          const { aligned, withGaps } = await import('./columns.js');
          const times = Array.from({ length: 100 }, (_, place) => place * 60);
          const broken = { times: times.filter((time) => time < 1000 || time > 3000), values: [] };
          broken.values = broken.times.map(() => 1);
          const [all, one, other] = aligned([withGaps(broken, 1), { times, values: times.map(() => 2) }]);
          const told = (value) => (value === undefined ? 'none' : value);
          return all.map((time, place) => [time, told(one[place]), told(other[place])]);
        }"""
    )
    silent = [value for time, value, _ in column if 1000 < time < 3000]
    assert silent
    assert set(silent) == {None}
    assert all(value == 1 for time, value, _ in column if time < 1000 or time > 3060)


def test_buckets_are_counted_once_however_many_aggregates_are_shown(open_page: OpenPage) -> None:
    asked = {"sensor_id": "boiler-05", "start": "-10h/h", "end": "-4h/h", "bucket": "1h", "compare": "previous"}
    for aggregates in ("avg", "avg,min,max"):
        page = open_page("#explore?" + urlencode({**asked, "agg": aggregates}))
        drawn(page)
        expect(page.locator("#source")).to_contain_text(re.compile(r"\. 6 buckets of 1h,"))


GAPS = """async ([step, silence]) => {
  const { withGaps } = await import('./columns.js');
  const times = Array.from({ length: 200 }, (_, place) => place * 15);
  const values = times.map((time) => (time % step || (time > 900 && time < 900 + silence) ? null : time));
  return withGaps({ times, values }, 1).values;
}"""
"""The values that are drawn of buckets of 15 s where readings come at a step, but for a silence."""


@pytest.mark.parametrize("step", [15, 30, 60, 300])
def test_a_line_runs_over_empty_buckets_up_to_the_usual_step(open_page: OpenPage, step: int) -> None:
    page = open_page("#sensors")
    last = 199 * 15 // step * step
    # Buckets before the first and behind the last reading stay empty.
    readings = [value for value in page.evaluate(GAPS, [step, 0]) if value is not None]
    assert page.evaluate(GAPS, [step, 0])[: len(readings)] == readings == list(range(0, last + 1, step))
    with_silence = page.evaluate(GAPS, [step, 2 * step])
    silent = with_silence.index(900) + 1
    assert with_silence[silent] is None
    assert [value for value in with_silence if value is not None] == [at for at in readings if at != 900 + step]


def test_values_of_short_buckets_are_joined(open_page: OpenPage) -> None:
    asked = {"sensor_id": "boiler-05", "start": "-60m", "agg": "avg", "bucket": "15s"}
    page = open_page("#explore?" + urlencode(asked))
    drawn(page)
    expect(page.locator("#source")).to_contain_text(re.compile(r"24[01] buckets of 15s"))
    page.get_by_text("All points as a table").click()
    cells = page.locator("#points tbody td.number")
    expect(cells.nth(50)).to_be_attached()
    measured = [cell[0].isdigit() for cell in cells.all_inner_texts()]
    first, last = measured.index(True), len(measured) - measured[::-1].index(True)
    assert last - first > 50
    assert all(measured[first:last])


def test_a_live_plot_follows(open_page: OpenPage, stack: RunningStack) -> None:
    page = open_page("#explore?sensor_id=followed&start=-15m&live=1")
    expect(page.locator(".nothing")).to_contain_text("No sensor is called followed")
    url = f"http://127.0.0.1:{stack.settings.ingest.port}/ingest?ack=stored"
    at = page.evaluate("new Date().toISOString()")
    assert httpx.post(url, json=[{"sensor_id": "followed", "timestamp": at, "value": 42.5}]).status_code == 200
    expect(page.locator("#readout tbody td").first).to_have_text("42.5", timeout=20_000)


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "arrow", "parquet"])
def test_the_answer_is_downloaded_whole(open_page: OpenPage, form: str) -> None:
    page = open_page("#explore?sensor_id=boiler-01&start=-1h")
    drawn(page)
    with page.expect_download() as waited:
        page.get_by_label("Download").select_option(form)
    content = waited.value.path().read_bytes()
    assert waited.value.suggested_filename.startswith("readings.")
    counts: dict[str, Callable[[], int]] = {
        "csv": lambda: content.count(b"\n") - 1,
        "json": lambda: len(json.loads(content)["data"]),
        "ndjson": lambda: content.count(b"\n"),
        "arrow": lambda: pa.ipc.open_stream(content).read_all().num_rows,
        "parquet": lambda: pq.read_table(io.BytesIO(content)).num_rows,
    }
    assert 55 <= counts[form]() <= 61


def test_many_sensors_are_asked_for_what_fits_and_the_view_says_so(open_page: OpenPage, narrow: Narrow) -> None:
    page = open_page("#explore?match=unit-0000*&match=unit-0001*&start=-1d")
    drawn(page)
    expect(page.locator("#readout tbody tr")).to_have_count(200)
    expect(page.locator("#fewer")).to_have_text(re.compile("200 sensors have 2,500 points each.*choose fewer sensors"))
    expect(page.get_by_role("alert")).to_have_count(0)
    # Of what is left of them all can be asked for.
    page.get_by_role("button", name="Remove unit-0001*").click()
    expect(page.locator("#readout tbody tr")).to_have_count(100)
    expect(page.locator("#fewer")).to_have_text("")
    # Buckets that are chosen by the width are as long as they must be.
    page = open_page("#explore?match=boiler-*&start=-2d&agg=avg", at=narrow.console)
    drawn(page)
    expect(page.locator("#source")).to_contain_text("buckets of 1h")


def test_of_too_many_sensors_it_says_what_to_narrow(open_page: OpenPage, narrow: Narrow) -> None:
    page = open_page("#explore?match=unit-000*&start=-1d", at=narrow.console)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(f"At most {Narrow.CELLS // 4} can be drawn at once. Choose fewer")
    expect(open_page("#explore?match=unit-*&start=-1d").get_by_role("alert")).to_contain_text("At most 1,000")


def test_a_range_of_all_years_has_a_time_axis_and_years_are_written_whole(open_page: OpenPage) -> None:
    for start, end in (("0001-01-01", "9999-12-31"), ("0050-01-01", "0050-03-01"), ("1000-01-01", "2900-01-01")):
        page = open_page(f"#explore?sensor_id=boiler-01&start={start}T00:00:00Z&end={end}T00:00:00Z&tz=UTC")
        drawn(page)
        assert page.evaluate(INK, [40, 0]), (start, end)
    page = open_page("#explore?sensor_id=boiler-01&start=-1d")
    drawn(page)
    source = page.locator("#source").inner_text()
    assert re.findall(r"\b20\d\d\b", source)
    assert not re.search(r"\d/\d\d\b(?!\d)", source)


INK = """([rows, columns]) => {
    const canvas = document.querySelector('#plot canvas'), ratio = devicePixelRatio;
    const [height, width] = [rows * ratio, (columns || canvas.width) * ratio];
    const { data } = canvas.getContext('2d').getImageData(canvas.width - width, canvas.height - height, width, height);
    return data.some((part, place) => place % 4 === 3 && part > 0);
}"""
"""Whether something is drawn at the lowest rows of the plot's picture, at its right edge or over its whole width."""


@pytest.mark.parametrize("locale", ["en-GB", "en-US"])
def test_the_last_mark_of_the_time_axis_is_not_cut(open_page: OpenPage, locale: str) -> None:
    asked = {"sensor_id": "boiler-01", "start": "2026-01-31T13:00:00Z", "end": "2026-01-31T23:00:00Z", "tz": "UTC"}
    page = open_page("#explore?" + urlencode(asked), Look(locale=locale))
    drawn(page)
    assert page.evaluate(INK, [40, 60])
    assert not page.evaluate(INK, [40, 2])


def test_fields_stand_in_line_and_many_series_have_a_legend(open_page: OpenPage) -> None:
    page = open_page("#explore?match=boiler-*&start=-1h")
    drawn(page)
    boxes = [page.locator(f"#{name}").bounding_box() for name in ("range", "start", "end", "zone")]
    assert len({(box["y"], box["height"]) for box in boxes if box}) == 1
    legend, plot = page.locator("#legend"), page.locator("#plot").bounding_box()
    expect(legend.locator("li")).to_have_count(19)
    found = legend.bounding_box()
    assert found
    assert plot
    assert 0 <= found["y"] - plot["y"] - plot["height"] < 20
    assert found["height"] <= 100
    expect(open_page("#explore?sensor_id=boiler-01&start=-1h").locator("#legend li")).to_have_count(0)


def test_a_recipe_is_shown_from_its_beginning(open_page: OpenPage) -> None:
    many = urlencode({"sensor_id": [f"boiler-{number:02}" for number in range(1, 21)], "start": "-1h"}, doseq=True)
    page = open_page(f"#explore?{many}")
    drawn(page)
    page.get_by_label("Copy as").select_option("curl")
    area = page.locator("#recipe")
    expect(area).to_be_focused()
    assert area.evaluate("area => area.scrollHeight > area.clientHeight && area.scrollTop === 0")


def test_a_dialog_closes_where_the_address_changes(open_page: OpenPage) -> None:
    page = open_page("#explore?sensor_id=boiler-01&start=-1h")
    drawn(page)
    page.get_by_label("Range").select_option("-6h")
    drawn(page, 2)
    page.get_by_label("Copy as").select_option("curl")
    expect(page.locator("#recipe")).to_be_visible()
    page.go_back()
    drawn(page, 3)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Copy as").select_option("sql")
    expect(page.locator("#recipe")).to_be_visible()


def test_the_lines_of_a_band_are_told_apart(open_page: OpenPage) -> None:
    asked = {"sensor_id": "boiler-05", "start": "-6h", "agg": "avg,min,max", "compare": "previous"}
    page = open_page("#explore?" + urlencode(asked))
    drawn(page)
    swatches = page.locator("#legend .swatch")
    expect(swatches).to_have_count(6)
    looks = swatches.evaluate_all(
        """swatches => swatches.map((swatch) => {
          const { borderTopStyle, borderTopWidth, borderTopColor } = getComputedStyle(swatch);
          return [borderTopStyle, borderTopWidth, borderTopColor].join(" ");
        })"""
    )
    assert len(set(looks)) == 6


def test_headings_stand_above_their_numbers(open_page: OpenPage) -> None:
    page = open_page("#explore?sensor_id=boiler-05&start=-1h")
    drawn(page)
    page.get_by_text("All points as a table").click()
    for table, column in (("#readout", 2), ("#points table", 2)):
        sides = [
            page.locator(f"{table} {part} tr")
            .first.locator(f":nth-child({column})")
            .evaluate("e => getComputedStyle(e).textAlign")
            for part in ("thead", "tbody")
        ]
        assert sides == ["right", "right"]
