"""The custom resources as they are read and written; `k8s/crds/` is where they are defined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightkube import AsyncClient
from lightkube.generic_resource import GenericNamespacedResource, create_namespaced_resource
from lightkube.types import PatchType

__all__ = [
    "GROUP",
    "KINDS",
    "VERSION",
    "BacklogAutoscaler",
    "ContinuousAggregate",
    "Found",
    "Hypertable",
    "Kind",
    "Schema",
    "listed",
    "remove_annotation",
    "write_status",
]

GROUP, VERSION = "millrace.dev", "v1alpha1"

Kind = type[GenericNamespacedResource]

Schema: Kind = create_namespaced_resource(GROUP, VERSION, "Schema", "schemas")
Hypertable: Kind = create_namespaced_resource(GROUP, VERSION, "Hypertable", "hypertables")
ContinuousAggregate: Kind = create_namespaced_resource(GROUP, VERSION, "ContinuousAggregate", "continuousaggregates")
BacklogAutoscaler: Kind = create_namespaced_resource(GROUP, VERSION, "BacklogAutoscaler", "backlogautoscalers")

KINDS = {kind.__name__: kind for kind in (Schema, Hypertable, ContinuousAggregate, BacklogAutoscaler)}
"""By name, in the order in which one needs the other."""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as it was read.

    Attributes:
        kind: its class.
        name: of the object.
        namespace: it is in.
        uid: which no other object ever has.
        version: of this reading of it (`resourceVersion`).
        generation: of its spec.
        created: when, so that texts sort like instants.
        annotations: by name.
        spec: as it was written.
        status: as it was last reported, empty before.
    """

    kind: Kind
    name: str
    namespace: str
    uid: str
    version: str
    generation: int
    created: str
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


async def listed(client: AsyncClient, kind: Kind) -> list[Found]:
    """Return all resources of a kind in the client's namespace, the oldest first.

    Raises:
        API_ERRORS: the API server is away, or the kind is not defined there.
    """
    found = [_found(kind, item) async for item in client.list(kind)]
    return sorted(found, key=lambda one: (one.created, one.uid))


async def write_status(client: AsyncClient, found: Found, fields: Mapping[str, Any]) -> None:
    """Merge `fields` into the status of a resource; None takes a field away. Nothing is written that stands there.

    Raises:
        API_ERRORS: the API server is away, or the resource is gone.
    """
    changed = {name: value for name, value in fields.items() if found.status.get(name) != _kept(value)}
    if changed:
        await client.patch(found.kind.Status, found.name, {"status": changed}, patch_type=PatchType.MERGE)


async def remove_annotation(client: AsyncClient, found: Found, name: str) -> None:
    """Take an annotation off a resource.

    Raises:
        API_ERRORS: the API server is away, or the resource is gone.
    """
    change = {"metadata": {"annotations": {name: None}}}
    await client.patch(found.kind, found.name, change, patch_type=PatchType.MERGE)


def _kept(value: Any) -> Any:
    """Return what is left of a value when it is merged: no None inside an object."""
    return {name: part for name, part in value.items() if part is not None} if isinstance(value, dict) else value


def _found(kind: Kind, item: Mapping[str, Any]) -> Found:
    about = item["metadata"]
    return Found(
        kind=kind,
        name=about["name"],
        namespace=about["namespace"],
        uid=about["uid"],
        version=about["resourceVersion"],
        generation=about["generation"],
        created=about["creationTimestamp"],
        annotations=about.get("annotations", {}),
        spec=item.get("spec", {}),
        status=item.get("status", {}),
    )
