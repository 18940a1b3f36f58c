"""The load of a proof by a door of agents: nobody sends an Idempotency-Key, and what has no answer comes again.

An agent gathers rounds, a row of each of its series at one instant, and sends the first rows of what it has gathered.
Behind a failure Prometheus and OpenTelemetry's SDKs send the very request again. Telegraf takes the first rows of its
buffer anew, so that those that failed come back beside newer ones, or are cut off within a round.

A row's value is its number, and each agent has numbers of its own. The journal has rows before they are first sent, and
again with what became of each attempt. Some answers an agent does not wait for, as if they were lost on their way.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import cramjam
import uvloop
from millrace_client.outcomes import Outcome, State, unanswered
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2

from services.ingest.doors.remote_write.messages import LABEL, REQUEST_1
from services.sender.connection import Connection, NotConnectedError
from services.sender.journal import Journal
from services.sender.readings import Batch

__all__ = ["DOORS", "Agent", "Door", "Row"]

_NAME = "sensor-load"
_AGENTS = 4
_ROWS_OF_AN_AGENT = 10**9
_ROUND = 20
"""Rows of an instant, one of each series of an agent."""

_ROUNDS_GATHERED = 7
"""At most, from one attempt to the next."""

_MOST = 110
"""Rows of a request at most; it ends within a round where more wait."""

_ANSWERED_WITHIN = 2.0
"""Seconds, fewer than parts are paused for: what an agent sends again may overtake what it sent before."""

_BEHIND = 86_400
"""Seconds that the agents' clock is behind, so that a millisecond a round never comes to the future."""

_AGAIN = (429, 502, 503, 504)
_LOST = 0.03
"""Share of answers that are not waited for."""


class Row(NamedTuple):
    """A reading: its value, which is its number, its time in milliseconds since 1970, and the labels of its series."""

    value: int
    millis: int
    labels: Mapping[str, str]


class Door(NamedTuple):
    """How agents send to a door.

    Attributes:
        path: where to.
        headers: of each request.
        body: writes rows.
        regroups: whether rows that failed come back beside newer ones, and not in the same request.
    """

    path: str
    headers: Mapping[str, str]
    body: Callable[[Iterator[Row]], bytes]
    regroups: bool = False


def _lines(rows: Iterator[Row]) -> bytes:
    return "".join(
        f"{_NAME},{','.join(map('='.join, row.labels.items()))} value={row.value} {row.millis}000000\n" for row in rows
    ).encode()


def _samples(rows: Iterator[Row]) -> bytes:
    request = REQUEST_1()
    for value, millis, labels in rows:
        named = {"__name__": _NAME, **labels}
        packed = [LABEL(name=name, value=text).SerializeToString() for name, text in named.items()]
        request.timeseries.add(labels=packed, samples=[{"value": value, "timestamp": millis}])
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def _points(rows: Iterator[Row]) -> bytes:
    service: Any = metrics_service_pb2  # its types do not say that dicts stand for messages
    points = [
        {"time_unix_nano": row.millis * 1_000_000, "as_double": row.value, "attributes": _attributes(row.labels)}
        for row in rows
    ]
    metric = {"name": _NAME, "gauge": {"data_points": points}}
    scope = {"scope_metrics": [{"metrics": [metric]}]}
    body: bytes = service.ExportMetricsServiceRequest(resource_metrics=[scope]).SerializeToString()
    return body


def _attributes(labels: Mapping[str, str]) -> list[common_pb2.KeyValue]:
    return [
        common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=text)) for name, text in labels.items()
    ]


_PROTOBUF = {"content-type": "application/x-protobuf"}
DOORS: Mapping[str, Door] = {
    "line": Door("/write", {}, _lines, regroups=True),
    "remote_write": Door("/api/v1/write", {**_PROTOBUF, "content-encoding": "snappy"}, _samples),
    "otlp": Door("/v1/metrics", _PROTOBUF, _points),
}


class Agent:
    """Sends its rows by a door until it is cancelled."""

    def __init__(self, number: int, door: Door, url: SplitResult, journal: Journal, seed: int) -> None:
        self._number = number
        self._door = door
        self._connection = Connection(url)
        self._journal = journal
        self._dice = random.Random(f"{seed}/{number}")  # noqa: S311 -- to be repeated, not to be secret
        self._began = round((time.time() - _BEHIND) * 1000)

    async def run(self) -> None:
        """Gather and send for ever."""
        first = end = gathered = self._number * _ROWS_OF_AN_AGENT
        while True:
            if self._door.regroups or first == end:
                gathered += _ROUND * self._dice.randint(1, _ROUNDS_GATHERED)
                known, end = end, min(first + _MOST, gathered)
                self._note(known, end, Outcome(State.SENT))
            outcome = await self._attempt(first, end)
            self._note(first, end, outcome)
            if outcome.state is State.ACKED:
                first = end
            await asyncio.sleep(self._dice.uniform(0.1, 0.5) if outcome.again else self._dice.uniform(0.0, 0.05))

    async def _attempt(self, first: int, end: int) -> Outcome:
        body = self._door.body(map(self._row, range(first, end)))
        try:
            answer = await self._connection.post(self._door.path, dict(self._door.headers), body, _ANSWERED_WITHIN)
        except OSError as error:
            return unanswered(error, connected=not isinstance(error, NotConnectedError))
        if self._dice.random() < _LOST:
            return Outcome(State.UNKNOWN, why="the answer is taken as lost", again=True)
        if answer.status in _AGAIN:
            return Outcome(State.UNKNOWN, answer.status, again=True)
        # What is refused for good an agent throws away: it is lost if it is not stored, and must be found to be.
        return Outcome(State.ACKED, answer.status)

    def _note(self, first: int, end: int, outcome: Outcome) -> None:
        if first < end:
            self._journal.note(Batch(self._number, first, end - first, b""), None, outcome)

    def _row(self, value: int) -> Row:
        of_round, series = divmod(value - self._number * _ROWS_OF_AN_AGENT, _ROUND)
        return Row(value, self._began + of_round, {"agent": str(self._number), "part": str(series)})


async def _send(door: Door, url: SplitResult, path: Path, seed: int) -> None:
    with Journal(path) as journal:
        await asyncio.gather(*(Agent(number, door, url, journal, seed).run() for number in range(_AGENTS)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_send(DOORS[sys.argv[1]], urlsplit(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
