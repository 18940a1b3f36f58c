"""Posting pieces, over several connections, until each is taken or what is wrong with it is known by name."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop
from millrace_client.outcomes import Outcome, State

from services.platform.runtime import failpoints
from services.sender.posting import Poster, Way
from services.sender.progress import shown

from .errors import StoppedError
from .files import Files, ToSend
from .forms import Form
from .pieces import hint_of, key_of
from .tally import Reject, Rejects

__all__ = ["Delivery", "deliver"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One import.

    Attributes:
        files: what is to be sent.
        way: to ingest.
        connections: requests under way at once.
        rejects: where wrong records go.
        most: rejects above which it stops, as the files are something else than they seem.
    """

    files: Files
    way: Way
    connections: int
    rejects: Rejects
    most: int

    async def run(self) -> None:
        """Send everything.

        Raises:
            StoppedError: it cannot go on.
        """
        turn, source = asyncio.Lock(), self.files.to_send()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.connections):
                    group.create_task(self._work(turn, source))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _work(self, turn: asyncio.Lock, source: Iterator[ToSend]) -> None:
        with Poster(self.way, self.files.tally) as poster:
            while True:
                async with turn:
                    one = await asyncio.to_thread(self._next, source)
                if one is None:
                    return
                await self._see_through(poster, one)

    def _next(self, source: Iterator[ToSend]) -> ToSend | None:
        """Return what is to be sent next, noted as something that may be stored from now on."""
        one = next(source, None)
        if one is not None and one.number is not None:
            self.files.state.note(one.number, one.piece)
        return one

    async def _see_through(self, poster: Poster, one: ToSend) -> None:
        """Post a piece, in parts where it must be, until the end of each is known."""
        left = [one]
        while left:
            each = left.pop()
            failpoints.reach("import.before_post")
            outcome = await self._post(poster, each, partial=False)
            failpoints.reach("import.after_post")
            halves = each.piece.halves() if self._divides(each, outcome) else []
            if halves:
                if each.number is not None:
                    self.files.state.divide(each.number, each.piece, halves)
                left += [each._replace(piece=half) for half in reversed(halves)]
            else:
                await self._end(poster, each, outcome)

    def _divides(self, one: ToSend, outcome: Outcome) -> bool:
        """Tell whether a piece that was refused is sent in halves: it is too large, or has more faults than are named.

        Raises:
            StoppedError: too much is wrong.
        """
        if outcome.too_large:
            # So it was when an answer was lost, and is not stored.
            return True
        if outcome.code == "body_timeout":
            # The line is slow.
            return outcome.state is State.REFUSED
        if outcome.code != "invalid_readings":
            return False
        self._check(one, outcome, outcome.rejected)
        return outcome.rejected > len(outcome.faults) and outcome.state is State.REFUSED

    def _check(self, one: ToSend, outcome: Outcome, count: int) -> None:
        """See that not too much is wrong.

        Raises:
            StoppedError: it is.
        """
        if self.files.tally.rejected + count > self.most:
            hint = hint_of(one.piece)
            raise StoppedError(
                f"{_place(one)}: {outcome.why}; with these, more are rejected than --max-rejects {self.most} allows"
                f"{hint and f'; {hint}'}"
            )

    async def _end(self, poster: Poster, one: ToSend, outcome: Outcome) -> None:
        """See to what becomes of a piece that is not divided, and note it.

        Raises:
            StoppedError: that is not known.
        """
        rejects, count = list[Reject](), outcome.rejected
        if outcome.code == "invalid_readings":
            rejects = _named(one, outcome)
            one = one._replace(again=one.again or outcome.state is State.UNKNOWN)
            outcome = await self._post(poster, one, partial=True)
        elif outcome.too_large:
            rejects = [
                Reject(
                    one.name,
                    one.piece.unit,
                    told.line,
                    None,
                    outcome.code or "body_too_large",
                    outcome.why,
                    told.record,
                )
                for told in one.piece.records()
            ]
            count = len(rejects)
            self._check(one, outcome, count)
        # A reused key has stored the same records: those without a time then had another, or more of them were good.
        settled = outcome.state is State.ACKED or outcome.code in {"invalid_readings", "key_reused"}
        if not settled and not outcome.too_large:
            raise StoppedError(f"{_place(one)}: {outcome.why}")
        self.rejects.write(rejects)
        self.files.tally.reject(rejects, count)
        if rejects and (hint := hint_of(one.piece)):
            self.files.tally.hint(f"{one.name}: {hint}")
        self.files.tally.sent(outcome.accepted, outcome.skipped.get("strings", 0))
        if one.number is not None:
            self.files.state.done(one.number, one.piece, _stored(one, outcome), count)

    async def _post(self, poster: Poster, one: ToSend, *, partial: bool) -> Outcome:
        piece, which = one.piece, self.files.which
        name = "accept_partial" if piece.form is Form.LINES else "partial"
        body, key = await asyncio.to_thread(lambda: (piece.body(), key_of(piece, which.run)))
        target = f"{piece.target}&{name}={str(partial).lower()}"
        return await poster.post(target, which.words.headers(piece.form), body, key)


def _stored(one: ToSend, outcome: Outcome) -> int | None:
    """Return how many readings of a piece are stored at its end; None where an attempt without an answer may have."""
    if outcome.state is State.ACKED:
        return outcome.accepted
    return 0 if outcome.state is State.REFUSED and outcome.code != "key_reused" and not one.again else None


def _named(one: ToSend, outcome: Outcome) -> list[Reject]:
    """Return the records that an answer names."""
    told = one.piece.told([int(fault["index"]) for fault in outcome.faults])
    return [
        Reject(
            one.name, one.piece.unit, record.line, fault.get("field"), str(fault["code"]),
            # The door of line protocol counts lines from the body's first one.
            str(fault["message"]).removeprefix(f"line {fault['index'] + 1}: "), record.record,
        )
        for fault, record in zip(outcome.faults, told, strict=True)
    ]  # fmt: skip


def _place(one: ToSend) -> str:
    return f"{one.name} from {one.piece.unit} {one.piece.line} on"


def deliver(delivery: Delivery, total: int | None) -> None:
    """Send everything in an event loop of its own, and show on standard error how it goes.

    Args:
        delivery: the import.
        total: bytes of all files; None where that is not known.

    Raises:
        StoppedError: it cannot go on.
        OSError: the file of rejects cannot be written.
    """

    async def run() -> None:
        async with shown(delivery.files.tally, total):
            await delivery.run()

    uvloop.run(run())
