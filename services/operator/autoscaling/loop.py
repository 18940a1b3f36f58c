"""A look every few seconds at the stream's backlog and at each BacklogAutoscaler; what was decided is done and told."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lightkube import AsyncClient
from pydantic import ValidationError

from services.platform.kubernetes import API_ERRORS
from services.platform.postgres.errors import words_of
from services.platform.runtime.health import Health, Outage
from services.platform.runtime.metrics import show_backlog
from services.platform.settings import RedisSettings
from services.platform.stream import STREAM_ERRORS, Backlog, Stream, names_of, redis_client

from ..cluster.kinds import BacklogAutoscaler, Found, listed
from ..refusals import Refusal, invalid
from ..specs.scaling import BacklogAutoscalerSpec
from ..status.conditions import Condition, instant
from ..status.events import tell
from ..status.reports import IDLE, WELL, Report
from ..status.writer import StatusWriter
from .decision import Decision, Measurement, State, decide
from .rates import Counts
from .targets import Size, doubled, resize, rivals, size

__all__ = ["Autoscaling", "Change", "autoscaler_report"]

PERIOD = 5.0
"""Seconds between looks; a HorizontalPodAutoscaler takes 15, but the stream's backlog costs next to nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the number of workers: when, why in one word, and what for a person."""

    at: datetime
    reason: str
    message: str


class Autoscaling:
    """The loop, for as long as this operator is the active one."""

    def __init__(self, client: AsyncClient, settings: RedisSettings, health: Health) -> None:
        """Begin with nothing known.

        Args:
            client: of the namespace whose autoscalers are looked after.
            settings: where the stream is.
            health: hears a beat for each look.
        """
        self._client, self._health, self._settings = client, health, settings
        self._status = StatusWriter(client)
        self._states: dict[str, State] = {}
        self._backlog: Backlog | None = None
        self._api_outage, self._stream_outage = Outage("API server"), Outage("stream")
        show_backlog(lambda: self._backlog)

    async def run(self) -> None:
        """Look after look, until cancelled."""
        self._states = {}
        redis = redis_client(self._settings)
        stream = Stream(redis, names_of(self._settings))
        try:
            while True:
                self._health.beat()
                try:
                    await self._look(stream)
                except API_ERRORS as error:
                    self._api_outage.lasts(words_of(error))
                else:
                    self._api_outage.over()
                await asyncio.sleep(PERIOD)
        finally:
            await redis.aclose()

    async def _look(self, stream: Stream) -> None:
        """Look once at every autoscaler. All of them decide by the same counts: there is one stream, asked once.

        Without an autoscaler the stream is not asked, and the gauges of the backlog say nothing.
        """
        found = await listed(self._client, BacklogAutoscaler)
        self._states = {one.uid: self._states.get(one.uid, State()) for one in found}
        if not found:
            self._backlog = None
            return
        refusals = doubled(found, await rivals(self._client))
        counts, problem = await self._counts(stream)
        for one in found:
            try:
                if one.uid in refusals:
                    raise refusals[one.uid]
                await self._scale(one, counts, problem)
            except Refusal as refusal:
                # What was measured for another spec or target says nothing about the next.
                self._states.pop(one.uid)
                await self._status.refuse(one, refusal)

    async def _counts(self, stream: Stream) -> tuple[Counts | None, str]:
        try:
            self._backlog = backlog = await stream.backlog()
        except STREAM_ERRORS as error:
            self._backlog = None
            problem = f"the stream's server does not tell its backlog: {words_of(error)}"
            self._stream_outage.lasts(problem)
            return None, problem
        self._stream_outage.over()
        return Counts(time.monotonic(), backlog.accepted, backlog.settled, backlog.rows, backlog.age), ""

    async def _scale(self, found: Found, counts: Counts | None, problem: str) -> None:
        """Decide for one autoscaler, do it and report it.

        Raises:
            Refusal: its spec is wrong, or its target cannot be scaled.
            API_ERRORS: the API server is away.
        """
        try:
            spec = BacklogAutoscalerSpec.model_validate(found.spec)
        except ValidationError as error:
            raise invalid(error) from None
        there = await size(self._client, spec.scale_target_ref)
        seen = Measurement(time.monotonic(), there.replicas, there.ready, counts, problem)
        self._states[found.uid], decision = decide(self._states[found.uid], seen, spec)
        change = await self._resized(found, spec, there, decision) if decision.replicas != there.replicas else None
        await self._status.write(found, autoscaler_report(decision, there.replicas, counts, change), ())

    async def _resized(self, found: Found, spec: BacklogAutoscalerSpec, there: Size, decision: Decision) -> Change:
        target = spec.scale_target_ref
        await resize(self._client, target, decision.replicas)
        message = f"{target.kind} {target.name} from {there.replicas} to {decision.replicas}: {decision.message}"
        await tell(self._client, found, "Rescaled", message)
        return Change(datetime.now(UTC), decision.reason, message)


def autoscaler_report(decision: Decision, replicas: int, counts: Counts | None, change: Change | None) -> Report:
    """Tell what was decided on the number of workers, and by what.

    Args:
        decision: the latest.
        replicas: how many there were to be before it.
        counts: the stream's, None where they could not be read: then those told before stay.
        change: what was done just now, None where the number stayed.
    """
    fields: dict[str, Any] = {"currentReplicas": replicas, "desiredReplicas": decision.replicas}
    if counts:
        fields |= {"backlogRows": counts.rows, "oldestAgeSeconds": round(counts.age)}
    rates = {"arrivalsPerSecond": decision.arrivals, "drainPerSecond": decision.drain}
    fields |= {name: round(rate) if rate is not None else None for name, rate in rates.items()}
    if change:
        last = {"time": instant(change.at), "reason": change.reason, "message": change.message}
        fields["lastChange"] = last
    so = Condition(status=True, reason=decision.reason, message=decision.message)
    unknown = decision.reason in {"BacklogUnknown", "BacklogStale"}
    poor = unknown or decision.reason in {"NothingDrains", "MoreHardlyHelp"}
    conditions = {
        "Ready": Condition(status=None, reason=so.reason, message=so.message) if unknown else so,
        "Degraded": so if poor else WELL,
        "Progressing": so if change else IDLE,
        "ScalingLimited": Condition(bool(decision.limited), decision.limited or "DesiredWithinRange", so.message),
    }
    return Report(fields, conditions)
