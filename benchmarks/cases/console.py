"""How soon the console draws a million readings, and each zoom into them, in Chromium."""

from datetime import UTC, datetime
from urllib.parse import urlencode

from playwright.async_api import Page, async_playwright

from tests.support.chromium import launch_options

from ..case import Case, Options
from ..figures import Measures
from ..history import BUSY, fill, settle
from ..stack import Bench

__all__ = ["CASES"]

ROWS = 2_000_000
"""Of the past around them; the smallest one there is."""

ZOOMS = 4
WATCH = """
globalThis.drawn = [];
new MutationObserver((changes) => {
  for (const { target } of changes) if (target.dataset?.drawn) drawn.push(performance.now());
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-drawn"] });
"""
"""Notes in the page itself when a plot is done, in milliseconds since the page was asked for."""


async def prepare(bench: Bench, _: Options) -> None:
    await settle(bench, await fill(bench, ROWS))


async def measure(bench: Bench, options: Options) -> Measures:  # noqa: ARG001 -- as every case
    """Open the explorer at a million readings, then zoom in, pan and zoom out again."""
    first, last, count = await bench.database.fetchrow(
        "select min(timestamp), max(timestamp), count(*) from sensor_data where sensor_id = $1", BUSY
    )
    span = {"start": _millis(first), "end": _millis(last) + 1}
    address = f"{bench.query}/console/#explore?{urlencode({'sensor_id': BUSY, **span})}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        page = await browser.new_page(viewport={"width": 1280, "height": 860})
        await page.add_init_script(WATCH)
        await page.goto(address)
        paint = await _drawn(page, 1)
        zooms = [await _after(page, "Zoom in", 2 + number) for number in range(ZOOMS)]
        pans = [await _after(page, "Earlier", 2 + ZOOMS + number) for number in range(2)]
        outs = [await _after(page, "Zoom out", 4 + ZOOMS + number) for number in range(ZOOMS)]
        await browser.close()
    return {
        "readings": float(count),
        "first paint ms": paint,
        "zoom in, the slowest: ms": max(zooms),
        "pan, the slowest: ms": max(pans),
        "zoom out, the slowest: ms": max(outs),
    }


def _millis(instant: datetime) -> int:
    return int(instant.astimezone(UTC).timestamp() * 1000)


async def _drawn(page: Page, times: int) -> float:
    """Return when the plot was done for so many times."""
    await page.wait_for_function("(times) => drawn.length >= times", arg=times)
    found: float = await page.evaluate("(times) => drawn[times - 1]", times)
    return found


async def _after(page: Page, button: str, times: int) -> float:
    """Return how long the plot took behind a click, in milliseconds."""
    clicked: float = await page.evaluate(
        """(name) => {
          const button = [...document.querySelectorAll('button')].find((each) => each.textContent.includes(name));
          const now = performance.now();
          button.click();
          return now;
        }""",
        button,
    )
    return await _drawn(page, times) - clicked


CASES = (Case("console", "a million readings behind one plot of the console", measure, prepare=prepare, asked=True),)
