"""`GET /backlog` on the worker's own port: what waits, for autoscalers that ask by HTTP."""

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel

from services.platform.http.errors import Problem
from services.platform.stream import STREAM_ERRORS, Stream

__all__ = ["Waiting", "backlog_routes"]


class Waiting(BaseModel):
    """What stands in the stream, delivered or not; `age` is the oldest entry's, in seconds."""

    entries: int
    rows: int
    bytes: int
    age: float


def backlog_routes(stream: Stream) -> APIRouter:
    """Return `/backlog`."""
    router = APIRouter(tags=["operations"])

    @router.get("/backlog", responses={503: {"description": "The stream's server is away"}})
    async def backlog() -> Waiting:
        """Count what waits in the stream, whoever was given it."""
        try:
            return Waiting.model_validate(asdict(await stream.backlog()))
        except STREAM_ERRORS as error:
            raise Problem("stream_unavailable", f"the stream's server cannot be reached: {error}") from error

    return router
