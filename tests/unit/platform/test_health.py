"""What is told of a part that is lacking, how often and by which level."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from services.platform.runtime import health as health_module
from services.platform.runtime.health import Health, Outage


def told(health: Health, *problems: str) -> list[tuple[str, str]]:
    """Return levels and events of what is logged while a part lacks one thing after the other."""
    with capture_logs() as lines:
        for problem in problems:
            health.lacks("database", problem)
    return [(line["log_level"], line["problem"]) for line in lines]


def test_what_a_start_waits_for_is_told_once_and_as_information() -> None:
    assert told(Health("database"), "refused", "refused", "no schema yet") == [("info", "refused")]


def test_what_is_lacking_for_longer_than_a_start_may_take_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "START", -1.0)
    assert told(Health("database"), "refused") == [("warning", "refused")]


def test_what_was_there_and_is_lacking_is_a_warning_at_once_and_its_return_is_told() -> None:
    health = Health("database")
    health.has("database")
    assert told(health, "refused", "refused") == [("warning", "refused")]
    with capture_logs() as lines:
        health.has("database")
        health.has("database")
    assert [(line["log_level"], line["event"]) for line in lines] == [("info", "ready")]


def test_an_outage_is_told_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    instants = iter(range(0, 10_000, 5))
    monkeypatch.setattr(health_module, "time", SimpleNamespace(monotonic=lambda: next(instants)))
    outage = Outage("database")
    with capture_logs() as lines:
        for _ in range(100):
            outage.lasts("refused")
    assert [line["seconds"] for line in lines] == [0, 10, 30, 70, 150, 310]
    assert [line["log_level"] for line in lines] == ["info"] * 4 + ["warning"] * 2
