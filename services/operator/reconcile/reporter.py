"""What a pass did and found, told by the resource's status and by events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lightkube import AsyncClient

from services.platform.metrics import corrected_drifts

from ..cluster.client import API_ERRORS, missing
from ..cluster.conditions import Condition, condition, merged
from ..cluster.events import tell
from ..cluster.kinds import Found, write_status
from ..reporting import Report
from .refusal import Refused

__all__ = ["Reporter"]


class Reporter:
    """Writes to the API server only what changed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def refuse(self, found: Found, refused: Refused) -> None:
        """Report that nothing was applied.

        Raises:
            API_ERRORS: the API server is away.
        """
        ready = Condition(None if refused.unknown else False, refused.reason, refused.message)
        await self._write(found, {}, {**_standing(found), "Ready": ready})

    async def report(self, found: Found, report: Report, did: Sequence[str]) -> None:
        """Report how things stand, and what was `did` for that.

        Raises:
            API_ERRORS: the API server is away.
        """
        if did:
            await self._tell_what_was_done(found, "; ".join(did))
        await self._write(found, report.fields, report.conditions)

    async def _tell_what_was_done(self, found: Found, did: str) -> None:
        known = condition(found.status, "Ready")
        if known.get("status") == "True" and found.status.get("observedGeneration") == found.generation:
            corrected_drifts.add(1, {"kind": found.kind.__name__})
            await tell(self._client, found, "DriftCorrected", f"somebody changed the database; {did}", warning=True)
        else:
            await tell(self._client, found, "Applied", did)

    async def _write(self, found: Found, fields: Mapping[str, Any], conditions: Mapping[str, Condition]) -> None:
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
            await tell(self._client, found, ready.reason, ready.message, warning=True)


def _standing(found: Found) -> dict[str, Condition]:
    """Return the conditions that a resource has, but for Ready."""
    words = {"True": True, "False": False}
    return {
        item["type"]: Condition(words.get(item["status"]), item["reason"], item.get("message", ""))
        for item in found.status.get("conditions", ())
    }
