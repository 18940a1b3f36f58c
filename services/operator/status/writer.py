"""Writes reports and refusals into the status of resources, and tells by events what was done and what is wrong."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lightkube import AsyncClient

from services.platform.kubernetes import API_ERRORS, missing
from services.platform.runtime.health import START
from services.platform.runtime.metrics import corrected_drifts

from ..cluster.kinds import Found, write_status
from ..refusals import Refusal
from .conditions import Condition, condition, merged
from .events import tell
from .reports import Report

__all__ = ["StatusWriter"]


class StatusWriter:
    """Writes to the API server only what changed.

    It remembers of each resource which generation it has seen the database agree with: only from then on what it
    corrects is a drift.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._as_described: dict[str, int] = {}

    async def refuse(self, found: Found, refusal: Refusal) -> None:
        """Write that nothing was applied; what was observed before stays, for it may still be so.

        Raises:
            API_ERRORS: the API server is away.
        """
        self._as_described.pop(found.uid, None)
        ready = Condition(None if refusal.unknown else False, refusal.reason, refusal.message)
        await self._write(found, {}, {**_conditions(found), "Ready": ready})

    async def write(self, found: Found, report: Report, did: Sequence[str]) -> None:
        """Write a report, and tell what was `did` for it.

        It corrects a drift only where this operator has seen the database as the resource says. Else it is the work
        of a first pass: on a database that is new or restored, or by a release that wants it otherwise.

        Raises:
            API_ERRORS: the API server is away.
        """
        if did and self._as_described.get(found.uid) == found.generation:
            corrected_drifts.add(1, {"kind": found.kind.__name__})
            told = f"somebody changed the database; {'; '.join(did)}"
            await tell(self._client, found, "DriftCorrected", told, warning=True)
        elif did:
            await tell(self._client, found, "Applied", "; ".join(did))
        if report.conditions["Ready"].status:
            self._as_described[found.uid] = found.generation
        else:
            self._as_described.pop(found.uid, None)
        await self._write(found, report.fields, report.conditions)

    async def _write(self, found: Found, fields: Mapping[str, Any], conditions: Mapping[str, Condition]) -> None:
        """Write a status; where the resource is not ready for another reason than before, post that as an event.

        The event warns, unless work is under way, or what is not known yet may be starting beside the resource.
        """
        old = condition(found.status, "Ready")
        new = merged(found.status.get("conditions", ()), found.generation, datetime.now(UTC), conditions)
        try:
            await write_status(
                self._client, found, {**fields, "observedGeneration": found.generation, "conditions": new}
            )
        except API_ERRORS as error:
            if not missing(error):
                raise
            return
        ready = conditions["Ready"]
        if ready.status is not True and (old.get("reason"), old.get("message")) != (ready.reason, ready.message):
            calm = _under_way(conditions) or (ready.status is None and _starts(found))
            await tell(self._client, found, ready.reason, ready.message, warning=not calm)


def _under_way(conditions: Mapping[str, Condition]) -> bool:
    return "Progressing" in conditions and conditions["Progressing"].status is True


def _starts(found: Found) -> bool:
    """Tell whether a resource is so new that what it needs may be starting beside it."""
    return datetime.now(UTC) - datetime.fromisoformat(found.created) < timedelta(seconds=START)


def _conditions(found: Found) -> dict[str, Condition]:
    """Return the conditions that a resource has, but for Ready."""
    words = {"True": True, "False": False}
    return {
        item["type"]: Condition(words.get(item["status"]), item["reason"], item.get("message", ""))
        for item in found.status.get("conditions", ())
    }
