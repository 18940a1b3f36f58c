"""Compose's Prometheus and Grafana: what they are given is what there is, and nobody else reaches them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.platform.settings import Settings
from tests.support.compose import compose_services, has_compose
from tests.support.grafana import DASHBOARDS
from tests.support.service import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
MONITORING = {"prometheus", "grafana"}


@pytest.mark.skipif(not has_compose(), reason="docker compose is not here")
def test_compose_has_prometheus_and_grafana_in_the_profile_alone_and_on_loopback() -> None:
    with_profile = compose_services("--profile", "monitoring")
    assert with_profile.keys() - compose_services().keys() == MONITORING
    for name in MONITORING:
        assert {port["host_ip"] for port in with_profile[name]["ports"]} == {"127.0.0.1"}
        tag = with_profile[name]["image"].partition(":")[2]
        assert tag.count(".") == 2, "a version of its own"
        for volume in with_profile[name]["volumes"]:
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), volume


def test_prometheus_scrapes_each_part_on_its_port_and_in_a_network_of_theirs() -> None:
    configuration = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())
    [job] = configuration["scrape_configs"]
    scraped = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}
    tree = Settings.model_construct()
    assert scraped == {name: getattr(tree, name).port for name in ("ingest", "query", "worker", "repair")}
    for name in [*scraped, *MONITORING]:
        assert "metrics" in COMPOSE["services"][name]["networks"]
    assert "stream" not in {*COMPOSE["services"]["prometheus"]["networks"], *COMPOSE["services"]["grafana"]["networks"]}
    mounted = {volume.split(":")[1] for volume in COMPOSE["services"]["prometheus"]["volumes"]}
    assert set(configuration["rule_files"]) < mounted


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here; it comes with Prometheus")
def test_prometheus_takes_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", ROOT / "monitoring/prometheus/prometheus.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_grafana_has_a_data_source_for_each_dashboard_and_finds_them_all() -> None:
    sources = yaml.safe_load((ROOT / "monitoring/grafana/datasources.yaml").read_text())["datasources"]
    wanted = {
        one["query"]
        for board in DASHBOARDS.values()
        for one in board["templating"]["list"]
        if one["type"] == "datasource"
    }
    assert {source["type"] for source in sources} == wanted
    assert {source["url"].removeprefix("http://") for source in sources} == {
        "prometheus:9090", "query:8001", "timescaledb:5432"
    }  # fmt: skip
    [provider] = yaml.safe_load((ROOT / "monitoring/grafana/dashboards.yaml").read_text())["providers"]
    assert f"./monitoring/dashboards:{provider['options']['path']}:ro" in COMPOSE["services"]["grafana"]["volumes"]


def test_grafana_is_given_the_readers_word_and_one_of_its_own_that_stay(tmp_path: Path) -> None:
    script = COMPOSE["services"]["secrets"]["command"][0].replace("$$", "$")
    for folder in ("secrets", "grafana"):
        (tmp_path / folder).mkdir()
        script = script.replace(f"/{folder}/", f"{tmp_path}/{folder}/")

    def run() -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-euc", script], env={"PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}

    first = run()
    assert run() == first
    assert first.keys() == {"secrets/env.sh", "secrets/postgres", "secrets/owner", "grafana/reader", "grafana/admin"}
    reader, admin = first["grafana/reader"].strip(), first["grafana/admin"].strip()
    assert f"//millrace_reader:{reader}@" in first["secrets/env.sh"]
    assert len({reader, admin, *(first[f"secrets/{name}"].strip() for name in ("postgres", "owner"))}) == 4
    # Who had a stack before there was a Grafana keeps its passwords.
    (tmp_path / "grafana" / "reader").unlink()
    assert run() == first
