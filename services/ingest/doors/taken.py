"""How Millrace's own clients are told what became of their readings, at whichever door they come in."""

from typing import Any

import orjson
from starlette.responses import Response

from ..accept import Acceptance
from ..formats.json import MEDIA_TYPE as JSON
from ..readings import SHOWN_FAULTS

__all__ = ["taken"]


def taken(accepted: Acceptance, status: int = 200) -> Response:
    """Return the answer to readings that were taken: the batch, how many, and the first of those that were not.

    Where values came beside them that are not kept, it says how many of which kind.
    """
    body: dict[str, Any] = {
        "batch_id": accepted.batch_id,
        "accepted": accepted.rows,
        "rejected": accepted.faults[:SHOWN_FAULTS],
    }
    if accepted.skipped:
        body["skipped"] = dict(accepted.skipped)
    headers = {"Idempotent-Replayed": "true"} if accepted.repeated else None
    return Response(orjson.dumps(body), status, headers, JSON)
