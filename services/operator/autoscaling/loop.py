"""A look every few seconds at the stream's numbers and at each BacklogAutoscaler; what was decided is done and told."""

import asyncio
import time
from datetime import UTC, datetime

from lightkube import AsyncClient
from pydantic import ValidationError

from services.platform.kubernetes import API_ERRORS
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import observe_backlog
from services.platform.runtime.outages import Outage
from services.platform.settings import RedisSettings
from services.platform.stream import STREAM_ERRORS, Backlog, Stream, names_of, redis_client

from ..cluster.kinds import BacklogAutoscaler, Found, listed
from ..specs.scaling import BacklogAutoscalerSpec
from ..status.events import tell
from ..status.publish import Reporter
from ..status.refusals import Refused, invalid
from .decision import Decision, Measurement, State, decide
from .rates import Counts
from .report import Change, autoscaler_report
from .rivals import doubled, rivals
from .targets import Size, resize, size

__all__ = ["Autoscaling"]

PERIOD = 5.0
"""Seconds between looks; a HorizontalPodAutoscaler takes 15, but the stream's numbers cost next to nothing."""


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
        self._reporter = Reporter(client)
        self._states: dict[str, State] = {}
        self._backlog: Backlog | None = None
        self._api, self._numbers = Outage("API server"), Outage("stream")
        observe_backlog(lambda: self._backlog)

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
                    self._api.lasts(f"{type(error).__name__}: {error}")
                else:
                    self._api.over()
                await asyncio.sleep(PERIOD)
        finally:
            await redis.aclose()

    async def _look(self, stream: Stream) -> None:
        found = await listed(self._client, BacklogAutoscaler)
        self._states = {one.uid: self._states.get(one.uid, State()) for one in found}
        if not found:
            self._backlog = None
            return
        refused = doubled(found, await rivals(self._client))
        counts, problem = await self._counts(stream)
        for one in found:
            try:
                if why := refused.get(one.uid):
                    raise why
                await self._scale(one, counts, problem)
            except Refused as why:
                self._states.pop(one.uid)
                await self._reporter.refuse(one, why)

    async def _counts(self, stream: Stream) -> tuple[Counts | None, str]:
        try:
            self._backlog = backlog = await stream.backlog()
        except STREAM_ERRORS as error:
            self._backlog = None
            problem = f"the stream's server gave no numbers: {type(error).__name__}: {error}"
            self._numbers.lasts(problem)
            return None, problem
        self._numbers.over()
        return Counts(time.monotonic(), backlog.accepted, backlog.settled, backlog.rows, backlog.age), ""

    async def _scale(self, found: Found, counts: Counts | None, problem: str) -> None:
        try:
            spec = BacklogAutoscalerSpec.model_validate(found.spec)
        except ValidationError as error:
            raise invalid(error) from None
        there = await size(self._client, spec.scale_target_ref)
        seen = Measurement(time.monotonic(), there.replicas, there.ready, counts, problem)
        self._states[found.uid], decision = decide(self._states[found.uid], seen, spec)
        change = await self._resized(found, spec, there, decision) if decision.replicas != there.replicas else None
        await self._reporter.report(found, autoscaler_report(decision, there.replicas, counts, change), ())

    async def _resized(self, found: Found, spec: BacklogAutoscalerSpec, there: Size, decision: Decision) -> Change:
        target = spec.scale_target_ref
        await resize(self._client, target, decision.replicas)
        message = f"{target.kind} {target.name} from {there.replicas} to {decision.replicas}: {decision.message}"
        await tell(self._client, found, "Rescaled", message)
        return Change(datetime.now(UTC), decision.reason, message)
