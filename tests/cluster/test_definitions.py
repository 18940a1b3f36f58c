"""The definitions against a real API server: examples are taken, each invalid one is refused by its own rule."""

import json
from pathlib import Path
from typing import Any

import pytest

from ..support.cluster import K8S, Namespace, kubectl

EXAMPLES = sorted((K8S / "examples").glob("*.yaml"))
INVALID = sorted((K8S / "examples" / "invalid").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_taken(path: Path, namespace: Namespace) -> None:
    applied = kubectl("apply", "--namespace", namespace.name, "--validate=strict", "-f", str(path))
    assert applied.returncode == 0, applied.stderr


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_example_is_refused_with_its_message(path: Path, namespace: Namespace) -> None:
    applied = kubectl("apply", "--namespace", namespace.name, "--validate=strict", "-f", str(path))
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
def test_what_cannot_change_is_refused(example: str, patch: dict[str, Any], message: str, namespace: Namespace) -> None:
    path = K8S / "examples" / f"{example}.yaml"
    assert kubectl("apply", "--namespace", namespace.name, "-f", str(path)).returncode == 0
    spec = json.dumps({"spec": patch})
    changed = kubectl("patch", "--namespace", namespace.name, "--type=merge", "-f", str(path), "-p", spec)
    assert changed.returncode != 0
    assert message in changed.stderr


def test_intervals_of_every_unit_are_compared(namespace: Namespace) -> None:
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
        applied = kubectl("apply", "--namespace", namespace.name, "--dry-run=server", "-f", "-", stdin=changed)
        assert (applied.returncode == 0) is taken, (width, start, end, applied.stderr)
