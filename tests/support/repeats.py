"""Senders that know no Idempotency-Key, one for each door and way in which it knows what comes again.

They send rounds: readings of ten series at one instant, whose values are numbers that no other reading has. So the
values of a table tell what is lost and what is doubled.
"""

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import httpx
import orjson

from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings
from services.prove.agents import DOORS, Row
from tests.unit.ingest.test_lorawan import CHIRPSTACK, TTN

from .faults import Failpoints, drained, ended
from .patience import eventually
from .readings import rows_in, sql
from .service import Service

__all__ = ["ROUND", "SENDERS", "Sender", "held_once", "killed_and_sent_again", "round_of", "values"]

ROUND = 10
_BEHIND = 3_600_000
"""Milliseconds that the first round's instant lies behind the start of the tests."""
_START = time.time_ns() // 1_000_000 - _BEHIND


class Sender(NamedTuple):
    """How rounds are sent to a door.

    Attributes:
        path: where to.
        headers: of each request.
        body: writes rows.
        regroups: whether a round is known beside others, and not in the same request alone.
    """

    path: str
    headers: Mapping[str, str]
    body: Callable[[Iterator[Row]], bytes]
    regroups: bool = False

    async def post(self, url: str, *rounds: int) -> None:
        """Send rounds in one request, and see that it is taken."""
        rows = (row for number in rounds for row in round_of(number))
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            answer = await client.post(self.path, content=self.body(rows), headers=self.headers)
        assert answer.is_success, answer.text


def round_of(number: int) -> list[Row]:
    """Return the readings of a round."""
    return [Row(number * ROUND + part, _START + number, {"part": str(part)}) for part in range(ROUND)]


def _instant(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat()


def _readings(rows: Iterator[Row]) -> bytes:
    return orjson.dumps(
        [{"sensor_id": row.labels["part"], "timestamp": _instant(row.millis), "value": row.value} for row in rows]
    )


def _uplink(rows: Sequence[Row]) -> tuple[str, dict[str, int], int]:
    """Return instant, payload and number of the one uplink that a round is."""
    [millis] = {row.millis for row in rows}
    return _instant(millis), {f"part-{row.labels['part']}": row.value for row in rows}, millis - _START


def _ttn(rows: Iterator[Row]) -> bytes:
    event: dict[str, Any] = copy.deepcopy(TTN)
    instant, payload, number = _uplink(list(rows))
    event["uplink_message"] |= {"received_at": instant, "decoded_payload": payload, "f_cnt": number}
    # Whoever sends an uplink again gives it a new one.
    event["correlation_ids"] = [f"as:up:{next(_attempts)}"]
    return orjson.dumps(event)


_attempts = count()


def _chirpstack(rows: Iterator[Row]) -> bytes:
    instant, payload, number = _uplink(list(rows))
    return orjson.dumps({**CHIRPSTACK, "time": instant, "object": payload, "deduplicationId": f"uplink-{number}"})


_LINE = DOORS["line"]
_JSON = {"content-type": "application/json"}
SENDERS: Mapping[str, Sender] = {
    "line": Sender(_LINE.path, _LINE.headers, _LINE.body, regroups=True),
    "line, each reading": Sender(f"{_LINE.path}?dedup=reading", _LINE.headers, _LINE.body, regroups=True),
    "ingest, each reading": Sender("/ingest?dedup=reading", _JSON, _readings, regroups=True),
    "remote_write": Sender(DOORS["remote_write"].path, DOORS["remote_write"].headers, DOORS["remote_write"].body),
    "otlp": Sender(DOORS["otlp"].path, DOORS["otlp"].headers, DOORS["otlp"].body),
    "ttn": Sender("/webhooks/ttn", _JSON, _ttn),
    "chirpstack": Sender("/webhooks/chirpstack?event=up", _JSON, _chirpstack),
}


async def values(settings: Settings) -> list[int]:
    """Return the values of all readings, sorted."""
    return sorted(round(value) for _, _, value in await rows_in(settings.database))


async def held_once(settings: Settings, *rounds: int) -> None:
    """See that these rounds are stored, once, and nothing else; and that the ledger has as many readings."""
    found, wanted = Counter(await values(settings)), {row.value for number in rounds for row in round_of(number)}
    lost, doubled = wanted - found.keys(), [value for value, times in found.items() if times > 1]
    assert (lost, doubled, found.keys() - wanted) == (set(), [], set()), "lost, doubled and foreign readings"
    [counted] = await sql(settings.database, "select coalesce(sum(rows), 0)::bigint as rows from ingest_ledger")
    assert counted["rows"] == len(wanted), "the ledger has other readings than the table"


async def killed_and_sent_again(
    ingest: Service, victim: Service, failpoints: Failpoints, sender: Sender, places: Sequence[Place]
) -> None:
    """Kill a worker at each place with a round in hand, which comes twice more, and see that each is there once."""
    failpoints.given_to(victim)
    async with ingest:
        for number, place in enumerate(places):
            failpoints.arm(place, "kill")
            victim.start()
            await victim.ready()
            await sender.post(ingest.url, number)
            await eventually(partial(ended, victim), 60.0)
            for _ in range(2):
                await sender.post(ingest.url, number)
            # It has its name again, and so what it held; what came meanwhile it meets in the same moment.
            victim.start()
            await drained(ingest.settings)
            victim.kill()
    await held_once(ingest.settings, *range(len(places)))
