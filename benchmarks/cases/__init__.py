"""All cases, by name, in the order of a run."""

from . import freshness, queries, writes

__all__ = ["ALL"]

ALL = {case.name: case for case in (*writes.TIMESCALEDB, *freshness.CASES, *queries.CASES, *writes.PLAIN)}
