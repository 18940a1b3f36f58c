"""The health of the whole, looked at in Chromium."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from redis import Redis

from services.contract import DeadLetter, StreamNames, encode, encode_letter
from tests.support.readings import entry_of
from tests.support.stack import RunningStack

from .conftest import Narrow

OpenPage = Callable[..., Page]


@pytest.fixture
def letters(stack: RunningStack) -> Iterator[list[str]]:
    """Two dead letters of the day, one of which can be replayed, and one that is damaged."""
    names, now = StreamNames(), time.time_ns() // 1000
    whole = encode(entry_of([("replayed", now, 13.0)], accepted_at=now))
    with Redis.from_url(stack.plan.settings.redis.url.get_secret_value()) as redis:
        made = [
            _added(redis, names.dead, DeadLetter("refused", "it takes no thirteen", "1-1", whole)),
            _added(redis, names.dead, DeadLetter("damaged", "no entry at all", "1-2", {b"v": b"\xff"})),
        ]
        yield made
        redis.delete(names.dead)


def _added(redis: Redis, name: str, letter: DeadLetter) -> str:
    fields: dict[Any, Any] = {**encode_letter(letter)}
    added: Any = redis.xadd(name, fields)
    return str(added.decode())


def look_at_once(page: Page) -> None:
    """Spare the wait for the next look."""
    page.evaluate("dispatchEvent(new Event('hashchange'))")


def test_each_part_is_told(open_page: OpenPage) -> None:
    page = open_page("#health")
    stream = page.locator("#card-stream")
    expect(stream).to_contain_text("Backlog")
    expect(stream.locator("dd").last).to_have_text("1")
    expect(page.locator("#card-aggregates")).to_contain_text(re.compile(r"measurement_hourly.*success"))
    expect(page.locator("#card-tables")).to_contain_text(re.compile(r"sensor_data\d+.*[KM]iB"))
    expect(page.locator("#card-ledger")).to_contain_text("3 d")
    for card in ("late-readings", "database", "callers", "dead-letters"):
        expect(page.locator(f"#card-{card}")).to_be_visible()
    expect(page.locator("main .problem, main [role=alert]")).to_have_count(0)


def test_what_is_not_known_is_said_to_be_not_known(open_page: OpenPage, narrow: Narrow) -> None:
    page = open_page("#health", at=narrow.console)
    letters, tables = page.locator("#card-dead-letters"), page.locator("#card-tables")
    expect(letters).to_contain_text("None: everything that was sent could be stored.")
    with narrow.without_database():
        look_at_once(page)
        problem = page.locator("#card-database .problem")
        expect(problem).to_contain_text("the database cannot be asked: it did not answer in time", timeout=20_000)
        # Sizes of before are told with their own time, and go once they are too old.
        for card in (tables, page.locator("#card-ledger")):
            expect(card).to_contain_text(re.compile(r"As of \d+ \w+ 20\d\d, \d\d:\d\d:\d\d|cannot be asked"))
    page.context.set_offline(True)
    look_at_once(page)
    expect(letters).to_contain_text("Not known now: The connection to it failed.", timeout=20_000)
    expect(letters).not_to_contain_text("None:")
    expect(tables).to_have_count(0)
    expect(page.get_by_role("alert")).to_contain_text("asked again every 5 s")
    page.context.set_offline(False)
    expect(letters).to_contain_text("None: everything that was sent could be stored.", timeout=20_000)


def test_dead_letters_are_listed_replayed_and_deleted(open_page: OpenPage, letters: list[str]) -> None:
    page = open_page("#health")
    whole, damaged = (page.locator(f"[data-letter='{letter}']") for letter in letters)
    expect(whole).to_contain_text("it takes no thirteen")
    damaged.get_by_role("button", name="Replay").click()
    expect(page.locator("#card-dead-letters").get_by_role("alert")).to_contain_text("letter_damaged")
    page.once("dialog", lambda dialog: dialog.accept())
    damaged.get_by_role("button", name="Delete").click()
    expect(damaged).to_have_count(0)
    whole.get_by_role("button", name="Replay").click()
    expect(page.locator("#card-dead-letters")).to_contain_text("None: everything that was sent could be stored.")
    expect(open_page("#explore?sensor_id=replayed&start=-1h").locator("#readout tbody td").first).to_have_text("13")
