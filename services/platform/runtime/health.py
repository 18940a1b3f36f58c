"""Health that means something: parts report what they lack, and readiness is that nothing is lacking.

What lacks is told in the log when it begins and then ever more seldom, by a level that says whether to look.
"""

import time

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

__all__ = ["START", "Health", "Outage", "health_routes"]

log = structlog.get_logger(__name__)

START = 120.0
"""Seconds that a start may take, with all that a process needs starting beside it."""

FIRST_GAP, LONGEST_GAP = 10.0, 300.0
"""Seconds from one line about an outage to the next; each gap is twice the last."""


class Outage:
    """A part that may be lacking; what was never there may be just starting, and is no cause for alarm for a while."""

    def __init__(self, part: str) -> None:
        """Begin with a part that was not there yet."""
        self._part = part
        self._was_there = False
        self._began: float | None = None
        self._gap = self._again = 0.0

    def lasts(self, problem: str) -> None:
        """Tell that the part is lacking, unless that was told a moment ago."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._gap, self._again = now, FIRST_GAP, now
        if now < self._again:
            return
        self._again, self._gap = now + self._gap, min(2 * self._gap, LONGEST_GAP)
        tell = log.warning if self._was_there or now - self._began > START else log.info
        tell("not ready", action="wait", part=self._part, problem=problem, seconds=round(now - self._began, 1))

    def over(self) -> None:
        """Tell that the part is there, if it was told to be lacking."""
        if self._began is not None:
            log.info("ready", action="wait", part=self._part, seconds=round(time.monotonic() - self._began, 1))
        self._began, self._was_there = None, True


class Health:
    """What each part of a process lacks, and whether its main loop still turns."""

    def __init__(self, *parts: str, stuck_after: float = 120.0) -> None:
        """Start with every part not ready.

        Args:
            parts: names of all that must report before the process is ready.
            stuck_after: seconds without `beat` after which the process is unhealthy.
        """
        self._lacking: dict[str, str | None] = dict.fromkeys(parts, "starting")
        self._outages: dict[str, Outage] = {}
        self._stuck_after = stuck_after
        self._beat: float | None = None

    def lacks(self, part: str, what: str) -> None:
        """Report that `part` is not ready and why."""
        self._lacking[part] = what
        self._outage(part).lasts(what)

    def has(self, part: str) -> None:
        """Report that `part` is ready."""
        self._lacking[part] = None
        self._outage(part).over()

    def _outage(self, part: str) -> Outage:
        return self._outages.setdefault(part, Outage(part))

    def beat(self) -> None:
        """Tell that the main loop turned once more; before the first call it is not judged."""
        self._beat = time.monotonic()

    def reasons(self) -> dict[str, str]:
        """Return each part that is not ready, with the reason."""
        return {part: why for part, why in self._lacking.items() if why is not None}

    def stuck(self) -> float | None:
        """Return the seconds since the last beat where they are too many."""
        silent = 0.0 if self._beat is None else time.monotonic() - self._beat
        return silent if silent > self._stuck_after else None


class Healthy(BaseModel):
    """The process works."""

    status: str = "ok"


class Ready(BaseModel):
    """Whether the process does its work; `reasons` names each part that does not, and why."""

    status: str
    reasons: dict[str, str] = {}


_FORMS = ("text/plain", "application/openmetrics-text")


def health_routes(health: Health) -> APIRouter:
    """Return `/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", responses={503: {"description": "The main loop stands still", "model": Ready}})
    async def healthz(response: Response) -> Healthy | Ready:
        """Tell whether the process should live on; it asks no other server."""
        silent = health.stuck()
        if silent is None:
            return Healthy()
        response.status_code = 503
        return Ready(status="stuck", reasons={"loop": f"no turn for {silent:.0f} s"})

    @router.get("/readyz", responses={503: {"description": "Not ready, with reasons", "model": Ready}})
    async def readyz(response: Response) -> Ready:
        """Tell whether the process does its work, and if not, what it lacks."""
        reasons = health.reasons()
        response.status_code = 503 if reasons else 200
        return Ready(status="not ready" if reasons else "ready", reasons=reasons)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {form: {} for form in _FORMS}}})
    def metrics(request: Request) -> Response:
        """Show all metrics in Prometheus form: its text, or OpenMetrics where the request accepts it."""
        encoded, form = _encoded(request.headers.get("accept", ""))
        return Response(encoded, media_type=form)

    return router


def _encoded(accepted: str) -> tuple[bytes, str]:
    """Return all metrics in the best form of those `accepted`, and that form's media type."""
    try:
        encoder, form = choose_encoder(accepted)
    except (TypeError, ValueError):
        # A version that is no number.
        encoder, form = choose_encoder("")
    return encoder(REGISTRY), form
