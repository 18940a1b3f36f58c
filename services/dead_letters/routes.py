"""The routes of dead letters: seen, mended, replayed and deleted."""

import uuid
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from services.contract import Columns, DamagedEntryError, EntryError, decode, decode_letter, readable_entry, readings
from services.platform.admission import stream_problem
from services.platform.http.auth import Scope, demands
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import only
from services.platform.runtime import metrics
from services.platform.stream import FIRST, STREAM_ERRORS, DeadLetters, Letter, Search

from .replay import Left, Replay, unknown_letter

__all__ = ["Body", "changing_many", "changing_one", "seeing"]

_ID = r"^[0-9]{1,19}(-[0-9]{1,19})?$"

LetterId = Annotated[str, Path(pattern=r"^[0-9]{1,19}-[0-9]{1,19}$", description="From the list of dead letters.")]
EvenExpired = Annotated[
    bool, Query(description="Take letters older than the ledger remembers too: they may then be stored twice.")
]


class LetterPage(BaseModel):
    """Which letters a page holds."""

    after: str = Field(FIRST, pattern=_ID, description="Begin behind this id; `next` of the page before.")
    through: str | None = Field(
        None, pattern=_ID, description="Last id that is meant, or ms since 1970; the newest now where it is not said."
    )
    reason: str = Field("", max_length=100, description="Only letters with this reason.")
    batch_id: uuid.UUID | None = Field(None, description="Only letters of this batch.")
    limit: int = Field(100, ge=1, le=1000, description="Most letters of the page.")

    def search(self, last: str) -> Search:
        """Return what to look for up to `last`."""
        return Search(self.after, last, self.reason, self.batch_id)


class LettersToReplay(LetterPage):
    """Which letters are replayed."""

    even_expired: EvenExpired = False


class LettersToDelete(LetterPage):
    """Which letters are deleted; the last of them must be said, so that none goes unseen."""

    through: str = Field(pattern=_ID, description="Last id that is meant, or ms since 1970.")


class Letters(BaseModel):
    """A page of dead letters, the oldest first.

    `total` counts all there are; `next` goes on, and is null where all were looked at; `through` is the last id chosen.
    """

    letters: list[Letter]
    total: int
    next: str | None
    through: str


class ReplayedOne(BaseModel):
    """The batch that went back into the stream."""

    batch_id: uuid.UUID


class ReplayedMany(BaseModel):
    """How many letters of a page went back into the stream, and which stayed."""

    replayed: int
    left: list[Left]
    next: str | None
    through: str


class Deleted(BaseModel):
    """How many letters of a page were deleted."""

    deleted: int
    next: str | None
    through: str


@dataclass(frozen=True, slots=True)
class Body:
    """What a port makes of the body of a replay.

    Attributes:
        mended: gives the readings to take in place of the letter's own, None where it goes as it stands; they are held
            until the block is left. What may be wrong with them leaves as a problem.
        openapi: what describes it.
        refusals: codes of the problems.
    """

    mended: Callable[[Request], AbstractAsyncContextManager[Columns | None]]
    openapi: dict[str, Any]
    refusals: tuple[str, ...]


class _Route(APIRoute):
    """A route whose errors of the stream are problems."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except STREAM_ERRORS as error:
                raise stream_problem(error) from error

        return handled


_AWAY = ("invalid_parameter", "stream_unavailable")


def _administrative() -> APIRouter:
    return APIRouter(tags=["dead letters"], route_class=_Route, dependencies=[Depends(demands(Scope.ADMIN))])


def seeing(letters: DeadLetters) -> APIRouter:
    """Return the routes that change nothing."""
    router = APIRouter(tags=["dead letters"], route_class=_Route)

    @router.get(
        "/dead-letters", responses=problem_responses(*_AWAY), dependencies=[Depends(only(*LetterPage.model_fields))]
    )
    async def page(chosen: Annotated[LetterPage, Query()]) -> Letters:
        """List dead letters with reason and origin. A page may be empty and still have a `next`."""
        last = chosen.through or await letters.last()
        found = await letters.page(chosen.search(last), chosen.limit)
        return Letters(letters=found.letters, total=await letters.count(), next=found.next, through=last)

    @router.get(
        "/dead-letters/{letter_id}",
        responses=problem_responses("unknown_letter", *_AWAY),
        dependencies=[Depends(only("rows"))],
    )
    async def show(
        letter_id: LetterId, rows: Annotated[int, Query(ge=0, le=1000, description="Readings to show.")] = 10
    ) -> dict[str, Any]:
        """Show a dead letter in clear, as far as it can be read, with its first readings."""
        return readable_entry(letter_id.encode(), await _fields(letters, letter_id), rows)

    @router.get(
        "/dead-letters/{letter_id}/readings",
        responses={
            200: {"content": {"application/json": {}}},
            **problem_responses("unknown_letter", "letter_damaged", *_AWAY),
        },
        response_class=Response,
        dependencies=[Depends(only())],
    )
    async def all_readings(letter_id: LetterId) -> Response:
        """Return all readings of a dead letter as `POST /ingest` takes them, to be mended and replayed."""
        try:
            entry = decode(decode_letter(await _fields(letters, letter_id)).fields)
        except EntryError as error:
            sort = "damaged" if isinstance(error, DamagedEntryError) else "newer"
            raise Problem("letter_damaged", f"it is {sort} and cannot be read: {error}") from None
        return Response(orjson.dumps(readings(entry.columns)), media_type="application/json")

    return router


def changing_one(letters: DeadLetters, replay: Replay, body: Body) -> APIRouter:
    """Return the routes that replay or delete a single letter; they take callers who have `admin`."""
    router = _administrative()
    refusals = (
        *("unknown_letter", "letter_damaged", "letter_expired", "key_reused", "backlog_full", "stream_full"),
        *body.refusals,
        *_AWAY,
    )

    @router.post(
        "/dead-letters/{letter_id}/replay",
        responses=problem_responses(*refusals),
        openapi_extra=body.openapi,
        dependencies=[Depends(only("even_expired"))],
    )
    async def replay_one(letter_id: LetterId, request: Request, even_expired: EvenExpired = False) -> ReplayedOne:
        """Put a dead letter back into the stream: as it stands, or with the readings of the body in place of its own.

        Repeating it is harmless: a letter leaves once, and the ledger stores its batch once.
        """
        async with body.mended(request) as mended:
            return ReplayedOne(batch_id=await replay.one(letter_id, mended, even_expired=even_expired))

    @router.delete(
        "/dead-letters/{letter_id}",
        status_code=204,
        responses=problem_responses("unknown_letter", *_AWAY),
        dependencies=[Depends(only())],
    )
    async def delete_one(letter_id: LetterId) -> None:
        """Delete a dead letter for good."""
        if not await letters.delete([letter_id]):
            raise unknown_letter(letter_id)
        metrics.dead_letters_removed.add(1, {"how": "deleted"})

    return router


def changing_many(letters: DeadLetters, replay: Replay) -> APIRouter:
    """Return the routes that replay or delete a page of letters; they take callers who have `admin`."""
    router = _administrative()

    @router.post(
        "/replay",
        responses=problem_responses("backlog_full", "stream_full", *_AWAY),
        dependencies=[Depends(only(*LettersToReplay.model_fields))],
    )
    async def replay_many(chosen: Annotated[LettersToReplay, Query()]) -> ReplayedMany:
        """Replay a page of dead letters. What is refused again comes behind `through`, so that an end is reached."""
        last = chosen.through or await letters.last()
        done = await replay.many(chosen.search(last), chosen.limit, even_expired=chosen.even_expired)
        return ReplayedMany(replayed=done.replayed, left=done.left, next=done.next, through=last)

    @router.delete(
        "/dead-letters",
        responses=problem_responses(*_AWAY),
        dependencies=[Depends(only(*LettersToDelete.model_fields))],
    )
    async def delete_many(chosen: Annotated[LettersToDelete, Query()]) -> Deleted:
        """Delete a page of dead letters for good. What comes behind `through` stays."""
        page = await letters.page(chosen.search(chosen.through), chosen.limit)
        gone = await letters.delete([letter.letter_id for letter in page.letters])
        metrics.dead_letters_removed.add(gone, {"how": "deleted"})
        return Deleted(deleted=gone, next=page.next, through=chosen.through)

    return router


async def _fields(letters: DeadLetters, letter_id: str) -> dict[bytes, bytes]:
    fields = await letters.read(letter_id)
    if fields is None:
        raise unknown_letter(letter_id)
    return fields
