"""Which requests need a key, and which scope it must have."""

from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import Depends, FastAPI

from services.platform.http.app import bare_app
from services.platform.http.auth import Scope, demands, guard, new_key
from services.platform.settings import AuthSettings


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A key for each caller of a file of keys: one has `query` alone, one `admin` alone, one both."""
    callers = {"asks": [Scope.QUERY], "keeps": [Scope.ADMIN], "both": [Scope.QUERY, Scope.ADMIN]}
    made = {name: new_key() for name in callers}
    written = [
        {"name": name, "scopes": list(map(str, scopes)), "keys": [made[name][1].model_dump(exclude_none=True)]}
        for name, scopes in callers.items()
    ]
    (tmp_path / "keys").write_text(yaml.safe_dump({"callers": written}))
    return {name: text for name, (text, _) in made.items()}


def guarded(file: Path | None) -> FastAPI:
    app = bare_app(FastAPI, "A port")

    @app.get("/page")
    @app.get("/page/more")
    @app.get("/answers")
    async def answer() -> str:
        return "here"

    @app.delete("/answers", dependencies=[Depends(demands(Scope.ADMIN))])
    async def delete() -> str:
        return "gone"

    guard(app, AuthSettings(keys_file=file), Scope.QUERY, {"/page"})
    return app


async def status(app: FastAPI, method: str, path: str, key: str = "") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://port") as client:
        return (await client.request(method, path, headers=headers)).status_code


async def test_a_path_that_a_port_names_needs_no_key_and_its_neighbours_do(
    tmp_path: Path, keys: dict[str, str]
) -> None:
    app = guarded(tmp_path / "keys")
    wanted = {"/page": 200, "/page/": 401, "/page/more": 401, "/pag": 401, "/answers": 401, "/healthz": 404}
    assert {path: await status(app, "GET", path) for path in wanted} == wanted
    assert await status(app, "GET", "/answers", keys["asks"]) == 200
    document = app.openapi()["paths"]
    assert "security" not in document["/page"]["get"]
    assert document["/page/more"]["get"]["security"] == [{"key": []}]


async def test_a_route_may_demand_a_scope_beside_that_of_its_port(tmp_path: Path, keys: dict[str, str]) -> None:
    app = guarded(tmp_path / "keys")
    found = {name: await status(app, "DELETE", "/answers", key) for name, key in keys.items()}
    assert found == {"asks": 403, "keeps": 403, "both": 200}
    assert await status(app, "DELETE", "/answers") == 401
    assert await status(guarded(None), "DELETE", "/answers") == 200
