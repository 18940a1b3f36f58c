"""The dashboards as Grafana reads them: what lies where, what is asked of what, and what each panel says of itself."""

import re
from typing import Any

import pytest

from services.query.grid import parse_bucket
from tests.support.grafana import DASHBOARDS, Range, interval_word, targets
from tests.support.service import ROOT

METRICS = set(re.findall(r'"(millrace_\w+)"', (ROOT / "services/platform/runtime/metrics.py").read_text()))
NOT_OURS = {
    "target_info", "process_cpu_seconds_total", "process_resident_memory_bytes",
    "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes",
    "kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready",
    "kube_cronjob_created", "kube_cronjob_status_active", "kube_cronjob_status_last_schedule_time",
    "kube_cronjob_status_last_successful_time",
}  # fmt: skip
"""Of the exporter itself, of the kubelet and of kube-state-metrics."""

RUNBOOKS = set(re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE))


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DASHBOARDS[request.param]


def test_dashboards_have_uids_of_their_own_and_lead_to_each_other() -> None:
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert sorted(uids) == ["millrace", "millrace-sensors", "millrace-sensors-sql"]
    for dashboard in DASHBOARDS.values():
        others = {f"/d/{uid}" for uid in uids} - {f"/d/{dashboard['uid']}"}
        assert {link["url"] for link in dashboard["links"]} == others
        # The last version of the classic form, which every Grafana from 12.3 on reads as it is.
        assert dashboard["schemaVersion"] == 42


def test_panels_have_ids_of_their_own_and_cover_no_other(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) > 5
    cells: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] >= 0
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                other = cells.setdefault((x, y), panel["title"])
                assert other == panel["title"], f"{panel['title']} lies over {other}"


def test_every_question_goes_to_a_data_source_that_a_variable_names(dashboard: dict[str, Any]) -> None:
    [variable] = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
    wanted = {"type": variable["query"], "uid": f"${{{variable['name']}}}"}
    asking = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
    for panel in dashboard["panels"]:
        asking += [panel, *panel["targets"]] if panel["type"] != "row" else []
    assert len(asking) > 10
    assert [one["datasource"] for one in asking] == [wanted] * len(asking)


def test_every_panel_says_what_it_is_for_in_which_unit_and_with_which_runbook(dashboard: dict[str, Any]) -> None:
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    titles = [panel["title"] for panel in panels]
    assert len(titles) == len(set(titles))
    for panel in panels:
        said = panel["description"]
        named = set(re.findall(r"\bMillrace[A-Z]\w+", said))
        assert named or re.search(r"[Nn]o runbook", said), panel["title"]
        assert named <= RUNBOOKS
        if panel["type"] != "table":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        refs = [query["refId"] for query in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0


def test_every_variable_that_is_used_is_one() -> None:
    for name, dashboard in DASHBOARDS.items():
        known = {one["name"] for one in dashboard["templating"]["list"]} | set(Range(0, 3600).builtin())
        known |= {"__field", "__all"}
        used = set(re.findall(r"\$\{?(\w+)\b(?!\()", str(dashboard["panels"]) + str(dashboard["templating"])))
        assert used <= known, name
        assert {one["name"] for one in dashboard["templating"]["list"]} <= used | {"datasource"}, name


def test_promql_names_metrics_that_there_are() -> None:
    for target in targets("millrace"):
        bare = re.sub(r'"[^"]*"', "", target.query["expr"])
        named = set(re.findall(r"\b(\w+_\w+)\{", bare))
        assert named, str(target)
        ours = {re.sub(r"_(total|bucket|count)$", "", name) for name in named if name.startswith("millrace_")}
        assert ours <= METRICS, str(target)
        assert {name for name in named if not name.startswith("millrace_")} <= NOT_OURS, str(target)


def test_every_metric_of_ours_stands_on_a_panel() -> None:
    asked = " ".join(target.query["expr"] for target in targets("millrace"))
    assert {metric for metric in METRICS if metric not in asked} == set()


def test_a_bucket_may_be_whatever_grafana_writes_for_an_interval() -> None:
    words = {interval_word(2.0**power / 16) for power in range(48)}
    assert {"1ms", "500ms", "30s", "1m", "12h", "1d", "7d", "30d", "1y"} <= words
    for word in words:
        assert str(parse_bucket(word))
