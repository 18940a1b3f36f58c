"""What is scaled: its size, the scale subresource that changes it, and who else does.

Two that pull at one number make it swing: where another autoscaler has a target, or an older BacklogAutoscaler, it is
left alone.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightkube import AsyncClient
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.types import PatchType

from services.platform.kubernetes import API_ERRORS, missing

from ..cluster.kinds import Found
from ..refusals import Reason, Refusal
from ..specs.scaling import ScaleTarget

__all__ = ["Size", "Target", "doubled", "resize", "rivals", "size"]

KINDS: dict[str, Any] = {"Deployment": Deployment, "StatefulSet": StatefulSet}

GROUP = "apps"

ScaledObject = create_namespaced_resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")

Target = tuple[str, str, str]
"""API group, kind and name: its version says nothing about which object it is."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many workers there shall be now, and how many of them are ready."""

    replicas: int
    ready: int


async def size(client: AsyncClient, target: ScaleTarget) -> Size:
    """Return the size of a target.

    Raises:
        Refusal: there is no such target, or it is of a kind that is not scaled here.
        API_ERRORS: the API server is away.
    """
    group, kind, name = _named(target.model_dump(by_alias=True))
    if group != GROUP or kind not in KINDS:
        why = f"{target.api_version} {kind} is not scaled here; name a Deployment or a StatefulSet of apps/v1"
        raise Refusal(Reason.TARGET_NOT_SCALABLE, why)
    try:
        found: Any = await client.get(KINDS[kind], name)
    except API_ERRORS as error:
        if missing(error):
            raise Refusal(Reason.TARGET_MISSING, f"there is no {kind} {name} in this namespace; create it") from None
        raise
    ready = found.status.readyReplicas if found.status else None
    return Size(found.spec.replicas, ready or 0)


async def resize(client: AsyncClient, target: ScaleTarget, replicas: int) -> None:
    """Set the scale of a target whose size was asked before.

    Raises:
        API_ERRORS: the API server is away or refuses.
    """
    change = {"spec": {"replicas": replicas}}
    await client.patch(KINDS[target.kind].Scale, target.name, change, patch_type=PatchType.MERGE)


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


def doubled(autoscalers: Sequence[Found], others: dict[Target, str]) -> dict[str, Refusal]:
    """Return, by uid, why a BacklogAutoscaler may not scale its target.

    Args:
        autoscalers: of the namespace, the oldest first; it keeps what a younger one names too.
        others: what `rivals` found.
    """
    first: dict[Target, str] = {}
    refusals = {}
    for one in autoscalers:
        target = _named(one.spec.get("scaleTargetRef", {}))
        older = first.setdefault(target, f"BacklogAutoscaler {one.name}")
        rival = others.get(target) or (older if older != f"BacklogAutoscaler {one.name}" else None)
        if rival:
            _, kind, name = target
            refusals[one.uid] = Refusal(Reason.CONFLICT, f"{rival} scales {kind} {name} already; delete one of the two")
    return refusals


def _named(reference: Mapping[str, Any]) -> Target:
    """Return which object a `scaleTargetRef` names; KEDA lets group and kind be left out."""
    version, kind = str(reference.get("apiVersion") or "apps/v1"), str(reference.get("kind") or "Deployment")
    return version.rpartition("/")[0], kind, str(reference.get("name"))


async def _horizontal(client: AsyncClient) -> AsyncIterator[tuple[Target, str]]:
    async for one in client.list(HorizontalPodAutoscaler):
        if one.metadata:
            target = one.spec.scaleTargetRef
            reference = {"apiVersion": target.apiVersion, "kind": target.kind, "name": target.name}
            yield _named(reference), f"HorizontalPodAutoscaler {one.metadata.name}"


async def _scaled_objects(client: AsyncClient) -> AsyncIterator[tuple[Target, str]]:
    async for one in client.list(ScaledObject):
        yield _named(one["spec"].get("scaleTargetRef", {})), f"ScaledObject {one['metadata']['name']}"
