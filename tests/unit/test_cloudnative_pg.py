"""The manifests for CloudNativePG agree with each other, and with the values that the documentation gives the chart."""

from typing import Any

import yaml

from tests.support.service import ROOT

K8S = ROOT / "k8s"
ARCHIVING = {"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": True}


def objects(name: str) -> dict[str, Any]:
    """Return the objects of a manifest by their kinds."""
    return {found["kind"]: found for found in yaml.safe_load_all((K8S / name).read_text())}


def test_a_restored_database_is_described_as_the_lost_one_but_for_where_it_comes_from() -> None:
    fresh, restored = objects("cloudnative-pg.yaml"), objects("backup/restore.yaml")
    archive = yaml.safe_load((K8S / "backup" / "archive.yaml").read_text())["spec"]
    spec = restored["Cluster"]["spec"]
    bootstrap = spec.pop("bootstrap")["recovery"]
    [origin], [archiving] = spec.pop("externalClusters"), spec.pop("plugins")
    spec["postgresql"]["parameters"] = {
        name: value
        for name, value in spec["postgresql"]["parameters"].items()
        if name not in archive["postgresql"]["parameters"]
    }
    initdb = fresh["Cluster"]["spec"].pop("bootstrap")["initdb"]
    assert restored == fresh
    assert {name: bootstrap[name] for name in ("database", "owner", "secret")} == {
        name: initdb[name] for name in ("database", "owner", "secret")
    }
    assert bootstrap["source"] == origin["name"]
    # What it reads is what the lost one wrote, and it writes elsewhere.
    [wrote] = archive["plugins"]
    store = objects("backup/store.yaml")["ObjectStore"]["metadata"]["name"]
    name = fresh["Cluster"]["metadata"]["name"]
    assert wrote == {**ARCHIVING, "parameters": {"barmanObjectName": store}}
    assert origin["plugin"]["parameters"] == {"barmanObjectName": store, "serverName": name}
    assert archiving["parameters"]["barmanObjectName"] == store
    assert archiving["parameters"]["serverName"] != name


def test_no_commit_is_told_that_a_failover_may_lose() -> None:
    postgresql = objects("cloudnative-pg.yaml")["Cluster"]["spec"]["postgresql"]
    synchronous = postgresql["synchronous"]
    assert synchronous["dataDurability"] == "required"
    assert synchronous["number"] >= 1
    assert synchronous["failoverQuorum"] is True
    assert "synchronous_commit" not in postgresql["parameters"]
