"""The chart's `config` is the settings tree; connections come by Secrets; what changes rolls the pods that use it."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from charts.generate import ELSEWHERE, OWN_WAY
from services.platform.settings import Settings
from services.platform.settings.tree import variables
from tests.support.chart import CHART, VARIANTS, Object, Pod, pods, refusal, render
from tests.support.service import ROOT

OURS = {"ingest", "query", "worker", "operator", "mqtt"}
STAND_IN = {"REDIS": "redis://redis:6379", "WRITER": "postgresql://db/x", "READER": "postgresql://db/x",
            "REPLICA": "postgresql://db/x"}  # fmt: skip


def environment(pod: Pod) -> dict[str, str]:
    """Return a pod's variables; those from Secrets have a value of their kind."""
    found = {}
    for one in pod.spec["containers"][0].get("env", []):
        key = one["name"].removesuffix("_URL").rsplit("_", 1)[-1]
        found[one["name"]] = one["value"] if "value" in one else STAND_IN.get(key, "word")
    return found


def test_config_is_the_settings_tree_in_its_order() -> None:
    config = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    tree = Settings.model_construct()
    expected = [
        (section, name, getattr(getattr(tree, section), name))
        for _, section, name in variables()
        if section and section not in ELSEWHERE and f"{section}.{name}" not in OWN_WAY
    ]
    assert [(section, name, value) for section, names in config.items() for name, value in names.items()] == expected


def test_no_setting_stands_outside_config_but_those_that_the_chart_sets(objects: list[Object]) -> None:
    known = {variable for variable, _, _ in variables()}
    for pod in pods(objects):
        names = [one["name"] for one in pod.spec["containers"][0].get("env", [])]
        assert len(names) == len(set(names))
        assert {name for name in names if name.startswith("MILLRACE_")} <= known


@pytest.mark.usefixtures("helm")
def test_whatever_stands_in_config_reaches_a_pod() -> None:
    config = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    written = {
        f"MILLRACE_{section}_{name}".upper()
        for section, names in config.items()
        for name, value in names.items()
        if value is not None
    }
    bridge = {"mqtt": {"enabled": True}, "config": {"mqtt": {"topics": "{sensor_id}"}}}
    assert written <= {name for pod in pods(render(bridge)) for name in environment(pod)}


@pytest.mark.usefixtures("helm")
def test_callers_keys_reach_ingest_and_query_alone() -> None:
    for pod in pods(render({"auth": {"existingSecret": "callers"}})):
        file = environment(pod).get("MILLRACE_AUTH_KEYS_FILE")
        volumes = [volume for volume in pod.spec.get("volumes", []) if volume["name"] == "keys"]
        if pod.component in {"ingest", "query"}:
            [mount] = [one for one in pod.spec["containers"][0]["volumeMounts"] if one["name"] == "keys"]
            assert file == f"{mount['mountPath']}/keys.yaml"
            assert volumes[0]["secret"]["secretName"] == "callers"
        else:
            assert (file, volumes) == (None, [])


@pytest.mark.usefixtures("helm")
def test_the_tiers_login_reaches_those_who_read_and_write_its_files_alone(most: list[Object]) -> None:
    for pod in pods(most):
        env = {one["name"]: one for one in pod.spec["containers"][0].get("env", [])}
        expected = pod.component in {"operator", "query"}
        assert ("MILLRACE_TIER_LOCATION" in env) == expected, pod.component
        keys = [env[name]["valueFrom"]["secretKeyRef"] for name in sorted(env) if name.startswith("AWS_")]
        wanted = [{"name": "own-storage", "key": key} for key in ("access-key-id", "secret-access-key")]
        assert keys == (wanted if expected else []), pod.component


@pytest.mark.usefixtures("helm")
def test_the_releases_own_test_gets_the_key_of_a_caller_where_there_is_one() -> None:
    for values, expected in ({}, []), ({"auth": {"testSecret": "mine"}}, [{"name": "mine", "key": "key"}]):
        [test] = [pod for pod in pods(render(values)) if pod.component == "test"]
        keys = [one for one in test.spec["containers"][0]["env"] if one["name"] == "MILLRACE_CLIENT_KEY"]
        assert [one["valueFrom"]["secretKeyRef"] for one in keys] == expected


def test_each_process_takes_its_settings(objects: list[Object]) -> None:
    for pod in pods(objects):
        if pod.component not in OURS:
            continue
        own = {name: value for name, value in environment(pod).items() if name.startswith("MILLRACE_")}
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "config"],
            cwd=ROOT, env={"PATH": os.environ["PATH"], **own}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        inforce = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
        assert inforce[f"MILLRACE_{pod.component.upper()}_PORT"] == own[f"MILLRACE_{pod.component.upper()}_PORT"]


@pytest.mark.usefixtures("helm")
def test_who_holds_to_a_limit_of_another_process_is_told_it() -> None:
    config = {"ingest": {"backlog_age": 3600, "backlog_rows": 7}, "worker": {"ledger_horizon": 20, "reclaim_idle": 40}}
    own = {pod.component: environment(pod) for pod in pods(render({"config": config}))}
    for component in ("ingest", "query", "worker"):
        told = (own[component][name] for name in ("MILLRACE_INGEST_BACKLOG_AGE", "MILLRACE_WORKER_LEDGER_HORIZON"))
        assert list(told) == ["3600", "20"]
    told = (own["query"][name] for name in ("MILLRACE_INGEST_BACKLOG_ROWS", "MILLRACE_WORKER_RECLAIM_IDLE"))
    assert list(told) == ["7", "40"]


@pytest.mark.usefixtures("helm")
def test_numbers_arrive_as_they_were_written() -> None:
    config = {"ingest": {"backlog_bytes": 123456789012, "max_past": 3652.5}, "telemetry": {"sample_ratio": 1e-05}}
    own = environment(next(pod for pod in pods(render({"config": config})) if pod.component == "ingest"))
    assert own["MILLRACE_INGEST_BACKLOG_BYTES"] == "123456789012"
    assert float(own["MILLRACE_INGEST_MAX_PAST"]) == 3652.5
    assert float(own["MILLRACE_TELEMETRY_SAMPLE_RATIO"]) == 1e-05


@pytest.mark.usefixtures("helm")
def test_a_setting_of_null_is_left_to_the_service() -> None:
    found = render({"config": {"ingest": {"max_rows": None}}})
    own = environment(next(pod for pod in pods(found) if pod.component == "ingest"))
    assert "MILLRACE_INGEST_MAX_ROWS" not in own


def test_no_password_is_rendered(objects: list[Object]) -> None:
    assert not [one for one in objects if one["kind"] == "Secret"]
    for one in objects:
        if one["kind"] != "CustomResourceDefinition":
            # A connection with a word in it that is no template of the maker of Secrets.
            assert not re.search(r"://[^ /]*:(?!\{)[^ /@]+@", yaml.safe_dump(one)), one["metadata"]["name"]


def templates(values: dict[str, Any]) -> dict[str, Any]:
    """Return each workload's pod template."""
    return {
        one["metadata"]["name"].removeprefix("millrace-"): one["spec"]["template"]
        for one in render(values)
        if one["kind"] in {"Deployment", "StatefulSet"}
    }


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize(
    ("changed", "rolled"),
    [
        ({"config": {"worker": {"block": 2}}}, ["worker"]),
        ({"config": {"query": {"max_limit": 5}}}, ["query"]),
        ({"config": {"redis": {"timeout": 6}}}, ["ingest", "query", "worker", "operator"]),
        ({"config": {"worker": {"ledger_horizon": 80}}}, ["ingest", "query", "worker"]),
        ({"defaults": {"hypertable": {"chunkInterval": "1 day"}}}, ["operator"]),
        ({"redis": {"existingSecret": "other"}}, ["ingest", "query", "worker", "operator", "redis"]),
        ({"database": {"name": "other"}}, ["ingest", "worker", "operator", "query", "timescaledb"]),
        ({"timescaledb": {"parameters": {"work_mem": "16MB"}}}, ["timescaledb"]),
        ({"timescaledb": {"replicas": {"count": 2}}}, ["query"]),
        ({"timescaledb": {"backup": {"enabled": True, "drill": {"enabled": True}}}}, []),
        ({"worker": {"autoscaling": {"maxReplicas": 9}}}, ["operator"]),
        ({"ingress": {"enabled": True}}, []),
    ],
    ids=str,
)
def test_a_change_rolls_the_pods_that_use_it(changed: dict[str, Any], rolled: list[str]) -> None:
    before, after = templates({}), templates(changed)
    assert {name for name in before if before[name] != after[name]} == set(rolled)


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"redis": {"replicas": 1}}, "redis.replicas is odd"),
        ({"redis": {"replicas": 2, "tls": {"existingSecret": "own"}}}, "redis.replicas and redis.tls.existingSecret"),
        ({"redis": {"enabled": False}}, "redis.existingSecret is empty"),
        ({"timescaledb": {"enabled": False}}, "database.existingSecret is empty"),
        ({**VARIANTS["external"], "timescaledb": {"enabled": False, "replicas": {"count": 1}}}, "replica-url"),
        (
            {**VARIANTS["external"], "timescaledb": {"enabled": False, "backup": {"enabled": True}}},
            "timescaledb.backup and timescaledb.restore are of the bundled server",
        ),
        ({"timescaledb": {"restore": {"enabled": True}}}, "timescaledb.backup.enabled is false"),
        ({"timescaledb": {"restore": {"instant": "2026-11-28 03:00"}}}, "timescaledb.restore.instant"),
        ({"timescaledb": {"backup": {"keep": 0}}}, "timescaledb.backup.keep"),
        ({"worker": {"autoscaling": {"minReplicas": 9}}}, "worker.autoscaling.minReplicas is above"),
        ({"config": {"worker": {"drain_timeout": 5}}}, "raise it"),
        ({"mqtt": {"enabled": True}}, "config.mqtt.topics is empty"),
        (
            {
                "mqtt": {"enabled": True},
                "config": {"mqtt": {"topics": "{name}"}},
                "auth": {"existingSecret": "callers"},
            },
            "mqtt.keySecret is empty",
        ),
        ({"config": {"tier": {"location": "file:///tier"}}}, "pods share no folder"),
        ({"defaults": {"hypertable": {"tier": {"after": "90 days"}}}}, "config.tier.location is empty"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty"),
        ({"worker": {"autoscaling": {"mode": "magic"}}}, "worker.autoscaling.mode"),
        ({"worker": {"autoscaling": {"minReplicas": 0}}}, "worker.autoscaling.minReplicas"),
        ({"redis": {"externalPorts": []}}, "redis.externalPorts"),
        ({"confg": {}}, "confg"),
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    assert message in refusal(values).replace("/", ".")


def memory(text: str) -> float:
    """Return bytes of a Kubernetes quantity or of Redis' own unit."""
    units = {"gb": 2**30, "mb": 2**20, "gi": 2**30, "mi": 2**20}
    return float(text[:-2]) * units[text[-2:].lower()]


def test_redis_stays_below_its_limit_and_ingest_stops_before_redis_is_full(objects: list[Object]) -> None:
    every = {pod.component: pod for pod in pods(objects)}
    if "redis" in every:
        container = every["redis"].spec["containers"][0]
        limit = memory(container["resources"]["limits"]["memory"])
        most = next(memory(one.split()[1]) for one in container["args"] if one.startswith("--maxmemory "))
        assert most <= 0.75 * limit
        assert int(environment(every["ingest"])["MILLRACE_INGEST_BACKLOG_BYTES"]) < 0.8 * most
        assert {"--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"} <= set(container["args"])


def test_backups_are_watched_where_there_are_any(most: list[Object]) -> None:
    [rules] = [one for one in most if one["kind"] == "PrometheusRule"]
    by_alert = {rule["alert"]: rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert "|nfs" in by_alert["MillraceVolumeFillsUp"]
    assert 'deployment="millrace-backup"' in by_alert["MillraceBackupBehind"]
    assert 'namespace="somewhere"' in by_alert["MillraceBackupJobFails"]
    [rules] = [one for one in render({"monitoring": {"rules": {"enabled": True}}}) if one["kind"] == "PrometheusRule"]
    assert "MillraceBackup" not in str(rules)
