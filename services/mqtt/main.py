"""`millrace run mqtt`: the process, its parts and its port."""

import signal
import threading

import structlog
import uvloop

from services.platform.http.serving import health_app, serving, stop_signal, tune_gc
from services.platform.runtime.health import Health
from services.platform.runtime.starting import StartError
from services.platform.runtime.tasks import until_stopped
from services.platform.settings import Settings

from .bridge import Bridge
from .topics import TemplateError, parse_templates

__all__ = ["run"]

log = structlog.get_logger(__name__)

_DRAIN = 10.0
"""Seconds for the requests under way at SIGTERM."""


def run(settings: Settings) -> None:
    """Bring messages until SIGTERM.

    Raises:
        StartError: the health port is taken, or a setting cannot be used.
    """
    tune_gc()
    threading.excepthook = _end
    uvloop.run(_run(settings))


def _end(failure: threading.ExceptHookArgs) -> None:
    """End the process where paho's thread fails: it would be deaf from then on, and a new one is not."""
    log.critical("a thread failed; ending the process", action="fail_fast", exc_info=failure.exc_value)
    signal.raise_signal(signal.SIGTERM)


async def _run(settings: Settings) -> None:
    own, health, stop = settings.mqtt, Health("broker", "ingest"), stop_signal()
    try:
        templates = parse_templates(own.topics)
    except TemplateError as error:
        raise StartError(f"MILLRACE_MQTT_TOPICS: {error}") from error
    key = settings.client.key.get_secret_value() if settings.client.key else None
    bridge = Bridge(own, key, templates, health)
    async with serving(health_app("Millrace MQTT bridge", health), own.host, own.port, "MILLRACE_MQTT_PORT"):
        await until_stopped(bridge.run(stop), stop, _DRAIN)
