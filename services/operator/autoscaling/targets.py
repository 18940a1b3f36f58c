"""What is scaled: its size, how many of it are ready, and the scale subresource that changes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightkube import AsyncClient
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.types import PatchType

from services.platform.kubernetes import API_ERRORS, missing

from ..specs.scaling import ScaleTarget
from ..status.refusals import Refused

__all__ = ["Size", "Target", "named", "resize", "size"]

KINDS: dict[str, Any] = {"Deployment": Deployment, "StatefulSet": StatefulSet}

GROUP = "apps"

Target = tuple[str, str, str]
"""API group, kind and name: its version says nothing about which object it is."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many workers there shall be now, and how many of them are ready."""

    replicas: int
    ready: int


def named(reference: Mapping[str, Any]) -> Target:
    """Return which object a `scaleTargetRef` names; KEDA lets group and kind be left out."""
    version, kind = str(reference.get("apiVersion") or "apps/v1"), str(reference.get("kind") or "Deployment")
    return version.rpartition("/")[0], kind, str(reference.get("name"))


async def size(client: AsyncClient, target: ScaleTarget) -> Size:
    """Return the size of a target.

    Raises:
        Refused: there is no such target, or it is of a kind that is not scaled here.
        API_ERRORS: the API server is away.
    """
    group, kind, name = named(target.model_dump(by_alias=True))
    if group != GROUP or kind not in KINDS:
        why = f"{target.api_version} {kind} is not scaled here; name a Deployment or a StatefulSet of apps/v1"
        raise Refused("TargetNotScalable", why)
    try:
        found: Any = await client.get(KINDS[kind], name)
    except API_ERRORS as error:
        if missing(error):
            raise Refused("TargetMissing", f"there is no {kind} {name} in this namespace; create it") from None
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
