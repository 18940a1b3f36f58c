"""What every door calls: a request's way past the limits, by its body and the stream, to the answer it asked for."""

import asyncio
import enum
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from starlette.responses import Response
from starlette.types import Receive

from services.contract import Outcome, keyed_id
from services.platform.http.auth import Caller
from services.platform.http.errors import Problem
from services.platform.runtime import metrics
from services.platform.runtime.telemetry import current_traceparent
from services.platform.settings import IngestSettings

from .commit.group_commit import GroupCommit
from .commit.pending import Accepted, Done, PendingBatch
from .idempotency import digest, key_reused
from .limits.admission import Admission
from .limits.body import ENCODINGS, IDENTITY, content_encoding, read_body
from .limits.in_flight import RequestInFlight
from .limits.new_series import NewSeries
from .limits.rates import Rates
from .limits.window import Window
from .passed_over import PassedOver
from .readings import Decoded, Fault, check
from .receipts import Receipt, Receipts, ReceiptsUnavailableError, stored_receipt

__all__ = ["REFUSALS", "Acceptance", "Acceptor", "Ack", "Asked", "Decoder", "IngestParameters", "Request", "acceptance"]

Decoder = Callable[[bytes, int], Decoded | Awaitable[Decoded]]
"""Reads a body of at most so many readings, here or elsewhere; raises a Problem where it is none, or of more."""


_LARGE = 256 * 1024
"""Bytes of a body from which on its decoding may be left to a thread."""


REFUSALS = (
    "backlog_full",
    "body_timeout",
    "body_too_large",
    "invalid_readings",
    "malformed_body",
    "overloaded",
    "rate_limited",
    "stream_full",
    "stream_unavailable",
    "too_many_series",
    "unsupported_encoding",
)
"""Codes that a request of any door may meet; those of keys and parameters are beside them where there are such."""


class Ack(enum.StrEnum):
    """How far the answer promises: in the stream, on disk there, or committed in the database."""

    QUEUED = "queued"
    DURABLE = "durable"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class IngestParameters:
    """What a request asks for, however its protocol says it.

    Attributes:
        ack: how far the answer promises.
        partial: whether the good readings are taken where others are wrong.
        key: the request's Idempotency-Key; None where a repeat is a new batch.
        natural: whether only the first reading of a sensor and instant is stored (`dedup=natural`).
        encodings: the content encodings that its body may have.
        encoding: the one of a body whose headers name none.
        slow: whether a large body may take so long to decode that this is left to a thread, as of labelled series that
            nobody has met.
    """

    ack: Ack = Ack.DURABLE
    partial: bool = False
    key: str | None = None
    encodings: Sequence[str] = ENCODINGS
    encoding: str = IDENTITY
    slow: bool = False
    natural: bool = False


class Acceptance(msgspec.Struct, frozen=True, gc=False):
    """What became of a request's readings.

    Attributes:
        batch_id: of the batch that they are; None where the body had nothing that is kept.
        rows: how many were taken.
        faults: of those that were not.
        repeated: whether they had been stored under their key before, and were not taken again.
        timed_out: whether `ack=stored` was asked for, and the ledger did not have them in time.
        skipped: how many values of which kind came beside them that are not kept.
    """

    batch_id: uuid.UUID | None
    rows: int
    faults: list[Fault]
    repeated: bool = False
    timed_out: bool = False
    skipped: Mapping[str, int] = MappingProxyType({})


class Asked(NamedTuple):
    """What a request asks of its door.

    Attributes:
        parameters: how its readings are taken.
        decode: reads its body.
        answer: returns the answer to what became of it.
    """

    parameters: IngestParameters
    decode: Decoder
    answer: Callable[[Acceptance], Response]


@dataclass(slots=True)
class Request:
    """A request at a door: who sends it, its headers, and its body, which is still to be read.

    Attributes:
        door: the name of the door's protocol.
        caller: who sends it.
        headers: by their names, in small letters.
        receive: the body's source.
        arrived: whether all of the body is here.
        in_flight: counts what the request holds.
    """

    door: str
    caller: Caller
    headers: Mapping[bytes, bytes]
    receive: Receive
    arrived: bool
    in_flight: RequestInFlight


@dataclass(frozen=True, slots=True)
class Acceptor:
    """Takes batches in, for all doors. One a process."""

    settings: IngestSettings
    admission: Admission
    rates: Rates
    group_commit: GroupCommit
    receipts: Receipts
    window: Window
    passed_over: PassedOver
    new_series: NewSeries

    async def accept(self, request: Request, parameters: IngestParameters, decode: Decoder) -> Acceptance:
        """Take one request's readings in, and return when as much is certain as `parameters` ask for.

        What can be refused without the body is refused before it is read. A key is looked up in the ledger before the
        write, so that a repeat costs the stream nothing, and once more behind it: the batch of another body with this
        key may have been stored, and have left the stream, between the look and the write.

        Raises:
            Problem: whatever the client can mend or must wait for.
            ClientDisconnect: the client went away before its body had arrived.
        """
        taken = await self._take(request, parameters, decode)
        if isinstance(taken, Acceptance):
            return taken
        # What is still to be waited for holds no body.
        request.in_flight.release()
        timed_out = taken.settled is not None and not await self._stored(taken, taken.settled)
        return acceptance(taken, timed_out=timed_out)

    def takes_whole(self, caller: Caller, headers: Mapping[bytes, bytes], parameters: IngestParameters) -> bool:
        """Tell whether `accept_whole` takes what is asked for so: nothing but the stream must be waited for."""
        return (
            parameters.key is None
            and parameters.ack is not Ack.STORED
            and caller.series_per_hour is None
            and content_encoding(headers, parameters.encoding) == IDENTITY
        )

    def accept_whole(self, door: str, caller: Caller, asked: Asked, body: bytes, done: Done) -> bool:
        """Put the readings of a request that is here whole on their way; it is one that `takes_whole` tells.

        Nothing has been counted or taken where this returns False or raises, so that `accept` may be asked as if for
        the first time.

        Args:
            door: the name of the door's protocol.
            caller: who sends it.
            asked: what the door says of it.
            body: as sent.
            done: hears what becomes of the readings.

        Returns:
            Whether they are on their way.

        Raises:
            Problem: whatever the client can mend or must wait for.
        """
        parameters = asked.parameters
        if len(body) > self.settings.max_body_bytes or (parameters.slow and len(body) >= _LARGE):
            return False
        self._check(caller)
        decoded = asked.decode(body, self.settings.max_rows)
        if not isinstance(decoded, Decoded):
            # It is read elsewhere, and has not begun.
            if isinstance(decoded, Coroutine):
                decoded.close()
            return False
        rows = len(decoded)
        if not rows:
            return False
        self.rates.count_request(caller)
        self.passed_over.count(door, caller.name, decoded.skipped)
        self.rates.count_rows(caller, rows)
        self.group_commit.put(_pending(caller, parameters, decoded, rows, size=len(body), traceparent=None, done=done))
        return True

    async def _take(self, request: Request, parameters: IngestParameters, decode: Decoder) -> Accepted | Acceptance:
        """Put one request's readings into the stream, and let go of its body; or tell that they are stored already."""
        caller = request.caller
        self._check(caller)
        self.rates.count_request(caller)
        body = await read_body(
            request.headers,
            request.receive,
            self.settings,
            request.in_flight,
            encodings=parameters.encodings,
            unsaid=parameters.encoding,
            arrived=request.arrived,
        )
        if parameters.slow and len(body) >= _LARGE:
            decoded = await asyncio.to_thread(decode, body, self.settings.max_rows)
        else:
            decoded = decode(body, self.settings.max_rows)
        if not isinstance(decoded, Decoded):
            decoded = await decoded
        self.passed_over.count(request.door, caller.name, decoded.skipped)
        if not len(decoded) and not decoded.faults:
            return Acceptance(None, 0, [], skipped=decoded.skipped)
        if caller.series_per_hour is not None:
            await self.new_series.check(caller, decoded.readings.sensor_ids)
        rows = len(decoded)
        self.rates.count_rows(caller, rows)
        done: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        batch = _pending(
            caller, parameters, decoded, rows, size=len(body), traceparent=current_traceparent(), done=done
        )
        if batch.batch_id is not None:
            repeat = await self._repeat(batch.batch_id, decoded, partial=parameters.partial)
            if repeat is not None:
                return repeat
        self.group_commit.put(batch)
        accepted = await done
        if accepted.digest is not None:
            _own(await self._receipt(accepted.batch_id), accepted.digest)
        return accepted

    def _check(self, caller: Caller) -> None:
        """Let a request pass whose body is not looked at yet.

        Raises:
            Problem: `rate_limited`, or what the stream refuses everybody for.
        """
        self.rates.check(caller)
        self.admission.check()

    async def _repeat(self, batch_id: uuid.UUID, decoded: Decoded, *, partial: bool) -> Acceptance | None:
        """Return the answer to a key that is stored already; the stream takes whatever is not.

        Raises:
            Problem: `key_reused`, or `invalid_readings`.
        """
        receipt = await self._receipt(batch_id)
        if receipt is None:
            return None
        columns, faults, _ = check(decoded, self.window.limits(), partial=partial)
        if not _own(receipt, digest(columns)):
            return None
        if faults:
            _count(faults)
        return Acceptance(batch_id, len(columns), faults, repeated=True, skipped=decoded.skipped)

    async def _stored(self, accepted: Accepted, settled: asyncio.Event) -> bool:
        """Wait for the commit, and tell whether it came in time.

        Raises:
            Problem: `batch_dead`, or `key_reused` where another body of the key was stored before.
        """
        receipt = await stored_receipt(self.receipts, accepted, settled, self.settings.stored_timeout)
        if receipt is None:
            return False
        if receipt.digest != accepted.digest:
            raise key_reused()
        if receipt.verdict.outcome is Outcome.DEAD:
            raise Problem(
                "batch_dead",
                f"batch {accepted.batch_id} is kept as a dead letter: {receipt.verdict.reason}",
                batch_id=str(accepted.batch_id),
            )
        return True

    async def _receipt(self, batch_id: uuid.UUID) -> Receipt | None:
        """Look once into the ledger; a database that is away knows nothing, and ingestion goes on."""
        try:
            return await self.receipts.find(batch_id)
        except ReceiptsUnavailableError:
            return None


def acceptance(accepted: Accepted, *, timed_out: bool = False) -> Acceptance:
    """Return what became of readings that are in the stream, and count those that were left out."""
    if accepted.faults:
        _count(accepted.faults)
    return Acceptance(accepted.batch_id, accepted.rows, accepted.faults, timed_out=timed_out, skipped=accepted.skipped)


def _pending(
    caller: Caller,
    parameters: IngestParameters,
    decoded: Decoded,
    rows: int,
    *,
    size: int,
    traceparent: str | None,
    done: Done,
) -> PendingBatch:
    """Return the batch of a caller's readings, so many rows, which came in a body of `size` bytes."""
    return PendingBatch(
        decoded,
        done,
        rows,
        parameters.partial,
        decoded.label_bytes or (size if decoded.readings.series else 0),
        None if parameters.key is None else keyed_id(caller.name, parameters.key),
        traceparent,
        parameters.ack is not Ack.QUEUED,
        parameters.ack is Ack.STORED,
        parameters.natural,
    )


def _own(receipt: Receipt | None, digest: bytes) -> bool:
    """Tell whether a receipt says that the readings of `digest` are stored; a dead letter's key may be sent again.

    Raises:
        Problem: `key_reused`: it is of other readings.
    """
    if receipt is None:
        return False
    if receipt.digest != digest:
        raise key_reused()
    return receipt.verdict.outcome is not Outcome.DEAD


def _count(faults: list[Fault]) -> None:
    for code, count in Counter(fault.code for fault in faults).items():
        metrics.rows_rejected.add(count, {"code": code})
