"""What a database can do: the one check, on which alone services branch."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Capability", "capability"]


@dataclass(frozen=True, slots=True)
class Capability:
    """What a database can do.

    Attributes:
        postgresql: version, such as "18.6".
        timescaledb: version, or None where the extension is not installed.
        edition: "full", "apache" (no aggregates, columnstore or policies) or "none".
        missing: what therefore does not work, a sentence each.
        citus: version of Citus where it spreads the readings over its nodes, else None.
        rollups: whether the repair loop keeps buckets in tables of ours, where continuous aggregates cannot.
    """

    postgresql: str
    timescaledb: str | None
    edition: str
    missing: tuple[str, ...]
    citus: str | None = None
    rollups: bool = False

    @property
    def compresses_on_copy(self) -> bool:
        """Whether COPY can write into the columnstore beside continuous aggregates: TimescaleDB 2.24 and later."""
        return self.edition == "full" and not self.missing

    @property
    def spread(self) -> bool:
        """Whether the readings lie on several nodes: not every statement can be asked there."""
        return self.citus is not None

    def __str__(self) -> str:
        if self.edition == "full":
            return f"PostgreSQL {self.postgresql} with TimescaleDB {self.timescaledb}"
        if self.citus:
            return f"PostgreSQL {self.postgresql} with Citus {self.citus}"
        why = f"TimescaleDB {self.timescaledb}, Apache edition" if self.timescaledb else "no TimescaleDB"
        return f"PostgreSQL {self.postgresql} in plain mode ({why})"


_SPREAD = "select exists (select from pg_dist_partition where logicalrelid = to_regclass('public.sensor_data'))"


async def capability(connection: Any) -> Capability:
    """Ask a connection what its database can do. This is the one check; services branch on nothing else."""
    row = await connection.fetchrow(
        """
        select current_setting('server_version') as postgresql,
               (select extversion from pg_extension where extname = 'timescaledb') as timescaledb,
               current_setting('timescaledb.license', true) as license,
               (select extversion from pg_extension where extname = 'citus') as citus,
               to_regclass('public.rollup_state') is not null as rollups
        """
    )
    version: str | None = row["timescaledb"]
    postgresql = row["postgresql"].split()[0]
    if version is None or row["license"] != "timescale":
        edition = "none" if version is None else "apache"
        citus = row["citus"] and row["citus"].split("-")[0]
        if citus and not await connection.fetchval(_SPREAD):
            citus = None
        missing = (
            "continuous aggregates: the repair process keeps hours and quarters of an hour, and there are no others"
            if row["rollups"]
            else "continuous aggregates: measurement_hourly is an ordinary view, computed at each question",
            "columnstore: rows are stored uncompressed",
            "refresh policies" if citus else "chunks, refresh and retention policies",
        )
        return Capability(postgresql, version, edition, missing, citus, row["rollups"])
    missing_in_full: tuple[str, ...] = ()
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 24):
        missing_in_full = ("compression on COPY: it needs TimescaleDB 2.24 beside continuous aggregates",)
    return Capability(postgresql, version, "full", missing_in_full)
