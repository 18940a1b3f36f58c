"""How many series a caller may begin an hour: one label that never comes twice would else fill the catalogue for ever.

What is new is asked of the catalogue, and remembered; while the database is away nobody is refused, as no reading is
lost for a limit.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DATABASE_FAILURES, with_deadline
from services.platform.postgres.pool import Pool
from services.platform.settings import DatabaseSettings

__all__ = ["NewSeries"]

_HOUR = 3600.0
_TIMEOUT = 2.0
_PAUSE = 2.0
"""Seconds for which the catalogue is not asked after it could not be."""
_MOST_REMEMBERED = 1_000_000
_QUERY = "select sensor_id from sensors where sensor_id = any($1::text[])"


@dataclass(slots=True)
class _Allowance:
    """What a caller may still begin; an hour fills it."""

    limit: float
    left: float
    at: float = field(default_factory=time.monotonic)

    def take(self, count: int) -> bool:
        now = time.monotonic()
        self.left = min(self.limit, self.left + (now - self.at) * self.limit / _HOUR)
        self.at = now
        if count > self.left:
            return False
        self.left -= count
        return True


class NewSeries:
    """Lets callers begin as many series as they may. One a process: a caller has its limit in each ingest."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Connect later, when a caller with a limit first sends what is not remembered."""
        timeout = int(_TIMEOUT * 1000)
        self._pool = Pool(
            Connector(settings.reader_url, settings, statement_timeout=timeout, default_transaction_read_only="on"),
            size=1,
        )
        self._known: set[str] = set()
        self._allowances: dict[tuple[str, float], _Allowance] = {}
        self._down_until = 0.0

    async def check(self, caller: Caller, sensor_ids: Collection[str]) -> None:
        """Let the readings of these sensors pass.

        Raises:
            Problem: `too_many_series`: more of them are new than the caller may begin.
        """
        limit = caller.series_per_hour
        if limit is None or time.monotonic() < self._down_until:
            return
        unknown = set(sensor_ids) - self._known
        if not unknown:
            return
        try:
            found = await with_deadline(self._stored(list(unknown)), _TIMEOUT, self.close)
        except DATABASE_FAILURES:
            self._down_until = time.monotonic() + _PAUSE
            return
        new = len(unknown - found - self._known)
        if not self._allowances.setdefault((caller.name, limit), _Allowance(limit, limit)).take(new):
            raise Problem(
                "too_many_series",
                f"caller {caller.name} may begin {limit:g} series an hour (series_per_hour), and this request would "
                f"begin {new}: is there a label whose values never come again?",
            )
        if len(self._known) > _MOST_REMEMBERED:
            self._known.clear()
        self._known |= unknown

    def close(self) -> None:
        """Drop the connection."""
        self._pool.drop()

    async def _stored(self, sensor_ids: list[str]) -> set[str]:
        async with self._pool.lent() as connection, connection.asking():
            return {row["sensor_id"] for row in await connection.fetch(_QUERY, sensor_ids)}
