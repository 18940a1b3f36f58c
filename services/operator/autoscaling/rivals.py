"""Who else scales a target: two that pull at one number make it swing, so that neither may have it."""

from collections.abc import AsyncIterator, Sequence

from lightkube import AsyncClient
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler

from services.platform.kubernetes import API_ERRORS, missing

from ..cluster.kinds import Found
from ..status.refusals import Refused
from .targets import Target, named

__all__ = ["doubled", "rivals"]

ScaledObject = create_namespaced_resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")


async def rivals(client: AsyncClient) -> dict[Target, str]:
    """Return what other autoscalers of the namespace scale, each with the kind and the name of one that does.

    Raises:
        API_ERRORS: the API server is away.
    """
    found = {target: name async for target, name in _horizontal(client)}
    try:
        found |= {target: name async for target, name in _scaled_objects(client)}
    except API_ERRORS as error:
        # Where KEDA is not installed, nothing is scaled by it.
        if not missing(error):
            raise
    return found


def doubled(autoscalers: Sequence[Found], others: dict[Target, str]) -> dict[str, Refused]:
    """Return, by uid, why a BacklogAutoscaler may not scale its target.

    Args:
        autoscalers: of the namespace, the oldest first; it keeps what a younger one wants too.
        others: what `rivals` found.
    """
    first: dict[Target, str] = {}
    refused = {}
    for one in autoscalers:
        target = named(one.spec.get("scaleTargetRef", {}))
        older = first.setdefault(target, f"BacklogAutoscaler {one.name}")
        rival = others.get(target) or (older if older != f"BacklogAutoscaler {one.name}" else None)
        if rival:
            _, kind, name = target
            refused[one.uid] = Refused("Conflict", f"{rival} scales {kind} {name} already; delete one of the two")
    return refused


async def _horizontal(client: AsyncClient) -> AsyncIterator[tuple[Target, str]]:
    async for one in client.list(HorizontalPodAutoscaler):
        if one.metadata:
            target = one.spec.scaleTargetRef
            reference = {"apiVersion": target.apiVersion, "kind": target.kind, "name": target.name}
            yield named(reference), f"HorizontalPodAutoscaler {one.metadata.name}"


async def _scaled_objects(client: AsyncClient) -> AsyncIterator[tuple[Target, str]]:
    async for one in client.list(ScaledObject):
        yield named(one["spec"].get("scaleTargetRef", {})), f"ScaledObject {one['metadata']['name']}"
