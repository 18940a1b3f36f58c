"""An answer of `/status`, as the documentation shows it."""

from pydantic.config import JsonDict

__all__ = ["EXAMPLE"]

_POLICY: JsonDict = {
    "watermark": "2025-10-22T22:00:00Z",
    "behind": 372.4,
    "last_run": "2025-10-22T22:05:41.201Z",
    "last_status": "success",
    "next_run": "2025-10-22T22:06:41.201Z",
    "schedule_interval": 60.0,
}

EXAMPLE: JsonDict = {
    "as_of": "2025-10-22T22:06:12.401Z",
    "version": "0.1.0",
    "database": {
        "edition": "full",
        "postgresql": "18.6",
        "timescaledb": "2.29.2",
        "text": "PostgreSQL 18.6 with TimescaleDB 2.29.2",
        "missing": [],
    },
    "admin": False,
    "stream": {
        "entries": 3,
        "rows": 4200,
        "bytes": 61840,
        "age": 0.12,
        "rows_in_per_second": 51840.2,
        "rows_out_per_second": 51790.9,
        "workers": 2,
    },
    "dead_letters": {"total": 0},
    "late_ranges": {"count": 1, "oldest_age": 1.4},
    "aggregates": [{"name": "measurement_hourly", **_POLICY}, {"name": "sensor_rollup_15m", **_POLICY}],
    "sizes_as_of": "2025-10-22T22:06:01.302Z",
    "tables": [
        {
            "name": "sensor_data",
            "bytes": 1934426112,
            "chunks": 14,
            "columnstore_chunks": 12,
            "bytes_before_compression": 16106127360,
            "bytes_after_compression": 1288490188,
            "retention": 7776000.0,
        },
        {
            "name": "sensors",
            "bytes": 90112,
            "chunks": None,
            "columnstore_chunks": None,
            "bytes_before_compression": None,
            "bytes_after_compression": None,
            "retention": None,
        },
    ],
    "ledger": {
        "estimated_rows": 1284110,
        "estimated_oldest": "2025-10-19T22:06:40.5Z",
        "horizon": 259200.0,
        "bytes": 198344704,
    },
    "callers": [
        {
            "name": "garden",
            "requests_per_second": 12.5,
            "requests_limit": 100.0,
            "rows_per_second": 9020.0,
            "rows_limit": 10000.0,
            "processes": 2,
            "used": 0.95,
        }
    ],
}
