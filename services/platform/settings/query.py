"""The section `query`."""

from pydantic import PositiveFloat, PositiveInt

from .section import MIB, ROOT_PATH, Section, setting

__all__ = ["QuerySettings"]


class QuerySettings(Section):
    """What questions may cost."""

    host: str = setting("0.0.0.0", "Address to listen on.")  # noqa: S104 -- a service in a pod
    port: int = setting(8001, "Port to listen on.", "", ge=0, le=65535)
    root_path: str = setting("", "Path prefix at which a proxy shows this service, such as /query.", pattern=ROOT_PATH)
    statement_timeout: PositiveFloat = setting(30.0, "Longest statement, its streaming included.", "s")
    max_limit: PositiveInt = setting(10_000_000, "Largest `limit` of `/get_range` and `/series`.", "rows")
    max_sensors: PositiveInt = setting(
        1000, "Most sensors that one question of `/series` may name or choose.", "sensors"
    )
    max_latest: PositiveInt = setting(
        200_000, "Most sensors that regular expressions may choose for one question of `/latest`.", "sensors"
    )
    max_page: PositiveInt = setting(10_000, "Largest `limit` of `/sensors` and `/labels`.", "rows")
    max_cells: PositiveInt = setting(
        500_000,
        "Most sensors × buckets, or points, of one question of `/series`; with every aggregate each takes about "
        "270 bytes while it is answered.",
        "cells",
    )
    max_held_rows: PositiveInt = setting(
        1_000_000,
        "Most rows that one question of `/series` may hold in memory, where it cannot do with less: "
        "`layout=columns`, and each sensor's readings with `downsample=lttb`.",
        "rows",
    )
    max_samples: PositiveInt = setting(
        2_000_000,
        "Most readings that one request of Prometheus' remote read may be answered from; the answer is held in memory, "
        "compressed, 10 to 20 bytes for each.",
        "readings",
    )
    max_tier_rows: PositiveInt = setting(
        1_000_000,
        "Most readings of the cold tier that one question may hold where it cannot do with less: percentiles, steps, "
        "first and last, and readings of several sensors. Each takes some hundred bytes meanwhile, and some µs.",
        "readings",
    )
    max_answer_bytes: PositiveInt = setting(
        64 * 1024 * MIB,
        "Largest answer, uncompressed. One that turns out larger while it is sent breaks off, and the log says why.",
        "bytes",
    )
    max_body_bytes: PositiveInt = setting(
        MIB, "Largest body of a question: `POST /series`, and of Prometheus' remote read.", "bytes"
    )
    body_timeout: PositiveFloat = setting(10.0, "How long the body of a question may take to arrive.", "s")
    caller_share: PositiveFloat = setting(
        0.75,
        "Largest part of the connections, of which there are `MILLRACE_DATABASE_POOL_SIZE`, that questions of one "
        "caller hold at once; at least one. A caller is an API key's, without keys the address that asks.",
        le=1,
    )
    max_replica_lag: PositiveFloat = setting(
        5.0, "How far a read replica may be behind; while one is further, others and the primary are asked.", "s"
    )
