"""Events, which `kubectl describe` shows beneath a resource."""

import uuid
from datetime import UTC, datetime

import structlog
from lightkube import AsyncClient
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from services.platform.kubernetes import API_ERRORS

from ..cluster.kinds import GROUP, VERSION, Found
from .conditions import LONGEST_MESSAGE

__all__ = ["COMPONENT", "tell"]

log = structlog.get_logger(__name__)

COMPONENT = "millrace-operator"


async def tell(client: AsyncClient, about: Found, reason: str, message: str, *, warning: bool = False) -> None:
    """Post an event about a resource; one that cannot be posted is in the log alone.

    Args:
        client: of its namespace.
        about: the resource as it was read.
        reason: one word in CamelCase.
        message: for a person.
        warning: whether somebody should look at it.
    """
    now, kind = datetime.now(UTC), about.kind.__name__
    log.info(message, action="event", kind=kind, name=about.name, reason=reason)
    event = Event(
        metadata=ObjectMeta(name=f"{about.name[:200]}.{uuid.uuid4().hex[:16]}", namespace=about.namespace),
        involvedObject=ObjectReference(
            apiVersion=f"{GROUP}/{VERSION}",
            kind=kind,
            name=about.name,
            namespace=about.namespace,
            uid=about.uid,
            resourceVersion=about.version,
        ),
        type="Warning" if warning else "Normal",
        reason=reason,
        message=message[:LONGEST_MESSAGE],
        source=EventSource(component=COMPONENT),
        reportingComponent=COMPONENT,
        firstTimestamp=now,
        lastTimestamp=now,
        count=1,
    )
    try:
        await client.create(event)
    except API_ERRORS as error:
        log.warning("an event could not be posted", action="event", problem=str(error))
