"""What kopf is used for: it watches the resources, and a change wakes the loop of passes.

kopf's own way is a handler for each change of one object, its progress kept in annotations and finalizers. That does
not fit what is looked after here. A database drifts without any event; a table, the aggregates on it and their
retention must be looked at together, in an order; and a finalizer would keep a namespace from ending once the operator
is gone. So a pass (`reconcile`) reads everything and compares, and which events were missed, or how many came, does
not matter. What is left for kopf is what it does well: watches that survive restarts of the API server, the login, the
liveness probe, signals.
"""

import dataclasses
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from services.platform.kubernetes import lenient
from services.platform.runtime.health import Health

from .cluster.kinds import GROUP, KINDS, VERSION

__all__ = ["Activity", "configured", "registry"]

Activity = Callable[[], Awaitable[None]]


class _Lenient(kopf.ConnectionInfo):
    def as_ssl_context(self) -> ssl.SSLContext:
        return lenient(super().as_ssl_context())


def configured() -> kopf.OperatorSettings:
    """Return kopf's settings: nothing beyond one namespace is read, and a silent API server is noticed."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    return settings


def registry(
    wake: Callable[[], None], start: Activity, stop: Activity, loops: dict[str, Health]
) -> kopf.OperatorRegistry:
    """Return the handlers.

    Args:
        wake: is called when a resource came, went or got another spec.
        start: begins the operator's own work.
        stop: ends it.
        loops: which make the liveness probe fail where they are stuck.
    """
    handlers = kopf.OperatorRegistry()
    # Our own writes of a status are events too; only another generation or annotation wakes the loop.
    seen: dict[str, object] = {}

    async def changed(event: kopf.RawEvent, uid: str, meta: kopf.Meta, **_: Any) -> None:
        if event["type"] == "DELETED":
            seen.pop(uid, None)
            wake()
        elif seen.get(uid) != (now := (meta.get("generation"), dict(meta.annotations))):
            seen[uid] = now
            wake()

    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind, id="changed", registry=handlers)(changed)

    @kopf.on.login(id="login", registry=handlers)
    def login(**known: Any) -> kopf.ConnectionInfo | None:
        found = kopf.login_with_service_account(**known) or kopf.login_with_kubeconfig(**known)
        return found and _Lenient(**{field.name: getattr(found, field.name) for field in dataclasses.fields(found)})

    @kopf.on.startup(id="begin", registry=handlers)
    async def begin(**_: Any) -> None:
        await start()

    @kopf.on.cleanup(id="finish", registry=handlers)
    async def finish(**_: Any) -> None:
        await stop()

    @kopf.on.probe(id="stuck", registry=handlers)
    def stuck(**_: Any) -> dict[str, float]:
        found = {name: seconds for name, health in loops.items() if (seconds := health.stuck())}
        if found:
            raise kopf.PermanentError(f"no turn for that many seconds: {found}")
        return found

    return handlers
