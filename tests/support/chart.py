"""The chart, rendered by Helm, and what its objects have in common."""

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .service import ROOT

__all__ = ["CHART", "NAMESPACE", "NO_HELM", "VARIANTS", "Object", "Pod", "helm", "pods", "refusal", "render"]

CHART = ROOT / "charts" / "millrace"
NAMESPACE = "somewhere"
NO_HELM = "no helm was found here; $HELM names one"
_TIER = {"location": "s3://readings/tier?region=eu-central-1"}
_TLS = {"existingSecret": "own-tls"}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    **{path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "examples").glob("*.yaml"))},
    "most": {
        "auth": {"existingSecret": "own-keys"},
        "commonLabels": {"team": "water"},
        "podLabels": {"sidecar": "no"},
        "imagePullSecrets": [{"name": "registry"}],
        "config": {
            "telemetry": {"otlp_endpoint": "http://collector:4318"},
            "mqtt": {"topics": "site/{site}/{name}"},
            "tier": _TIER,
        },
        "tier": {"existingSecret": "own-storage", "ports": [9000]},
        "worker": {"autoscaling": {"mode": "keda"}},
        "mqtt": {
            "enabled": True,
            "loginSecret": "own-login",
            "caSecret": "own-ca",
            "certificateSecret": "own-certificate",
            "keySecret": "own-key",
        },
        "redis": {"tls": _TLS},
        "timescaledb": {
            "tls": _TLS,
            "replicas": {"count": 2},
            "backup": {"enabled": True, "existingClaim": "nfs", "drill": {"enabled": True}},
            "restore": {"enabled": True, "instant": "2026-11-28T03:00:00Z"},
        },
        "ingress": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
        "networkPolicy": {
            "clients": [{"namespaceSelector": {}}],
            "monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        },
        "monitoring": {
            "podMonitor": {"enabled": True},
            "rules": {"enabled": True},
            "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Millrace"}},
        },
    },
    "cpu": {"worker": {"autoscaling": {"mode": "cpu"}}, "redis": {"image": {"repository": "valkey/valkey"}}},
    "sentinels": {"redis": {"replicas": 2}},
    "backup": {"timescaledb": {"backup": {"enabled": True}}},
    "development": {"development": {"reload": True}},
    "off": {
        "worker": {"autoscaling": {"mode": "off"}},
        "networkPolicy": {"enabled": False},
        "crds": {"install": False},
    },
}
"""Values by the name of their case: none, each example file, and what no example has."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or what pods are made from: the name of its object, its component, metadata and spec."""

    name: str
    component: str
    metadata: Object
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """All containers."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm: $HELM or the one on the PATH.

    Raises:
        LookupError: there is none.
    """
    program = shutil.which(os.environ.get("HELM", "helm"))
    if not program:
        raise LookupError(NO_HELM)
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=240, check=False)


def rendered(values: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with values, release `millrace`."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        base = ("template", "millrace", str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.34.0")
        return helm(*base, "--values", file.name, *options)


@functools.cache
def _render(values: str) -> str:
    done = rendered(json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(values: dict[str, Any]) -> list[Object]:
    """Return all objects of the chart with values; they must be right."""
    # Ten thousand lines of YAML take Python half a second each time, and the C library a tenth of it.
    return [one for one in yaml.load_all(_render(json.dumps(values)), yaml.CSafeLoader) if one]


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Yield what the objects make pods from."""
    for one in objects:
        name, spec = one["metadata"]["name"], one.get("spec", {})
        if one["kind"] == "Pod":
            metadata = one["metadata"]
        elif one["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}:
            spec = spec["jobTemplate"]["spec"] if one["kind"] == "CronJob" else spec
            metadata, spec = spec["template"]["metadata"], spec["template"]["spec"]
        else:
            continue
        yield Pod(name, metadata["labels"]["app.kubernetes.io/component"], metadata, spec)


def refusal(values: dict[str, Any]) -> str:
    """Return why Helm refuses values."""
    done = rendered(values)
    assert done.returncode != 0, "they are taken"
    return done.stderr
