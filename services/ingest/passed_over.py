"""What agents send and the service does not keep: counted by door, kind and caller, with when it last came.

An agent is told that all is well, for it could do nothing about it; so this is where somebody looks who misses it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from services.platform.http.parameters import only
from services.platform.runtime import metrics

__all__ = ["PassedOver", "doors"]


@dataclass(slots=True)
class _Count:
    values: int = 0
    last_at: float = 0.0


class PassedOver:
    """Counts what is not kept. One a process."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], _Count] = {}

    def count(self, door: str, caller: str, skipped: Mapping[str, int]) -> None:
        """Count values of a caller's request by their kinds."""
        for kind, values in skipped.items():
            metrics.values_skipped.add(values, {"door": door, "kind": kind})
            found = self._counts.setdefault((door, kind, caller), _Count())
            found.values += values
            found.last_at = time.time()

    def told(self) -> "list[Skipped]":
        """Return the counts, what came last first."""
        found = [
            Skipped(
                door=door,
                kind=kind,
                caller=caller,
                values=count.values,
                last_at=datetime.fromtimestamp(count.last_at, UTC),
            )
            for (door, kind, caller), count in self._counts.items()
        ]
        return sorted(found, key=lambda one: one.last_at, reverse=True)


class Skipped(BaseModel):
    """Values of one kind that a caller sent to a door since this process began, and that are not kept."""

    door: str
    kind: str
    caller: str
    values: int
    last_at: datetime


class Doors(BaseModel):
    """What the doors of this process do not keep."""

    skipped: list[Skipped]


def doors(passed_over: PassedOver) -> APIRouter:
    """Return `GET /doors`."""
    router = APIRouter(tags=["doors"])

    @router.get("/doors", dependencies=[Depends(only())])
    async def listed() -> Doors:
        """Tell what this process was sent and does not keep, by door, kind and caller, what came last first."""
        return Doors(skipped=passed_over.told())

    return router
