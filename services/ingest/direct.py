"""The direct way in: a request that is here whole is taken as it is read, and answered as its entry is committed.

No task, future or ASGI message stands between: for small requests these cost more than the readings. Rules are those
of the `fast_path`, by the same calls. Whatever is not plain, or would be refused, is left to it, and nothing has been
counted or taken then.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from starlette.responses import Response

from services.platform.http.auth import Caller
from services.platform.http.direct import Left, Take
from services.platform.http.errors import Problem
from services.platform.http.http11 import Header
from services.platform.http.parameters import by_name
from services.platform.runtime import metrics
from services.platform.runtime.telemetry import is_sampled

from .accept import Acceptor, Asked, acceptance
from .commit.pending import Accepted
from .fast_path import SAMPLED, Door, refused
from .limits.in_flight import InFlight, RequestInFlight

__all__ = ["DirectWay"]

log = structlog.get_logger(__name__)

_TRACED: Left = {SAMPLED: True}
_UNTRACED: Left = {SAMPLED: False}


class DirectWay:
    """Knows who takes the requests at doors that are here whole. One a process."""

    def __init__(self, doors: Iterable[Door], acceptor: Acceptor, in_flight: InFlight, root_path: str) -> None:
        """`root_path` is the prefix that a proxy may have left before the doors' paths."""
        self._doors = {f"{prefix}{door.path}".encode(): door for door in doors for prefix in {"", root_path}}
        self._acceptor = acceptor
        self._in_flight = in_flight

    def __call__(self, target: bytes, headers: Sequence[Header]) -> Take | None:
        """Return what takes POSTs of this head; None where they are the application's.

        Pages of other origins are left to the middleware that knows which of them may send, traced requests to the
        way that has a span.
        """
        path, _, query = target.partition(b"?")
        door = self._doors.get(path)
        if door is None:
            return None
        try:
            named = by_name(headers)
        except Problem:
            return None
        traceparent = named.get(b"traceparent")
        if b"origin" in named or (traceparent is not None and is_sampled(traceparent.decode("latin-1"))):
            return None
        return _Taker(door, query, named, self._acceptor, self._in_flight).take


class _Taker:
    """Takes requests of one head."""

    def __init__(
        self, door: Door, query: bytes, headers: Mapping[bytes, bytes], acceptor: Acceptor, in_flight: InFlight
    ) -> None:
        self.door = door
        self._query = query
        self.headers = headers
        self._acceptor = acceptor
        self._in_flight = in_flight
        self._caller: Caller | None = None
        self._asked: Asked | None = None

    def take(self, body: bytes, answer: Callable[[Response], None]) -> Left | None:
        """Take a request, and answer it later; or leave it."""
        began = time.perf_counter()
        if b"traceparent" not in self.headers and is_sampled(None):
            return _TRACED
        try:
            caller = self.door.credentials(self.headers, self._query)
            asked = self._asked_by(caller)
            taken = asked is not None and self._put(caller, asked, body, began, answer)
        except Exception:  # noqa: BLE001 -- the fast path meets it again, and answers
            taken = False
        return None if taken else _UNTRACED

    def _asked_by(self, caller: Caller) -> Asked | None:
        """Return what the head asks for where a caller shows it; None where more than the stream is waited for.

        Raises:
            Problem: whatever the client can mend.
        """
        if self._caller is not caller:
            asked = self.door.asked(caller, self._query, self.headers)
            whole = self._acceptor.takes_whole(caller, self.headers, asked.parameters)
            self._caller, self._asked = caller, asked if whole else None
        return self._asked

    def _put(self, caller: Caller, asked: Asked, body: bytes, began: float, answer: Callable[[Response], None]) -> bool:
        """Put a request's readings on their way, and tell whether they are.

        Raises:
            Problem: it must be refused.
        """
        in_flight = self._in_flight.request(len(body))
        taken = False
        try:
            under_way = _UnderWay(self, asked, in_flight, began, answer)
            taken = self._acceptor.accept_whole(self.door.name, caller, asked, body, under_way)
        finally:
            if not taken:
                in_flight.end()
        return taken


class _UnderWay:
    """A request whose readings are on their way; it answers as soon as it hears of them."""

    __slots__ = ("_answer", "_asked", "_began", "_heard", "_in_flight", "_taker")

    def __init__(
        self,
        taker: _Taker,
        asked: Asked,
        in_flight: RequestInFlight,
        began: float,
        answer: Callable[[Response], None],
    ) -> None:
        self._taker = taker
        self._asked = asked
        self._in_flight = in_flight
        self._began = began
        self._answer = answer
        self._heard = False

    def done(self) -> bool:
        """Tell whether it has answered."""
        return self._heard

    def cancelled(self) -> bool:
        """Return False: a request that was taken goes into the stream, though its client may be gone."""
        return False

    def set_result(self, accepted: Accepted) -> None:
        """Answer that the readings are taken."""
        try:
            response = self._asked.answer(acceptance(accepted))
        except Exception as error:  # noqa: BLE001 -- as the fast path does
            response = refused(self._taker.door, self._taker.headers, error)
        else:
            metrics.request_seconds.record(time.perf_counter() - self._began, response.status_code)
        self._end(response)

    def set_exception(self, error: Exception) -> None:
        """Answer why they are not."""
        if isinstance(error, Problem):
            metrics.refused_requests.add(1, {"code": error.code})
        self._end(refused(self._taker.door, self._taker.headers, error))

    def _end(self, response: Response) -> None:
        self._heard = True
        self._in_flight.end()
        try:
            self._answer(response)
        except Exception:
            # The others of the entry are still to be answered.
            log.exception("an answer could not be written", action="ingest")
