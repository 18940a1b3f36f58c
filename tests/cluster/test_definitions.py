"""The definitions against a real API server: examples are taken, each invalid one is refused by its own rule."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

K8S = Path(__file__).parents[2] / "k8s"
EXAMPLES = sorted((K8S / "examples").glob("*.yaml"))
INVALID = sorted((K8S / "examples" / "invalid").glob("*.yaml"))


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl against the cluster of KUBECONFIG, which must be named: never whatever is the default."""
    assert os.environ.get("KUBECONFIG"), "KUBECONFIG must name the cluster of the tests"
    return subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module", autouse=True)
def definitions() -> None:
    applied = kubectl("apply", "-f", str(K8S / "crds"))
    assert applied.returncode == 0, applied.stderr
    names = [path.stem + ".millrace.dev" for path in (K8S / "crds").glob("*.yaml")]
    for name in names:
        waited = kubectl("wait", "--for=condition=established", "--timeout=30s", f"crd/{name}")
        assert waited.returncode == 0, waited.stderr
        structural = kubectl("get", "crd", name, "-o", "json")
        conditions = json.loads(structural.stdout)["status"]["conditions"]
        assert not [c for c in conditions if c["type"] == "NonStructuralSchema" and c["status"] == "True"]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"millrace-{uuid.uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).returncode == 0
    yield name
    assert kubectl("delete", "namespace", name, "--wait=true", "--timeout=60s").returncode == 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_taken(path: Path, namespace: str) -> None:
    applied = kubectl("apply", "--namespace", namespace, "--validate=strict", "-f", str(path))
    assert applied.returncode == 0, applied.stderr


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_example_is_refused_with_its_message(path: Path, namespace: str) -> None:
    applied = kubectl("apply", "--namespace", namespace, "--validate=strict", "-f", str(path))
    assert applied.returncode != 0
    message = path.read_text().splitlines()[0].removeprefix("# Refused: ")
    assert message in applied.stderr


@pytest.mark.parametrize(
    ("example", "patch", "message"),
    [
        ("measurement-hourly", {"name": "other"}, "name cannot change"),
        ("sensor-data", {"table": "other"}, "table cannot change"),
        ("sensor-data", {"timeColumn": "other"}, "timeColumn cannot change"),
    ],
)
def test_what_cannot_change_is_refused(example: str, patch: dict[str, Any], message: str, namespace: str) -> None:
    path = K8S / "examples" / f"{example}.yaml"
    assert kubectl("apply", "--namespace", namespace, "-f", str(path)).returncode == 0
    spec = json.dumps({"spec": patch})
    changed = kubectl("patch", "--namespace", namespace, "--type=merge", "-f", str(path), "-p", spec)
    assert changed.returncode != 0
    assert message in changed.stderr


def test_intervals_of_every_unit_are_compared(namespace: str) -> None:
    example = (K8S / "examples" / "measurement-hourly.yaml").read_text()
    for width, start, end, taken in [
        ("1 month", "3 months", "1 day", True),
        ("1 month", "2 months", "1 day", False),
        ("1 week", "15 days", "1 day", True),
        ("1 year", "2 years", "1 second", False),
        ("30 seconds", "61 seconds", "1 second", True),
        ("1 minute", "2 minutes", "1 second", False),
    ]:
        changed = example.replace("width: 1 hour", f"width: {width}").replace("7 days", start)
        changed = changed.replace("endOffset: 1 minute", f"endOffset: {end}")
        applied = kubectl("apply", "--namespace", namespace, "--dry-run=server", "-f", "-", stdin=changed)
        assert (applied.returncode == 0) is taken, (width, start, end, applied.stderr)
