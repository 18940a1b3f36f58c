"""Messages to requests: each is acknowledged when ingest says that its readings are durable, or refuses them."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
from millrace_client.outcomes import Outcome, State

from services.platform.runtime import metrics
from services.platform.runtime.health import Health
from services.platform.settings import MqttSettings
from services.sender.connection import Connection
from services.sender.posting import attempt
from services.sender.retries import until_final

from .broker import Broker, Message
from .held import Held, InHand
from .payloads import Made, MalformedError, readings_of
from .topics import Called, Template

__all__ = ["Bridge"]

log = structlog.get_logger(__name__)

_BLOCKED = 5.0
"""Seconds to the next attempt where only people can mend what is wrong, such as a missing key."""
_TOO_MUCH = {"too_many_rows", "body_too_large", "malformed_body"}
"""Codes that blame a request, and may be one message's fault."""
_MOST_REMEMBERED = 100_000
_GAP = 60.0
"""Seconds between lines of the log about messages of one sort that bring nothing."""


class Bridge:
    """One process's bridge."""

    def __init__(self, settings: MqttSettings, key: str | None, templates: Sequence[Template], health: Health) -> None:
        """Put it together; nothing connects before `run`.

        Args:
            settings: broker, bounds, and where ingest is.
            key: API key for ingest; None where none is asked for.
            templates: of topics; the first that fits a topic says what it means.
            health: its parts `broker` and `ingest` tell whether both are there.

        Raises:
            StartError: a file of the certificates cannot be used.
        """
        self._settings = settings
        self._templates = templates
        self._health = health
        self._time_fields = [name.strip() for name in settings.time_fields.split(",") if name.strip()]
        self._called: dict[str, Called | None] = {}
        self._url = urlsplit(settings.ingest_url)
        self._target = f"{self._url.path.rstrip('/')}/ingest?ack=durable&partial=true&dedup=reading"
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        filters = [template.filter for template in templates]
        self._broker = Broker(settings, filters, health, heard=self._take, resumed=self._resumed)
        self._in_hand = InHand(self._broker.acknowledge)
        self._complaints = Complaints()
        metrics.mqtt_messages_in_hand.show(lambda: len(self._in_hand))

    async def run(self, stop: asyncio.Event) -> None:
        """Bring messages until `stop`, then finish the requests under way; what is not acknowledged comes again."""
        self._broker.start()
        # Ingest is taken to be there until a request to it fails.
        self._health.has("ingest")
        try:
            await asyncio.gather(*(self._work(stop) for _ in range(self._settings.connections)))
        finally:
            await asyncio.to_thread(self._broker.stop)

    def _resumed(self, connection: int) -> None:
        self._in_hand.resumed(connection)

    def _take(self, message: Message) -> None:
        """Take a message in hand; what brings no readings is counted, and done, for it would come again for ever."""
        if message.qos == 0 and len(self._in_hand) >= self._settings.max_inflight:
            self._complaints.count("dropped", message.topic, "more messages of quality of service 0 than can be sent")
            return
        try:
            made = self._made(message)
        except MalformedError as error:
            self._complaints.count("malformed", message.topic, str(error))
            made = Made([], timed=False)
        else:
            if not made.readings:
                self._complaints.count("empty", message.topic, "its object has no numbers")
            elif message.retained and not made.timed:
                # It was published at some time before; the time of its arrival would be a lie.
                self._complaints.count("retained", message.topic, "it was retained, and does not say its time")
                made = Made([], timed=False)
        self._in_hand.take(Held(message, made.readings))

    def _made(self, message: Message) -> Made:
        if message.topic not in self._called:
            if len(self._called) >= _MOST_REMEMBERED:
                self._called.clear()
            found = (template.called(message.topic) for template in self._templates)
            self._called[message.topic] = next((called for called in found if called), None)
        called = self._called[message.topic]
        if called is None:
            raise MalformedError("its topic is of no template; the session may have an older subscription")
        return readings_of(message.payload, called, self._time_fields, time.time_ns() // 1000)

    async def _work(self, stop: asyncio.Event) -> None:
        """Send batch after batch over one connection."""
        connection = Connection(self._url)
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                waiting = asyncio.create_task(self._in_hand.batch(self._settings.batch_messages))
                await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    break
                await self._send(connection, waiting.result())
        finally:
            stopping.cancel()
            connection.close()

    async def _send(self, connection: Connection, batch: list[Held]) -> None:
        """See a batch through: in one request or, where it is too much for one, in more."""
        parts = [batch]
        while parts:
            part = parts.pop()
            readings = [reading for held in part for reading in held.readings]
            outcome = await self._posted(connection, readings)
            if outcome.state is State.ACKED:
                taken = len(part) - self._refused(part, outcome)
                metrics.mqtt_messages.add(taken, {"outcome": "taken"})
            elif outcome.code in _TOO_MUCH and len(part) > 1:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                continue
            elif outcome.code in {"invalid_readings", *_TOO_MUCH}:
                self._complaints.count("refused", part[0].message.topic, outcome.why, len(part))
            else:
                self._health.lacks("ingest", outcome.why)
                await asyncio.sleep(_BLOCKED)
                parts.append(part)
                continue
            self._in_hand.done(part)

    async def _posted(self, connection: Connection, readings: list[dict[str, Any]]) -> Outcome:
        """Post readings until there is an answer that waiting does not change, with the pauses that ingest asks for.

        Each reading is stored once, however often and beside whatever others it is sent.
        """
        body = orjson.dumps(readings)

        async def attempted() -> Outcome:
            outcome = await attempt(connection, self._target, self._headers, body)
            if outcome.again:
                self._health.lacks("ingest", outcome.why)
            elif outcome.state is State.ACKED:
                self._health.has("ingest")
            return outcome

        return await until_final(attempted, patience=float("inf"), keyed=True, retries=lambda: None)

    def _refused(self, part: Sequence[Held], outcome: Outcome) -> int:
        """Count and return the messages of which ingest refused readings; it names the first hundred readings."""
        if not outcome.faults:
            return 0
        owners = [held for held in part for _ in held.readings]
        first = outcome.faults[0]
        refused = len({id(owners[fault["index"]]) for fault in outcome.faults})
        self._complaints.count("refused", owners[first["index"]].message.topic, first["message"], refused)
        return refused


class Complaints:
    """Counts messages that bring nothing, and tells of them in the log once in a while."""

    def __init__(self) -> None:
        self._untold = Counter[str]()
        self._again: dict[str, float] = {}

    def count(self, outcome: str, topic: str, why: str, messages: int = 1) -> None:
        """Count messages of which one came from `topic`."""
        metrics.mqtt_messages.add(messages, {"outcome": outcome})
        self._untold[outcome] += messages
        now = time.monotonic()
        if now >= self._again.get(outcome, 0.0):
            self._again[outcome] = now + _GAP
            log.warning(
                "messages are not stored", action="pass_over", outcome=outcome, messages=self._untold.pop(outcome),
                topic=topic, why=why,
            )  # fmt: skip
