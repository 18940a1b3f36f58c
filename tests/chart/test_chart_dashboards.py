"""The dashboards come as ConfigMaps that the sidecar of Grafana's chart finds; a package of the chart has them."""

import json
import tarfile
from pathlib import Path

import pytest

from tests.support.chart import CHART, VARIANTS, Object, helm, render
from tests.support.grafana import DASHBOARDS


def dashboards(objects: list[Object]) -> list[Object]:
    return [one for one in objects if "-dashboard-" in one["metadata"]["name"]]


def test_each_dashboard_is_a_config_map_with_the_labels_and_annotations_of_the_sidecar(most: list[Object]) -> None:
    found = dashboards(most)
    assert [one["kind"] for one in found] == ["ConfigMap"] * len(DASHBOARDS)
    data = {name: json.loads(text) for one in found for name, text in one["data"].items()}
    assert data == {f"{name}.json": dashboard for name, dashboard in DASHBOARDS.items()}
    for one in found:
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "Millrace"}


@pytest.mark.usefixtures("helm")
def test_there_are_none_where_nobody_asked_for_them_and_labels_are_what_was_asked_for() -> None:
    assert dashboards(render(VARIANTS["default"])) == []
    asked = {"enabled": True, "labels": {"grafana_dashboard": None, "own": "yes"}}
    [labels, *_] = [one["metadata"]["labels"] for one in dashboards(render({"monitoring": {"dashboards": asked}}))]
    assert labels["own"] == "yes"
    assert "grafana_dashboard" not in labels


@pytest.mark.usefixtures("helm")
def test_a_package_of_the_chart_has_the_dashboards(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        packed = {Path(name).name for name in archive.getnames() if "/files/dashboards/" in name}
    assert packed == {f"{name}.json" for name in DASHBOARDS}
