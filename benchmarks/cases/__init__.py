"""All cases, by name, in the order of a run."""

from . import (
    console,
    disk,
    doors,
    filling,
    freshness,
    peers,
    queries,
    questions,
    scale_out,
    scaling,
    silent,
    soak,
    tier,
    writes,
)

__all__ = ["ALL"]

_ORDER = (
    *writes.TIMESCALEDB,
    *scaling.CASES,
    *scale_out.CASES,
    *disk.CASES,
    *freshness.CASES,
    *silent.CASES,
    *queries.CASES,
    *questions.CASES,
    *console.CASES,
    *doors.CASES,
    *peers.CASES,
    *tier.CASES,
    *filling.CASES,
    *writes.PLAIN,
    *soak.CASES,
    *writes.SMOKE,
)

ALL = {case.name: case for case in _ORDER}
