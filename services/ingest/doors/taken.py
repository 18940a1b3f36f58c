"""How Millrace's own clients are told what became of their readings, at whichever door they come in."""

from typing import Any

import orjson
from starlette.responses import Response

from ..accept import Acceptance
from ..formats.json import MEDIA_TYPE as JSON
from ..readings import SHOWN_FAULTS

__all__ = ["taken"]

_TYPE = (b"content-type", JSON.encode())
_PLAIN, _REPLAYED = [_TYPE], [_TYPE, (b"idempotent-replayed", b"true")]


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
    return _Told(orjson.dumps(body), status, _REPLAYED if accepted.repeated else _PLAIN)


class _Told(Response):
    """An answer in JSON, whose headers are known: its base class would take three times as long to look for them."""

    def __init__(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]
