"""Which requests need a key, and which scope it must have."""

from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI

from services.platform.http.app import bare_app
from services.platform.http.auth import Scope, demands, guard
from services.platform.settings import AuthSettings
from tests.support.doors import Doors


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(tmp_path / "keys.yaml")


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


async def status(app: FastAPI, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://port") as client:
        return (await client.request(method, path, headers=headers)).status_code


async def test_a_path_that_a_port_names_needs_no_key_and_its_neighbours_do(doors: Doors) -> None:
    asks = doors.add("asks", "query")
    app = guarded(doors.file)
    wanted = {"/page": 200, "/page/": 401, "/page/more": 401, "/pag": 401, "/answers": 401, "/healthz": 404}
    assert {path: await status(app, "GET", path) for path in wanted} == wanted
    assert await status(app, "GET", "/answers", asks) == 200
    document = app.openapi()["paths"]
    assert "security" not in document["/page"]["get"]
    assert document["/page/more"]["get"]["security"] == [{"key": []}]


async def test_a_route_may_demand_a_scope_beside_that_of_its_port(doors: Doors) -> None:
    asks, keeps, both = doors.add("asks", "query"), doors.add("keeps", "admin"), doors.add("both", "query", "admin")
    app = guarded(doors.file)
    for headers, wanted in ((asks, 403), (keeps, 403), (both, 200)):
        assert await status(app, "DELETE", "/answers", headers) == wanted
    assert await status(app, "DELETE", "/answers") == 401
    assert await status(guarded(None), "DELETE", "/answers") == 200
