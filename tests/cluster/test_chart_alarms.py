"""What a person reads of a release that is well: neither a pod's log nor an event sounds an alarm."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import eventually
from tests.support.alarms import alarms
from tests.support.release import Release, released

PREPARED = "starting PostgreSQL"
"""Said twice on a fresh volume: the first server only prepares it, and is stopped with what runs in it."""


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A fresh release with a read replica."""
    with released({"timescaledb": {"replicas": {"count": 1}}}) as made:
        yield made


async def test_a_fresh_release_sounds_no_alarm_in_logs_events_or_listings(release: Release) -> None:
    ready = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    # Its readings are of 2025: a system that is right about old readings must not look late.
    assert "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")

    def refreshed() -> bool:
        status = release.namespace.get("continuousaggregate", "measurement-hourly")["status"]
        return bool(status["refresh"].get("lastRun", "") > ready)

    await eventually(refreshed, 120, 1.0)
    assert [(pod, line) for pod, lines in said(release) for line in alarms(lines)] == []
    shown = release.namespace.run("get", "schemas,hypertables,continuousaggregates,backlogautoscalers")
    assert re.findall(r"\d{2,}d\b|False|Unknown", shown) == [], shown
    warnings = [event for event in events(release) if event["type"] == "Warning"]
    assert [event["message"] for event in warnings if happened(event) > ready] == []
    # Before, nothing but probes that look at what is just starting.
    others = [event for event in warnings if (event["reason"], event["involvedObject"]["kind"]) != ("Unhealthy", "Pod")]
    assert [(event["involvedObject"]["name"], event["message"]) for event in others] == []


def said(release: Release) -> Iterator[tuple[str, list[str]]]:
    """Yield each pod's name and the lines of its log."""
    for pod in json.loads(release.namespace.run("get", "pods", "--output=json"))["items"]:
        name = pod["metadata"]["name"]
        lines = release.namespace.run("logs", name, "--all-containers").splitlines()
        starts = [at for at, line in enumerate(lines) if PREPARED in line]
        yield name, lines[starts[-1] :] if starts else lines


def events(release: Release) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(release.namespace.run("get", "events", "--output=json"))["items"]
    return found


def happened(event: dict[str, Any]) -> str:
    """Return when an event was last seen; one that was posted once may say so in another field."""
    return str(event["lastTimestamp"] or event["eventTime"] or event["metadata"]["creationTimestamp"])
