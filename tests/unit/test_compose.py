"""compose.citus.yaml over compose.yaml: a coordinator in place of TimescaleDB, and nodes that nobody outside sees."""

import pytest

from tests.support.compose import compose_services, has_compose

pytestmark = pytest.mark.skipif(not has_compose(), reason="docker compose is not here")

CITUS = ("--file", "compose.yaml", "--file", "compose.citus.yaml")


def test_citus_takes_the_place_of_timescaledb_and_nothing_else_changes() -> None:
    plain, citus = compose_services(), compose_services(*CITUS)
    assert citus.keys() - plain.keys() == {"node-1", "node-2", "cluster"}
    changed = {name for name in plain if plain[name] != citus[name]}
    assert changed == {"timescaledb", "schema"}
    assert citus["schema"]["depends_on"].keys() == {"timescaledb", "cluster"}
    mounts = {volume["target"] for volume in citus["timescaledb"]["volumes"]}
    assert mounts == {"/var/lib/postgresql", "/secrets"}
    assert not citus["timescaledb"].get("configs")


def test_nodes_of_citus_are_reached_by_the_database_network_alone_and_hold_no_password_in_words() -> None:
    for name in ("timescaledb", "node-1", "node-2", "cluster"):
        found = compose_services(*CITUS)[name]
        assert set(found["networks"]) == {"database"}
        assert not found.get("ports")
        assert "citus" in found["image"]
        assert "POSTGRES_PASSWORD" not in found["environment"]
        assert "POSTGRES_HOST_AUTH_METHOD" not in found["environment"]
