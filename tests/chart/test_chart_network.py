"""Who may speak to whom, and where the way in leads."""

from typing import Any

import pytest

from tests.support.chart import VARIANTS, Object, Pod, pods, render

EDGES = {
    ("ingest", "redis"), ("ingest", "timescaledb"),
    ("worker", "redis"), ("worker", "timescaledb"),
    ("query", "redis"), ("query", "timescaledb"), ("query", "timescaledb-replica"),
    ("operator", "redis"), ("operator", "timescaledb"),
    ("timescaledb-replica", "timescaledb"),
    ("backup", "timescaledb"), ("base-backup", "timescaledb"), ("restore-drill", "timescaledb"),
    ("mqtt", "ingest"),
    ("test", "ingest"), ("test", "query"),
}  # fmt: skip
"""The way of a reading, and what tells of it; nothing else."""

AMONG_NODES = ("redis", "redis")
"""Beside these, where the stream has several servers."""

OPEN = {"ingest", "query", "worker", "operator", "mqtt"}
"""Who is called from outside: by clients, or for metrics and the backlog."""

TO_THE_CLUSTER = {"operator", "secrets"}
DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]


def policies(objects: list[Object]) -> dict[str, Any]:
    """Return each component's policy, by what it selects."""
    found = {}
    for one in objects:
        if one["kind"] == "NetworkPolicy":
            labels = one["spec"]["podSelector"]["matchLabels"]
            found[labels.get("app.kubernetes.io/component", "all")] = one["spec"]
    return found


def matched(peer: Object, every: list[Pod]) -> set[str]:
    """Return the components whose pods a peer in this namespace selects."""
    wanted = peer.get("podSelector", {}).get("matchLabels", {})
    if "namespaceSelector" in peer:
        return set()
    return {pod.component for pod in every if wanted.items() <= pod.metadata["labels"].items()}


def _has_nodes(objects: list[Object]) -> bool:
    """Tell whether the stream has several servers."""
    return any(one["metadata"]["name"] == "millrace-redis-nodes" for one in objects)


def test_the_edges_are_the_declared_ones_seen_from_both_ends(objects: list[Object]) -> None:
    every, found = list(pods(objects)), policies(objects)
    if not found:
        assert objects == render(VARIANTS["off"])
        return
    there = {pod.component for pod in every}
    declared = {edge for edge in EDGES if set(edge) <= there} | ({AMONG_NODES} if _has_nodes(objects) else set())
    out = {
        (component, callee)
        for component, spec in found.items()
        for rule in spec["egress"]
        for peer in rule.get("to", [])
        for callee in matched(peer, every)
    }
    inward = {
        (caller, component)
        for component, spec in found.items()
        for rule in spec["ingress"]
        for peer in rule.get("from", [])
        for caller in matched(peer, every)
    }
    assert out == declared
    assert inward | {edge for edge in declared if edge[1] in OPEN} == declared
    assert {edge for edge in declared if edge[1] not in OPEN} <= inward


def test_whatever_pod_has_no_edges_is_cut_off(objects: list[Object]) -> None:
    found = policies(objects)
    if found:
        assert {pod.component for pod in pods(objects)} <= found.keys()
        assert found["all"]["ingress"] == found["all"]["egress"] == []
    for spec in found.values():
        assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_nobody_speaks_to_the_world_but_by_a_named_port(objects: list[Object]) -> None:
    there = {pod.component for pod in pods(objects)}
    for component, spec in policies(objects).items():
        anywhere = [rule["ports"] for rule in spec["egress"] if "to" not in rule]
        numbers = {port["port"] for ports in anywhere for port in ports} - {53}
        allowed = {443, 6443} if component in TO_THE_CLUSTER else set()
        if component == "mqtt":
            allowed = {1883, 8883, 4318}
        elif component in OPEN:
            allowed |= {9000} if component in {"operator", "query"} else set()
            allowed |= {4318} | (set() if "redis" in there else {6379}) | (set() if "timescaledb" in there else {5432})
        assert numbers <= allowed, component
        assert all("ports" in rule for rule in spec["egress"])
        if spec["egress"]:
            assert DNS in anywhere


@pytest.mark.usefixtures("helm")
def test_sentinels_and_servers_outside_are_reached_by_all_their_ports() -> None:
    external = VARIANTS["external"]
    found = policies(render({**external, "redis": {**external["redis"], "externalPorts": [26379, 6379]}}))
    wanted = [{"port": 26379, "protocol": "TCP"}, {"port": 6379, "protocol": "TCP"}]
    for component in ("ingest", "worker", "query", "operator"):
        assert {"ports": wanted} in found[component]["egress"]
    assert {"ports": wanted} not in found["test"]["egress"]


def test_clients_and_monitoring_can_be_named(most: list[Object]) -> None:
    found = policies(most)
    assert {"namespaceSelector": {}} in found["ingest"]["ingress"][0]["from"]
    named = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    for component in ("worker", "operator"):
        assert found[component]["ingress"] == [{"ports": found[component]["ingress"][0]["ports"], "from": [named]}]


def leads(objects: list[Object]) -> dict[str, dict[str, str]]:
    """Return for each entrance its paths with the Service that each leads to."""
    found: dict[str, dict[str, str]] = {}
    for one in objects:
        if one["kind"] == "Ingress":
            paths = one["spec"]["rules"][0]["http"]["paths"]
            found["Ingress"] = {path["path"]: path["backend"]["service"]["name"] for path in paths}
        elif one["kind"] == "HTTPRoute":
            found["HTTPRoute"] = {
                match["path"]["value"]: rule["backendRefs"][0]["name"]
                for rule in one["spec"]["rules"]
                for match in rule["matches"]
            }
    return found


def test_an_entrance_leads_to_readings_questions_and_the_console_alone(objects: list[Object]) -> None:
    questions = ("/get_range", "/min", "/hourly", "/series", "/latest", "/sensors", "/labels", "/api/v1/read")
    console = ("/console", "/status", "/dead-letters")
    for paths in leads(objects).values():
        assert paths == {
            **dict.fromkeys(("/ingest", "/batches", "/webhooks"), "millrace-ingest"),
            **dict.fromkeys((*questions, *console), "millrace-query"),
        }


@pytest.mark.usefixtures("helm")
def test_an_entrance_without_the_console_leads_to_nothing_of_it() -> None:
    objects = render({**VARIANTS["most"], "paths": {"console": []}})
    for paths in leads(objects).values():
        assert "/series" in paths
        assert not {"/console", "/status", "/dead-letters"} & paths.keys()


def test_both_entrances_exist_somewhere(most: list[Object]) -> None:
    assert leads(most).keys() == {"Ingress", "HTTPRoute"}


@pytest.mark.usefixtures("helm")
def test_an_entrance_lets_in_what_ingest_takes_for_as_long_as_it_may_take() -> None:
    config = {"ingest": {"max_body_bytes": 50_000_000, "body_timeout": 70, "stored_timeout": 9.5}}
    objects = render({**VARIANTS["most"], "config": VARIANTS["most"]["config"] | config})
    ingress = next(one for one in objects if one["kind"] == "Ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "50000000"
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "85"
    route = next(one for one in objects if one["kind"] == "HTTPRoute")
    assert [rule["timeouts"]["request"] for rule in route["spec"]["rules"]] == ["85s", "35s"]
    ingest = next(pod for pod in pods(objects) if pod.component == "ingest")
    assert ingest.spec["terminationGracePeriodSeconds"] > 5 + 70 + 9.5
