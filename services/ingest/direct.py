"""The direct way in: a request that is here whole is taken as it is read, and answered as its entry is committed.

No task, future or ASGI message stands between: for small requests these cost more than the readings. Rules are those
of the `fast_path`, by the same calls. Whatever is not plain, or would be refused, is left to it, and nothing has been
counted or taken then.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

from starlette.responses import Response

from services.platform.http.direct import Left, WholeRequest
from services.platform.http.errors import Problem
from services.platform.http.parameters import by_name
from services.platform.runtime import metrics
from services.platform.runtime.telemetry import is_sampled

from .accept import Acceptor, Asked, acceptance
from .commit.pending import Accepted
from .fast_path import SAMPLED, Door, refused
from .limits.in_flight import InFlight, RequestInFlight

__all__ = ["DirectWay"]

_NOT_OURS: Left = {}


class DirectWay:
    """Takes the requests at doors that are here whole. One a process."""

    def __init__(self, doors: Iterable[Door], acceptor: Acceptor, in_flight: InFlight, root_path: str) -> None:
        """`root_path` is the prefix that a proxy may have left before the doors' paths."""
        self._doors = {f"{prefix}{door.path}".encode(): door for door in doors for prefix in {"", root_path}}
        self._acceptor = acceptor
        self._in_flight = in_flight

    def __call__(self, request: WholeRequest, answer: Callable[[Response], None]) -> Left | None:
        """Take a POST, and answer it later; or leave it.

        Pages of other origins are left to the middleware that knows which of them may send, traced requests to the
        way that has a span.
        """
        path, _, query = request.target.partition(b"?")
        door = self._doors.get(path)
        if door is None:
            return _NOT_OURS
        began = time.perf_counter()
        headers = dict(request.headers)
        sampled = is_sampled(headers.get(b"traceparent", b"").decode("latin-1"))
        if not sampled and b"origin" not in headers:
            # What is raised, the fast path meets again, and answers.
            with contextlib.suppress(Exception):
                if self._take(door, query, by_name(request.headers), request.body, began, answer):
                    return None
        return {SAMPLED: sampled}

    def _take(
        self,
        door: Door,
        query: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes,
        began: float,
        answer: Callable[[Response], None],
    ) -> bool:
        """Take a request, and tell whether it is taken.

        Raises:
            Problem: it must be refused.
        """
        caller = door.credentials(headers, query)
        asked = door.asked(caller, query, headers)
        in_flight = self._in_flight.request()
        taken = False
        try:
            in_flight.take(len(body))
            under_way = _UnderWay(door, headers, asked, in_flight, began, answer)
            taken = self._acceptor.accept_whole(door.name, caller, headers, body, asked, under_way)
        finally:
            if not taken:
                in_flight.end()
        return taken


class _UnderWay:
    """A request whose readings are on their way; it answers as soon as it hears of them."""

    __slots__ = ("_answer", "_asked", "_began", "_door", "_headers", "_heard", "_in_flight")

    def __init__(
        self,
        door: Door,
        headers: Mapping[bytes, bytes],
        asked: Asked,
        in_flight: RequestInFlight,
        began: float,
        answer: Callable[[Response], None],
    ) -> None:
        self._door = door
        self._headers = headers
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
            response = refused(self._door, self._headers, error)
        else:
            metrics.request_seconds.record(time.perf_counter() - self._began, {"status": response.status_code})
        self._end(response)

    def set_exception(self, error: Exception) -> None:
        """Answer why they are not."""
        if isinstance(error, Problem):
            metrics.refused_requests.add(1, {"code": error.code})
        self._end(refused(self._door, self._headers, error))

    def _end(self, response: Response) -> None:
        self._heard = True
        self._in_flight.end()
        self._answer(response)
