"""The way of one request: parameters, admission, body, columns, stream, answer."""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from starlette.responses import Response
from starlette.types import Receive

from services.contract import Columns, Outcome, keyed_id
from services.platform.http.auth import Caller
from services.platform.http.errors import Problem
from services.platform.runtime import metrics
from services.platform.runtime.telemetry import current_traceparent, request_span
from services.platform.settings import IngestSettings

from ...body import read_body
from ...commit.group_commit import StreamWriter, key_reused
from ...commit.pending import Accepted, Wish
from ...limits.admission import Admission
from ...limits.in_flight import Held, Load
from ...limits.rates import Rates
from ...limits.window import Window
from ...readings import SHOWN_FAULTS, Fault, checked
from ...store import Receipt, Receipts, ReceiptsUnavailableError
from ...stored import stored_receipt
from .decode import read_json
from .requests import Ack, Asked, asked

__all__ = ["Acceptance", "Request"]

_STATUS = {Ack.QUEUED: 202, Ack.DURABLE: 200, Ack.STORED: 200}


@dataclass(slots=True)
class Request:
    """A `POST /ingest`: who sends it, its query string and headers, its body's source, whether all of it is here."""

    caller: Caller
    query: bytes
    headers: Mapping[bytes, bytes]
    receive: Receive
    arrived: bool


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Takes batches in. One a process."""

    settings: IngestSettings
    admission: Admission
    rates: Rates
    load: Load
    writer: StreamWriter
    receipts: Receipts
    window: Window

    async def take(self, request: Request) -> Response:
        """Answer one `POST /ingest`.

        Raises:
            Problem: whatever the client can mend or must wait for.
            ClientDisconnect: the client went away before its body had arrived.
        """
        began = time.perf_counter()
        traceparent = request.headers.get(b"traceparent", b"").decode("latin-1")
        with request_span("ingest", traceparent) as span:
            try:
                with self.load.request() as held:
                    response = await self._take(request, held)
            except Problem as problem:
                metrics.refused_requests.add(1, {"code": problem.code})
                span.set_attribute("millrace.code", problem.code)
                raise
            metrics.request_seconds.record(time.perf_counter() - began, {"status": response.status_code})
            return response

    async def _take(self, request: Request, held: Held) -> Response:
        wanted = asked(request.query, request.headers)
        self.rates.check(request.caller)
        self.admission.check()
        body = await read_body(request.headers, request.receive, self.settings, held, arrived=request.arrived)
        rows = read_json(body, self.settings.max_rows)
        wish = Wish(
            rows,
            traceparent=current_traceparent(),
            durable=wanted.ack is not Ack.QUEUED,
            notify=wanted.ack is Ack.STORED,
        )
        faults: list[Fault] = []
        if rows.faults or wanted.partial or wanted.key is not None:
            columns, faults = checked(rows, self.window.limits(), partial=wanted.partial)
            wish.readings = columns
            if wanted.key is not None:
                wish.batch_id, wish.digest = keyed_id(request.caller.name, wanted.key), _digest(columns)
        self.rates.count_rows(request.caller, len(wish.readings))
        if faults:
            for code, count in Counter(fault.code for fault in faults).items():
                metrics.rows_rejected.add(count, {"code": code})
        if wish.batch_id is not None and wish.digest is not None:
            known = await self._known(wish.batch_id, wish.digest)
            if known is not None:
                return _answer(wish.batch_id, len(wish.readings), faults, _STATUS[wanted.ack], repeated=True)
        accepted = await self.writer.put(wish)
        if wish.digest is not None:
            # Another body of this key may have been stored and settled between the look above and the write.
            await self._known(accepted.batch_id, wish.digest)
        held.release()
        status = await self._settled(wanted, accepted, wish.digest)
        return _answer(accepted.batch_id, len(wish.readings), faults, status, repeated=False)

    async def _known(self, batch_id: uuid.UUID, digest: bytes) -> Receipt | None:
        """Return the receipt of a key that is stored already; the stream takes whatever is not."""
        receipt = await self._receipt(batch_id)
        if receipt is None:
            return None
        if receipt.digest != digest:
            raise key_reused()
        return None if receipt.verdict.outcome is Outcome.DEAD else receipt

    async def _settled(self, wanted: Asked, accepted: Accepted, digest: bytes | None) -> int:
        """Wait for the commit where it was asked for, and return the status of the answer."""
        if accepted.settled is None:
            return _STATUS[wanted.ack]
        receipt = await stored_receipt(self.receipts, accepted, accepted.settled, self.settings.stored_timeout)
        if receipt is None:
            return 202
        if receipt.digest != digest:
            raise key_reused()
        if receipt.verdict.outcome is Outcome.DEAD:
            raise Problem(
                "batch_dead",
                f"batch {accepted.batch_id} is kept as a dead letter: {receipt.verdict.reason}",
                batch_id=str(accepted.batch_id),
            )
        return 200

    async def _receipt(self, batch_id: uuid.UUID) -> Receipt | None:
        """Look once into the ledger; a database that is away knows nothing, and ingestion goes on."""
        try:
            return await self.receipts.find(batch_id)
        except ReceiptsUnavailableError:
            return None


def _digest(columns: Columns) -> bytes:
    """Hash the readings, in their order; spelling and compression of the body do not matter."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(columns.sensor_ids).encode())
    for column in (columns.index, columns.timestamps, columns.values):
        digest.update(column.tobytes())
    return digest.digest()


def _answer(batch_id: uuid.UUID, accepted: int, faults: list[Fault], status: int, *, repeated: bool) -> Response:
    body = {"batch_id": batch_id, "accepted": accepted, "rejected": faults[:SHOWN_FAULTS]}
    headers = {"Idempotent-Replayed": "true"} if repeated else None
    return Response(orjson.dumps(body), status, headers, "application/json")
