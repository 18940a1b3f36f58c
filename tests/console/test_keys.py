"""The console where keys are asked for: nothing is shown without one, and a key stands in no address."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.platform.settings import AuthSettings
from tests.support.canaries import Canaries
from tests.support.stack import RunningStack

from .conftest import query_beside

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of keys, and the keys by their callers."""
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    scopes = {"reader": ["query"], "sender": ["ingest"], "operator": ["query", "admin"]}
    canaries = Canaries()
    return file, {name: canaries.caller(file, name, *those) for name, those in scopes.items()}


@pytest.fixture(scope="module")
def guarded(
    stack: RunningStack, keys: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the console of a query service is that asks for keys, beside the stack's own."""
    settings = stack.plan.settings.model_copy(update={"auth": AuthSettings(keys_file=keys[0])})
    with query_beside(settings, tmp_path_factory.mktemp("query") / "log") as console:
        yield console


def give(page: Page, key: str, *, keep: bool = False) -> None:
    """Fill in the dialog that asks for a key."""
    dialog = page.get_by_role("dialog", name="An API key is needed")
    expect(dialog).to_be_visible(timeout=20_000)
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_label("Keep it until this tab is closed").set_checked(keep)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("keep", [False, True], ids=["memory", "session"])
def test_a_key_is_kept_as_the_person_chooses_and_stands_in_no_address(
    open_page: OpenPage, guarded: str, keys: tuple[Path, dict[str, str]], *, keep: bool
) -> None:
    page = open_page("#sensors?match=boiler-01", at=guarded)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    give(page, "millrace_0badc0de_wrong")
    expect(page.locator("#login-problem")).to_have_text(re.compile("unknown, wrong or expired"))
    give(page, keys[1]["reader"], keep=keep)
    expect(page.locator(".row .id")).to_have_text("boiler-01")
    assert not [url for url in [*asked, page.url] if "millrace_" in url]
    assert page.evaluate("JSON.stringify([document.cookie, Object.keys(localStorage)])") == '["",[]]'
    page.reload()
    if keep:
        expect(page.locator(".row .id")).to_have_text("boiler-01")
    else:
        expect(page.get_by_role("dialog")).to_be_visible()


def test_a_key_that_may_not_ask_is_told_so(
    open_page: OpenPage, guarded: str, keys: tuple[Path, dict[str, str]]
) -> None:
    page = open_page("#sensors?match=boiler-01", at=guarded)
    give(page, keys[1]["sender"])
    expect(page.get_by_role("alert").filter(has_text="the API key lacks the scope query").first).to_be_visible()
    # Another key can be given at any time.
    page.get_by_role("button", name="API key…").click()
    give(page, keys[1]["reader"])
    expect(page.locator(".row .id")).to_have_text("boiler-01")


def test_without_a_key_nothing_is_shown_and_the_dialog_can_be_left(open_page: OpenPage, guarded: str) -> None:
    page = open_page("#explore?sensor_id=boiler-01", at=guarded)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert").first).to_contain_text("An API key is needed")
    assert page.locator("#readout tbody tr").count() == 0
