"""The console as files: what the service sends of it; what a browser makes of them, `make test-console` looks at."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.platform.settings import AuthSettings, Settings
from services.query.app import create_app
from services.query.console.routes import CONSOLE_PATHS

STATIC = Path(__file__).parents[3] / "services" / "query" / "console" / "static"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A service that asks for keys, of which there are none, and whose database is away."""
    keys = tmp_path / "keys.yaml"
    keys.write_text("callers: []")
    app = create_app(Settings(auth=AuthSettings(keys_file=keys)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://query") as asked:
        yield asked


async def test_each_file_is_there_for_everybody_with_its_type_and_policy(client: httpx.AsyncClient) -> None:
    types = {
        ".html": "text/html",
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
        "": "text/plain",
    }
    files = [file for file in STATIC.rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        answer = await client.get(f"/console/{file.relative_to(STATIC)}")
        assert answer.status_code == 200
        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"].split(";")[0] == types[file.suffix]
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert answer.headers["x-content-type-options"] == "nosniff"
        for known in (answer.headers["etag"], f'"other", W/{answer.headers["etag"]}'):
            again = await client.get(f"/console/{file.relative_to(STATIC)}", headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]
        changed = await client.get(f"/console/{file.relative_to(STATIC)}", headers={"If-None-Match": '"another"'})
        assert changed.status_code == 200


@pytest.mark.parametrize("path", ["/", "/console"])
async def test_the_root_leads_to_it_behind_any_prefix(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (307, "console/")
    assert (await client.get("/console/")).text.startswith("<!doctype html>")


@pytest.mark.parametrize(
    "name", ["../routes.py", "%2e%2e/routes.py", "..%2f__init__.py", "nothing.js", "uplot", "uplot/"]
)
async def test_nothing_else_is_sent(client: httpx.AsyncClient, name: str) -> None:
    # Without a key, what is no file of the console is as closed as all else.
    assert (await client.get(f"/console/{name}")).status_code == 401


async def test_a_file_that_is_not_there_is_not_found() -> None:
    app = create_app(Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://query") as asked:
        for name in ("nothing.js", "..%2froutes.py", "\ufdd0"):
            answer = await asked.get(f"/console/{name}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_no_file_names_another_host_or_holds_what_the_policy_forbids() -> None:
    for file in STATIC.rglob("*"):
        if not file.is_file() or "uplot" in file.parts:
            continue
        text = file.read_text()
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]", text), file
        assert not re.search(r"innerHTML|\beval\(|\sstyle=\"|\son[a-z]+=\"", text), file


def test_the_page_names_every_module_so_that_none_waits_for_another() -> None:
    page = (STATIC / "index.html").read_text()
    named = set(re.findall(r'rel="modulepreload" href="(.*?)"', page))
    assert named == {file.name for file in STATIC.glob("*.js")} - {"main.js"}


def test_what_is_open_is_the_console_alone() -> None:
    assert {path.split("/")[1] for path in CONSOLE_PATHS} == {"", "console"}
