"""The alarms name metrics that there are, and each has its runbook and its panel."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.grafana import DASHBOARDS

ROOT = Path(__file__).parents[2]
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()


def rules() -> list[dict[str, Any]]:
    own = ROOT / "charts" / "millrace" / "files"
    files = (ROOT / "monitoring" / "alarms.yaml", own / "volume-alarms.yaml", own / "backup-alarms.yaml")
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_every_metric_of_an_alarm_is_one_of_ours() -> None:
    source = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    known = set(re.findall(r'"(millrace_\w+)"', source))
    for rule in rules():
        named = set(re.findall(r"millrace_\w+", rule["expr"]))
        assert named or re.search("kubelet_volume_stats|kube_(deployment|cronjob)_", rule["expr"]), rule["alert"]
        assert {name.removesuffix("_total") for name in named} <= known


def test_every_alarm_has_a_runbook_and_every_runbook_an_alarm() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in rules())
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_every_alarm_leads_to_a_panel_of_what_it_looks_at_and_the_panel_to_its_runbook() -> None:
    panels = {
        (dashboard["uid"], str(panel["id"])): panel
        for dashboard in DASHBOARDS.values()
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }
    for rule in rules():
        link = re.fullmatch(r"/d/([\w-]+)\?viewPanel=(\d+)", rule["annotations"]["dashboard_url"])
        assert link, rule["alert"]
        panel = panels[link[1], link[2]]
        asked = " ".join(query["expr"] for query in panel["targets"])
        looked_at = re.findall(r"\b(?:millrace|kubelet|kube)_\w+", rule["expr"])
        assert [name for name in looked_at if name not in asked] == [], rule["alert"]
        assert rule["alert"] in panel["description"]


TESTS = ROOT / "monitoring" / "alarms.test.yaml"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here; it comes with Prometheus")
def test_every_alarm_rings_when_it_should_and_is_silent_else() -> None:
    found = subprocess.run(["promtool", "test", "rules", TESTS], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alarm_is_tested_ringing_and_silent() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    for rule in rules():
        own = [case["exp_alerts"] for case in cases if case["alertname"] == rule["alert"]]
        assert any(own), rule["alert"]
        assert not all(own), rule["alert"]
